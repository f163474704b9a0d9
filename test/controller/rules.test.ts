/** What the mapping, the operator and time allow, and what people are told. */
import { writeFileSync, rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { systemClock, type Clock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'
import { explanationSchema, imagesReplySchema, statusSchema, typesReplySchema } from '../../wire/api.ts'
import { startTestController, usualMapping } from '../harness/controller.ts'
import { fakeDigest, startFakeBait } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

vi.setConfig({ testTimeout: 60_000 })
let nats: NatsServer
beforeAll(async () => { nats = await startNats() })
afterAll(() => nats.stop())

const limited = `
types:
  standard: { image: debian12, cpus: 1 }
  large: { image: debian12, cpus: 4 }
  huge: { image: debian12, cpus: 64 }
  odd: { image: nowhere }
rules:
  - name: physicists
    match: { group: physics, queue: [big, night] }
    type: large
    limits: { per_user: 1 }
  - { name: giants, match: { queue: giant }, type: huge }
  - { name: oddities, match: { queue: odd }, type: odd }
  - { match: { user: mallory }, type: standard, limits: { per_user: 0 } }
default: { type: standard }
`

test('jobs get the type of the first rule that matches, and limits make them wait with a sentence', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: limited })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  const physicist = { groups: ['physics'], want: { queue: 'big' } }
  const first = bait.submit(physicist)
  expect(await controller.untilJob(first, (job) => job.state === 'running')).toMatchObject({ type: 'large', rule: 'physicists' })
  const second = bait.submit(physicist)
  await until(() => bait.answers.get(second)?.is === 'waits', { withinMs: 20_000 })
  expect(bait.answers.get(second)).toMatchObject({ why: expect.stringContaining('alice has 1 of 1 VWNs') })
  expect(await controller.job(second)).toMatchObject({ state: 'waiting', why: expect.stringContaining('alice has 1 of 1 VWNs'), rule: 'physicists' })
  bait.finish(first)
  expect(await controller.untilJob(second, (job) => job.state === 'running')).toMatchObject({ vwn: 'v1' })
})

test.each([
  [{ want: { type: 'nothing' } }, 'TYPE_UNKNOWN'],
  [{ want: { type: 'large' } }, 'TYPE_NOT_ALLOWED'],
  [{ want: { queue: 'giant' } }, 'HOST_TOO_SMALL'],
  [{ want: { queue: 'odd' } }, 'IMAGE_NOT_ON_HOST'],
  [{ user: 'mallory', uid: 1666 }, 'LIMIT_IS_ZERO'],
])('job %j is refused with %s', async (job, code) => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: limited })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  const id = bait.submit(job)
  const ended = await controller.untilJob(id, (view) => view.state === 'ended')
  expect(ended.outcome).toMatchObject({ is: 'refused', failure: { code } })
  expect(await controller.get(`/v1/jobs/${id}/explain`, explanationSchema)).toMatchObject({ decision: { is: 'refused', failure: { code } } })
  expect(await controller.vwns('?gone=true')).toEqual([])
})

const onHosts = `
types:
  standard: { image: debian12, cpus: 1 }
rules:
  - { name: short, match: { queue: short }, bare: true, allow: [standard] }
  - { name: any, match: { queue: any }, type: standard, fallback: bare }
  - { name: strict, match: { queue: strict }, type: standard, fallback: refuse }
default: { type: standard }
`

test.each([
  [{ queue: 'short' }, null, { is: 'bare' }, { is: 'bare', host: 'h1' }],
  [{ queue: 'short', type: 'standard' }, null, { is: 'exited', code: 0 }, { is: 'make' }],
  [{ queue: 'any' }, null, { is: 'exited', code: 0 }, { is: 'make' }],
  [{ queue: 'short' }, 'tcg: it hangs', { is: 'bare' }, { is: 'bare' }],
  [{ queue: 'any' }, 'tcg: it hangs', { is: 'bare' }, { is: 'bare', host: 'h1', why: 'h1: tcg: it hangs; rule any then runs it on the host itself' }],
  [{ queue: 'strict' }, 'tcg: it hangs', { is: 'refused', failure: { code: 'FALLBACK_REFUSED' } }, { is: 'refused' }],
  [{}, 'tcg: it hangs', { is: 'refused', failure: { code: 'ACCELERATOR_UNUSABLE' } }, { is: 'refused' }],
])('job %j, where no guest starts because of %j, is %j', async (want, broken, outcome, decision) => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: onHosts })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', ...(broken !== null && { broken }) })
  const id = bait.submit({ want })
  const ended = await controller.untilJob(id, (view) => view.state === 'ended')
  expect(ended.outcome).toMatchObject(outcome)
  if (outcome.is === 'bare') expect(ended).toMatchObject({ vwn: null, made: null, usage: null })
  expect(await controller.get(`/v1/jobs/${id}/explain`, explanationSchema)).toMatchObject({ decision })
  const asked = new URLSearchParams({ user: 'alice', group: 'users', ...want, host: 'h1' })
  expect(await controller.get(`/v1/explain?${asked.toString()}`, explanationSchema)).toMatchObject({ decision: { is: decision.is === 'make' ? expect.stringMatching(/make|reuse|ready/) : decision.is } })
  expect(await controller.hosts()).toMatchObject([{ broken }])
})

test('without a mapping jobs wait; a good file is taken at once, a bad one refused whole with its line', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: null })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  const status = () => controller.get('/v1/status', statusSchema)
  expect((await status()).mapping).toMatchObject({ version: 0, problem: { code: 'MAPPING_UNREADABLE' } })
  expect((await controller.call('GET', '/readyz')).status).toBe(503)
  expect((await controller.call('GET', '/healthz')).status).toBe(200)
  const job = bait.submit()
  expect(await controller.untilJob(job, (view) => view.why !== null)).toMatchObject({ state: 'waiting', why: 'no mapping is in force' })

  controller.writeMapping(usualMapping)
  await controller.untilJob(job, (view) => view.state === 'ended')
  expect((await status()).mapping).toMatchObject({ version: 1, problem: null, types: 2 })
  expect((await controller.call('GET', '/readyz')).status).toBe(200)

  controller.writeMapping(usualMapping.replace('cpus: 2', 'cpu: 2'))
  await until(async () => (await status()).mapping.problem, { withinMs: 20_000 })
  expect((await status()).mapping).toMatchObject({ version: 1, problem: { code: 'MAPPING_REFUSED', message: expect.stringMatching(/line=3 .*did you mean \\?"cpus\\?"/) } })
  expect(await controller.get('/v1/types', typesReplySchema)).toMatchObject({ types: [{}, {}], problem: { code: 'MAPPING_REFUSED' } })

  await controller.halt()
  await controller.start()
  expect((await status()).mapping).toMatchObject({ version: 1, types: 2, problem: { code: 'MAPPING_REFUSED' } })
  expect(await controller.untilJob(bait.submit(), (view) => view.state === 'ended')).toMatchObject({ outcome: { is: 'exited' } })

  rmSync(controller.home.mapping)
  await until(async () => (await status()).mapping.problem?.code === 'MAPPING_UNREADABLE', { withinMs: 20_000 })
  writeFileSync(controller.home.mapping, usualMapping.replace('tiny', 'debian12'))
  await until(async () => (await status()).mapping.problem === null, { withinMs: 20_000 })
  expect((await status()).mapping.version).toBe(2)
})

test('VWNs whose type has left the mapping, or whose image has changed, are stopped when idle', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  const busy = bait.submit({ user: 'bob', uid: 1002 })
  await controller.untilJob(busy, (job) => job.state === 'running')
  const idle = bait.submit({ want: { type: 'small' } })
  await controller.untilJob(idle, (job) => job.state === 'running')
  bait.finish(idle)
  controller.writeMapping('types: { other: { image: debian12 } }\ndefault: { type: other }\n')
  await until(async () => (await controller.vwn('v2')).state === 'gone', { withinMs: 20_000 })
  expect((await controller.vwn('v2')).cause?.message).toContain('no type small any more')
  expect((await controller.vwn('v1')).state).toBe('busy')
  bait.finish(busy)
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000 })
})

test('an idle VWN goes when its time is over', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: usualMapping.replace('scratch_gib: 4', 'scratch_gib: 4, idle_max_s: 1') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  await controller.untilJob(bait.submit(), (job) => job.state === 'ended')
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000 })
  expect((await controller.vwn('v1')).cause).toBeNull()
  await until(() => bait.vwns.size === 0, { withinMs: 20_000 })
})

test('a draining host finishes its jobs, gives up its idle VWNs and takes no more until it is opened', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  const running = bait.submit()
  await controller.untilJob(running, (job) => job.state === 'running')
  expect(await controller.call('POST', '/v1/hosts/h1/drain')).toMatchObject({ status: 202, body: { host: { want: 'draining', fact: 'alive' } } })
  expect((await controller.call('POST', '/v1/hosts/h1/drain')).status).toBe(202)
  const waiting = bait.submit()
  expect(await controller.untilJob(waiting, (job) => job.why !== null)).toMatchObject({ why: expect.stringContaining('draining') })
  bait.finish(running)
  await until(async () => (await controller.vwns()).length === 0, { withinMs: 20_000 })
  await controller.halt()
  await controller.start()
  expect(await controller.hosts()).toMatchObject([{ host: 'h1', want: 'draining' }])
  expect(await controller.call('POST', '/v1/hosts/h1/undrain')).toMatchObject({ status: 202, body: { host: { want: 'open' } } })
  expect(await controller.untilJob(waiting, (job) => job.state === 'running')).toMatchObject({ vwn: 'v2' })
  expect(await controller.call('POST', '/v1/hosts/h9/drain')).toMatchObject({ status: 404, body: { code: 'HOST_NOT_FOUND' } })
})

test('a kill ends a VWN and its job, and may be repeated', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  const job = bait.submit()
  await controller.untilJob(job, (view) => view.state === 'running')
  expect(await controller.call('POST', '/v1/vwns/v1/kill')).toMatchObject({ status: 202, body: { vwn: { state: 'stopping' } } })
  expect(await controller.untilJob(job, (view) => view.state === 'ended')).toMatchObject({ outcome: { is: 'lost' } })
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000 })
  expect((await controller.call('POST', '/v1/vwns/v1/kill')).status).toBe(202)
  expect((await controller.vwn('v1')).cause).toMatchObject({ code: 'VWN_REMOVED', message: expect.stringContaining('operator') })
  expect((await controller.call('POST', '/v1/vwns/v99/kill')).status).toBe(404)
})

test('a host that is not heard gets nothing new and loses nothing', async () => {
  const patience = { heartbeatMs: 100, missedMax: 3, leaseMs: 600_000 }
  await using controller = await startTestController({ natsUrl: nats.url, settings: { patience } })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', heartbeatMs: 50, jobMs: null })
  await controller.untilJob(bait.submit(), (job) => job.state === 'running')
  bait.mute()
  await until(async () => (await controller.hosts())[0]?.fact === 'silent', { withinMs: 20_000 })
  expect((await controller.vwn('v1')).state).toBe('busy')
  bait.unmute()
  await until(async () => (await controller.hosts())[0]?.fact === 'alive', { withinMs: 20_000 })
  expect((await controller.vwn('v1')).state).toBe('busy')
})

test('a host that is silent for longer than a lease has its VWNs fenced, and nothing of them comes back', async () => {
  const patience = { heartbeatMs: 50, missedMax: 2, leaseMs: 500 }
  await using controller = await startTestController({ natsUrl: nats.url, settings: { patience } })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', heartbeatMs: 25, jobMs: null })
  const job = bait.submit()
  await controller.untilJob(job, (view) => view.state === 'running')
  bait.mute()
  await until(async () => (await controller.vwn('v1')).state === 'fencing', { withinMs: 20_000 })
  bait.unmute()
  bait.finish(job)
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000 })
  await until(() => bait.vwns.size === 0, { withinMs: 20_000 })
  expect(await controller.job(job)).toMatchObject({ state: 'ended', outcome: { is: 'exited', code: 0 } })
})

test('an outage of the nats-server, however long, counts against no host', async () => {
  await using own = await startNats()
  const patience = { heartbeatMs: 50, missedMax: 2, leaseMs: 400 }
  await using controller = await startTestController({ natsUrl: own.url, settings: { patience } })
  await using bait = await startFakeBait({ url: own.url, host: 'h1', heartbeatMs: 25, jobMs: null })
  await controller.untilJob(bait.submit(), (job) => job.state === 'running')
  await own.kill()
  const status = () => controller.get('/v1/status', statusSchema)
  const downAtMs = (await until(async () => { const now = await status(); return now.bus.connected ? null : now }, { withinMs: 20_000 })).nowMs
  await until(async () => (await status()).nowMs > downAtMs + 5 * patience.leaseMs, { withinMs: 20_000 })
  await own.start()
  await until(async () => (await status()).bus.connected, { withinMs: 20_000 })
  await until(async () => (await controller.hosts())[0]?.fact === 'alive', { withinMs: 20_000 })
  expect(await controller.vwn('v1')).toMatchObject({ state: 'busy', cause: null })
})

test('a controller that has slept, or whose clock was set, blames no host', async () => {
  let jumpedMs = 0
  const clock: Clock = { ...systemClock, nowMs: () => systemClock.nowMs() + jumpedMs }
  await using controller = await startTestController({ natsUrl: nats.url, clock })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  await controller.untilJob(bait.submit(), (job) => job.state === 'running')
  for (jumpedMs of [86_400_000, -86_400_000]) {
    controller.now.runOnce()
    expect((await controller.vwn('v1')).state).toBe('busy')
    await until(async () => (await controller.hosts())[0]?.fact === 'alive', { withinMs: 20_000 })
  }
  expect(controller.lines.filter(({ msg }) => msg.startsWith('hosts are heard again'))).toHaveLength(2)
})

test('explain says which rule, which type, which host and why not the others', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: limited })
  await using _small = await startFakeBait({ url: nats.url, host: 'h1', capacity: { cpus: 2, memoryMib: 4096, scratchGib: 50 } })
  await using _other = await startFakeBait({ url: nats.url, host: 'h2', images: [{ digest: fakeDigest('c'), name: 'el9', contact: 'agent' }] })
  await using _good = await startFakeBait({ url: nats.url, host: 'h3' })
  const reply = await controller.get('/v1/explain?user=nobody-here&group=physics&queue=night', explanationSchema)
  expect(reply).toMatchObject({
    job: null, rule: 'physicists', type: 'large', allowed: ['large'], shape: { cpus: 4 }, decision: { is: 'make', host: 'h3' },
    rules: [{ rule: 'physicists', is: 'matched' }, { rule: 'giants', is: 'notReached' }, {}, {}, {}],
    hosts: [{ host: 'h1', why: '4 cpus wanted, 2 there' }, { host: 'h2', why: expect.stringContaining('debian12') }, { host: 'h3', why: 'it has room' }],
  })
  expect(await controller.get('/v1/explain?user=root', explanationSchema)).toMatchObject({ asked: { groups: expect.arrayContaining(['root']) }, type: 'standard' })
  expect(await controller.call('GET', '/v1/explain?user=nobody-here')).toMatchObject({ status: 404, body: { code: 'USER_NOT_FOUND' } })
  expect((await controller.get('/v1/types', typesReplySchema)).types.find(({ type }) => type === 'odd')).toMatchObject({ hosts: [], problem: 'no host has image nowhere' })
  expect((await controller.get('/v1/images', imagesReplySchema)).images.map(({ name, hosts }) => [name, hosts])).toEqual([['debian12', ['h1', 'h3']], ['el9', ['h2']], ['tiny', ['h1', 'h3']]])
})
