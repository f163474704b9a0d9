/** The warm pool against played baits on a real bus: what is kept ready, who gets it, and when it goes. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { typeName } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'
import { explanationSchema, receiptSchema, statusSchema, typesReplySchema, type PoolView, type VwnView } from '../../wire/api.ts'
import { startTestController, type TestController } from '../harness/controller.ts'
import { fakeDigest, startFakeBait } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

vi.setConfig({ testTimeout: 60_000 })
let nats: NatsServer
beforeAll(async () => { nats = await startNats() })
afterAll(() => nats.stop())

const mappingWith = (pool: string, more = ''): string => `
types:
  standard: { image: debian12, cpus: 2, memory_mib: 1024, pool: ${pool}${more} }
  small: { image: tiny, cpus: 1, memory_mib: 128, scratch_gib: 1 }
default: { type: standard, allow: [small] }
`
const bob = { user: 'bob', uid: 1002 }
const isReady = ({ owner, state }: VwnView): boolean => owner === null && state === 'idle'

/** Waits until these are the ready ones. */
const untilReady = (controller: TestController, names: readonly string[]): Promise<unknown> =>
  until(async () => (await controller.vwns()).filter(isReady).map(({ vwn }) => vwn).sort().join() === [...names].sort().join(), { withinMs: 20_000, what: `${names.join()} to be ready` })
const pools = async (controller: TestController): Promise<readonly PoolView[]> =>
  (await controller.get('/v1/types', typesReplySchema)).types.find(({ type }) => type === 'standard')?.pools ?? []
const poolOf = async (controller: TestController): Promise<PoolView | undefined> =>
  (await pools(controller))[0]

test('a VWN is kept ready, the first who comes gets it at once and fresh, and another takes its place', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{ min: 1 }') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  await untilReady(controller, ['v1'])
  expect(bait.orders?.vwns).toMatchObject([{ vwn: 'v1', owner: null, job: null, want: 'run' }])
  await until(async () => (await poolOf(controller))?.why === '1 wanted, min is 1: 1 there', { withinMs: 20_000 })
  const types = await controller.get('/v1/types', typesReplySchema)
  expect(types.types).toMatchObject([
    { type: 'standard', pool: { min: 1, max: 10, memoryShare: 0.25 }, pools: [{ host: 'h1', ready: 1, making: 0, going: 0, wanted: 1, kept: 1, target: 1 }] },
    { type: 'small', pool: null, pools: [] },
  ])
  const asked = await controller.get('/v1/explain?user=root', explanationSchema)
  expect(asked.decision).toMatchObject({ is: 'ready', vwn: 'v1', host: 'h1', why: "v1 is ready, nobody's yet" })

  const job = bait.submit()
  expect(await controller.untilJob(job, (view) => view.state === 'running')).toMatchObject({ vwn: 'v1', made: 'ready' })
  expect((await controller.vwn('v1')).owner).toMatchObject({ user: 'alice' })
  await untilReady(controller, ['v2'])
  bait.finish(job)
  expect(await controller.untilJob(job, (view) => view.state === 'ended')).toMatchObject({ reused: false, made: 'ready' })
  expect(await controller.get(`/v1/jobs/${job}/receipt`, receiptSchema)).toMatchObject({ made: 'ready' })
  expect(await controller.get(`/v1/jobs/${job}/explain`, explanationSchema)).toMatchObject({ decision: { is: 'ready', vwn: 'v1' } })

  await until(async () => (await controller.vwn('v1')).state === 'idle', { withinMs: 20_000 })
  const again = bait.submit()
  expect(await controller.untilJob(again, (view) => view.state === 'running')).toMatchObject({ vwn: 'v1', made: 'reused' })
  const other = bait.submit(bob)
  expect(await controller.untilJob(other, (view) => view.state === 'running')).toMatchObject({ vwn: 'v2', made: 'ready' })
})

test('who comes makes demand; what came before a restart of the controller still counts, and a turn without news writes nothing', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{}') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  const job = bait.submit()
  await controller.untilJob(job, (view) => view.state === 'running')
  await untilReady(controller, ['v2'])
  const odd = bait.submit({ ...bob, want: { cpus: 3 } })
  expect(await controller.untilJob(odd, (view) => view.state === 'running')).toMatchObject({ vwn: 'v3', made: 'new' })
  await until(async () => (await poolOf(controller))?.ready === 1, { withinMs: 20_000 })
  await controller.halt()
  await controller.start()
  await until(async () => (await poolOf(controller))?.ready === 1, { withinMs: 20_000 })
  expect(await poolOf(controller)).toMatchObject({ wanted: 1, why: '1 wanted, 1 cover its arrivals: 1 there' })
  await until(async () => (await controller.get('/v1/status', statusSchema)).hosts.every(({ generation, generationSeen }) => generation === generationSeen), { withinMs: 20_000 })
  const [before] = (await controller.get('/v1/status', statusSchema)).hosts
  for (let turn = 0; turn < 20; turn += 1) controller.now.runOnce()
  expect((await controller.get('/v1/status', statusSchema)).hosts).toEqual([before])
  expect((await controller.vwns()).map(({ vwn }) => vwn).sort()).toEqual(['v1', 'v2', 'v3'])
})

test('jobs of a host whose clock is slow make demand like any others', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{}') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null, clock: { ...systemClock, nowMs: () => systemClock.nowMs() - 7_200_000 } })
  await controller.untilJob(bait.submit(), (view) => view.state === 'running')
  await untilReady(controller, ['v2'])
})

test('what is ready outlives the idle time of its type, and goes when its host drains or loses the image, or the mapping keeps none like it', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{ min: 1 }', ', idle_max_s: 1') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  await untilReady(controller, ['v1'])
  await controller.untilJob(bait.submit(), (view) => view.state === 'ended')
  await untilReady(controller, ['v2'])
  await controller.untilJob(bait.submit(), (view) => view.state === 'ended') // v1 is idle later than v2 was ready
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000 })
  await untilReady(controller, ['v2'])
  controller.writeMapping(mappingWith('null', ', idle_max_s: 1'))
  await until(async () => (await controller.vwns()).length === 0, { withinMs: 20_000 })
  expect((await controller.vwn('v2')).cause).toMatchObject({ code: 'VWN_REMOVED', message: expect.stringContaining('0 is the most') as string })
  controller.writeMapping(mappingWith('{ min: 1 }'))
  await untilReady(controller, ['v3'])
  controller.writeMapping(mappingWith('{ min: 1 }', ', scratch_gib: 5'))
  await until(async () => (await controller.vwn('v3')).state === 'gone', { withinMs: 20_000 })
  await untilReady(controller, ['v4'])
  controller.writeMapping(mappingWith('{ min: 1 }', ', scratch_gib: 5, jobs_max: 7'))
  await until(async () => (await controller.vwn('v4')).state === 'gone', { withinMs: 20_000 })
  await untilReady(controller, ['v5'])
  const images = bait.facts.images.splice(0)
  await until(async () => (await controller.vwn('v5')).state === 'gone', { withinMs: 20_000 })
  bait.facts.images.push(...images)
  await untilReady(controller, ['v6'])
  await controller.call('POST', '/v1/hosts/h1/drain')
  await until(async () => (await controller.vwns()).length === 0, { withinMs: 20_000 })
})

test('a job that needs the room gets it from the pool, even from what is only being made', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{ min: 1, memory_share: 1 }') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null, boot: 'hang', capacity: { cpus: 2, memoryMib: 1100, scratchGib: 100 } })
  await until(async () => (await controller.vwns())[0]?.state === 'booting', { withinMs: 20_000 })
  bait.script.boot = 'ready'
  const job = bait.submit({ want: { type: 'small' } })
  expect(await controller.untilJob(job, (view) => view.state === 'running')).toMatchObject({ vwn: 'v2', made: 'new' })
  expect((await controller.vwn('v1')).cause).toMatchObject({ code: 'VWN_REMOVED', message: expect.stringContaining(`room for ${job}`) as string })
  await until(async () => (await poolOf(controller))?.why === '1 wanted, min is 1: makes 0 of 1, for no more of 1024 MiB of memory, 4 GiB of scratch fit beside jobs and other clones', { withinMs: 20_000 })
  const next = bait.submit(bob)
  expect(await controller.untilJob(next, (view) => view.why !== null)).toMatchObject({ state: 'waiting', why: expect.stringContaining('1024 MiB of memory wanted, 972 free') as string })
  bait.finish(job)
  expect(await controller.untilJob(next, (view) => view.state === 'running')).toMatchObject({ vwn: 'v3', made: 'new' })
})

test('a ready VWN that is dead costs the job no attempt: it gets another', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{ min: 2 }') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', attach: 'fail' })
  await untilReady(controller, ['v1', 'v2'])
  const job = bait.submit()
  const ended = await controller.untilJob(job, (view) => view.state === 'ended')
  expect(ended).toMatchObject({ vwn: null, outcome: { is: 'refused', failure: { code: 'VWN_SILENT' } } })
  const tried = (await controller.vwns('?gone=true')).filter(({ job: of }) => of === job)
  expect(tried.filter(({ owner }) => owner?.user === 'alice').map(({ state }) => state)).toEqual(['gone', 'gone', 'gone', 'gone']) // two that were ready, two attempts

  bait.script.attach = 'works'
  expect(await controller.untilJob(bait.submit(bob), (view) => view.state === 'ended')).toMatchObject({ outcome: { is: 'exited', code: 0 } })
})

test('a type that does not come up is not made for nobody over and over', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{ min: 2 }') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', boot: 'fail' })
  await until(async () => (await poolOf(controller))?.why.includes('did not last (VWN_BOOT_TIMEOUT)'), { withinMs: 20_000 })
  await until(async () => (await controller.vwns()).length === 0, { withinMs: 20_000 })
  const made = (await controller.vwns('?gone=true')).length
  for (let turn = 0; turn < 20; turn += 1) {
    controller.now.runOnce()
    await bait.reportNow()
  }
  expect((await controller.vwns('?gone=true')).length).toBe(made)
  bait.script.boot = 'ready'
  expect(await controller.untilJob(bait.submit(), (view) => view.state === 'ended')).toMatchObject({ outcome: { is: 'exited', code: 0 } })
  await until(async () => (await poolOf(controller))?.ready === 2, { withinMs: 20_000 }) // that one came up: it works again
})

test('jobs that pend with a batch system count, whichever host says it and however often, also for a controller that starts anew', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{}') })
  await using one = await startFakeBait({ url: nats.url, host: 'h1' })
  await using two = await startFakeBait({ url: nats.url, host: 'h2' })
  const said = (jobs: number, nth: number, agoMs = 0) => ({ batchSystem: 'slurm', nth, agoMs, counts: [{ type: typeName('standard'), jobs }, { type: typeName('nosuch'), jobs: 1 }] })
  const wanted = async (...numbers: number[]) => until(async () => (await pools(controller)).map((pool) => pool.wanted).join() === numbers.join(), { withinMs: 20_000, what: `${numbers.join()} wanted; last: ${JSON.stringify(await pools(controller))}` })
  one.pending.push(said(3, 1))
  two.pending.push(said(3, 1))
  await wanted(2, 1)
  expect((await pools(controller))[0]).toMatchObject({ host: 'h1', why: expect.stringContaining('2 wanted, jobs pending: 2: ') as string })
  const { types } = await controller.get('/v1/types', typesReplySchema)
  expect(types.map(({ pending }) => pending)).toMatchObject([[{ batchSystem: 'slurm', jobs: 3, agoMs: expect.any(Number) as number }], []])
  expect((await controller.get('/v1/status', statusSchema)).mapping.warnings).toContain('slurm says that jobs pend for type nosuch, which the mapping does not have')
  await controller.halt()
  await controller.start()
  await wanted(2, 1)
  two.pending.splice(0, 1, said(0, 2, 60_000)) // older than what h1 says
  await two.reportNow()
  controller.now.runOnce()
  await wanted(2, 1)
  two.pending.splice(0, 1, said(1, 3))
  await wanted(1, 0)
  one.pending.splice(0, 1, said(0, 2))
  await wanted(0, 0)
})

test('a type whose template is quarantined is kept ready by boots, one at a time, and people read why', async () => {
  const shape = { cpus: 2, memoryMib: 1024, scratchGib: 4 }
  const quarantined = { id: '0123456789abcdef', image: fakeDigest('a'), contact: 'agent', network: 'isolated', shape, state: 'quarantined', why: '3 clones in a row failed', diskMib: 0, tookMs: null } as const
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{ min: 3 }') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', boot: 'hang', templates: [quarantined] })
  const why = '; each is booted, for its template is not used any more: 3 clones in a row failed'
  await until(async () => (await poolOf(controller))?.why === `3 wanted, min is 3: makes 0 of 2, for one that is booted is made alone${why}`, { withinMs: 20_000, what: `a boot of its own; last: ${JSON.stringify(await poolOf(controller))}` })
  expect((await controller.vwns()).map(({ vwn }) => vwn)).toEqual(['v1'])
  bait.facts.templates.splice(0, 1, { ...quarantined, state: 'ready', why: null })
  await until(async () => (await poolOf(controller))?.making === 2, { withinMs: 20_000, what: 'two at once' })
  expect((await poolOf(controller))?.why).not.toContain('booted')
})

test('a burst of many users empties the pool, hinders nobody, and the pool fills again', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('{ min: 2 }', ', idle_max_s: 1').replace('cpus: 2', 'cpus: 1') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  await until(async () => (await poolOf(controller))?.ready === 2, { withinMs: 20_000 })
  const jobs = Array.from({ length: 20 }, (_, index) => bait.submit({ user: `user${index}`, uid: 2000 + index }))
  const ended = await Promise.all(jobs.map((job) => controller.untilJob(job, (view) => view.state === 'ended')))
  for (const job of ended) expect(job).toMatchObject({ reused: false, outcome: { is: 'exited', code: 0 } })
  expect(ended.filter(({ made }) => made === 'ready').length).toBeGreaterThanOrEqual(2)
  const made = await controller.vwns('?gone=true')
  for (const { vwn, uid } of ended) expect(made.find((each) => each.vwn === vwn)?.owner?.uid).toBe(uid)
  await until(async () => { const pool = await poolOf(controller); return pool !== undefined && pool.ready > 2 && pool.ready === pool.wanted }, { withinMs: 30_000, what: 'a full pool' })
})
