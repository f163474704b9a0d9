/** The controller against played baits on a real bus: what jobs get, and what survives. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { until } from '../../kit/until.ts'
import { explanationSchema, receiptSchema } from '../../wire/api.ts'
import { startTestController } from '../harness/controller.ts'
import { startFakeBait } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

vi.setConfig({ testTimeout: 60_000 })
let nats: NatsServer
beforeAll(async () => { nats = await startNats() })
afterAll(() => nats.stop())

test('a job gets a VWN, and the next job of its user gets the same one', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  const first = bait.submit({ name: 'make' })
  const done = await controller.untilJob(first, (job) => job.state === 'ended')
  expect(done).toMatchObject({ type: 'standard', rule: null, vwn: 'v1', reused: false, outcome: { is: 'exited', code: 0 }, name: 'make' })
  await until(() => bait.ended.size === 0, { withinMs: 20_000, what: 'the end acknowledged' })

  const second = bait.submit()
  expect(await controller.untilJob(second, (job) => job.state === 'ended')).toMatchObject({ vwn: 'v1', reused: true })
  const other = bait.submit({ user: 'bob', uid: 1002 })
  expect(await controller.untilJob(other, (job) => job.state === 'ended')).toMatchObject({ vwn: 'v2', reused: false })

  const { events } = await controller.vwn('v1')
  expect(events.map(({ event }) => event).slice(0, 8)).toEqual(['requested', 'accepted', 'prepared', 'ready', 'released', 'cleaned', 'assigned', 'released'])
  const receipt = await controller.get(`/v1/jobs/${first}/receipt`, receiptSchema)
  expect(receipt.timeline.map(({ phase }) => phase)).toEqual(expect.arrayContaining(['wait', 'placement', 'start', 'run']))
  expect(receipt.totalMs).toBeGreaterThanOrEqual(0)
  const why = await controller.get(`/v1/jobs/${second}/explain`, explanationSchema)
  expect(why).toMatchObject({ job: second, type: 'standard', decision: { is: 'reuse', vwn: 'v1', host: 'h1' }, hosts: [{ host: 'h1', why: expect.stringContaining('v1 is warm') }] })
})

test('what is logged about a job carries its trace, also where a VWN is what it is about', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  const trace = 'ab'.repeat(16)
  const job = bait.submit({ trace })
  expect(await controller.untilJob(job, ({ state }) => state === 'ended')).toMatchObject({ trace })
  const about = controller.lines.filter((line) => line['job'] === job)
  expect(about.map(({ msg }) => msg)).toEqual(expect.arrayContaining(['job decided', 'vwn moved']))
  expect(new Set(about.map((line) => line['trace']))).toEqual(new Set([trace]))
})

test('a new job for a warm VWN has its orders at once, without waiting for a heartbeat', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const heartbeatMs = 60_000
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', heartbeatMs })
  await controller.untilJob(bait.submit(), (job) => job.state === 'ended')
  const took: number[] = []
  for (let round = 0; round < 30; round += 1) {
    await until(async () => (await controller.vwns())[0]?.state === 'idle', { withinMs: 20_000, everyMs: 5 })
    const startedMs = performance.now()
    const job = bait.submit()
    const attached = new Promise<void>((resolve) => bait.onChange(() => { if (bait.jobs.get(job)?.state !== 'waiting') resolve() }))
    await attached
    took.push(performance.now() - startedMs)
  }
  const median = took.sort((a, b) => a - b)[15]
  expect(median).toBeLessThan(heartbeatMs / 50) // 3 ms on a quiet machine
})

test('jobs and VWNs live on through a restart of the controller', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  const running = bait.submit()
  await controller.untilJob(running, (job) => job.state === 'running')
  expect(controller.now.term).toBe(1)
  await controller.halt()
  const waiting = bait.submit({ user: 'bob', uid: 1002 })
  bait.finish(running)
  await controller.start()
  expect(controller.now.term).toBe(2)
  expect(await controller.untilJob(running, (job) => job.state === 'ended')).toMatchObject({ vwn: 'v1', outcome: { is: 'exited', code: 0 } })
  expect(await controller.untilJob(waiting, (job) => job.state === 'running')).toMatchObject({ vwn: 'v2' })
  expect((await controller.vwns()).map(({ vwn }) => vwn).sort()).toEqual(['v1', 'v2'])
  expect(bait.orders?.term).toBe(2)
})

test('a death of the nats-server costs time only', async () => {
  await using own = await startNats()
  await using controller = await startTestController({ natsUrl: own.url })
  await using bait = await startFakeBait({ url: own.url, host: 'h1' })
  await own.kill()
  const job = bait.submit()
  await own.start()
  expect(await controller.untilJob(job, (view) => view.state === 'ended')).toMatchObject({ outcome: { is: 'exited', code: 0 } })
})

test('a restart of the bait keeps warm VWNs, and a reboot of its host gives them up', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null })
  const warm = bait.submit()
  await controller.untilJob(warm, (job) => job.state === 'running')
  bait.finish(warm)
  await until(async () => (await controller.vwn('v1')).state === 'idle', { withinMs: 20_000 })
  const lost = bait.submit({ user: 'bob', uid: 1002 })
  await controller.untilJob(lost, (job) => job.state === 'running')
  bait.restart()
  expect(await controller.untilJob(lost, (job) => job.state === 'ended')).toMatchObject({ outcome: { is: 'lost' } })
  await until(async () => (await controller.vwn('v2')).state === 'gone', { withinMs: 20_000 })
  expect((await controller.vwn('v1')).state).toBe('idle')

  bait.reboot()
  await until(async () => (await controller.vwns()).length === 0, { withinMs: 20_000, what: 'no VWN left' })
  // Orders that were under way during the reboot may have had it made anew.
  expect(['VWN_VANISHED', 'VWN_DIED']).toContain((await controller.vwn('v1')).cause?.code)
})

test('a boot that fails is tried once more, then the job is refused with the reason', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', boot: 'fail' })
  const job = bait.submit()
  expect(await controller.untilJob(job, (view) => view.state === 'ended')).toMatchObject({ outcome: { is: 'refused', failure: { code: 'VWN_BOOT_TIMEOUT' } } })
  expect((await controller.vwns('?gone=true')).map(({ vwn, state }) => `${vwn} ${state}`).sort()).toEqual(['v1 gone', 'v2 gone'])
})

test('a VWN that was not clean after a job is thrown away', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', clean: 'dirty' })
  await controller.untilJob(bait.submit(), (view) => view.state === 'ended')
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000 })
  expect(await controller.untilJob(bait.submit(), (view) => view.state === 'ended')).toMatchObject({ vwn: 'v2' })
})
