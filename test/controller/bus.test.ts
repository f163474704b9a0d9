/** What arrives late, twice, in the wrong order, or is no message at all. */
import fc from 'fast-check'
import { connect, type NatsConnection } from 'nats'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { until } from '../../kit/until.ts'
import { accountingReplySchema } from '../../wire/accounting.ts'
import { statusSchema } from '../../wire/api.ts'
import { ordersSchema, type Orders, type Report } from '../../wire/bait.ts'
import { subjects } from '../../wire/subjects.ts'
import { startTestController, type TestController } from '../harness/controller.ts'
import { createFakeHost, startFakeBait, type FakeHost } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

vi.setConfig({ testTimeout: 60_000 })
let nats: NatsServer
let wire: NatsConnection
beforeAll(async () => {
  nats = await startNats()
  wire = await connect({ servers: nats.url })
})
afterAll(async () => {
  await wire.close()
  await nats.stop()
})

const send = async (report: Report): Promise<Orders> => {
  const answer = await wire.request(subjects.report(report.host), JSON.stringify(report), { timeout: 5_000 })
  return ordersSchema.parse(JSON.parse(new TextDecoder().decode(answer.data)))
}
const status = (controller: TestController) => controller.get('/v1/status', statusSchema)

/** Lets a host and the controller talk until neither has anything new to say. */
async function settle(host: FakeHost): Promise<void> {
  let heard = false
  host.onChange(() => { heard = true })
  const quiet = async (): Promise<boolean> => {
    heard = false
    host.take(await send(host.report()))
    return !heard && host.jobs.size === 0
  }
  await until(quiet, { withinMs: 20_000, everyMs: 5, what: 'the host to settle' })
}

test('a report that comes twice, late or from a former process changes nothing', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const host = createFakeHost({ host: 'h1' })
  const early = host.report()
  host.submit()
  const newer = host.report()
  await send(newer)
  await until(async () => (await controller.vwns()).length === 1, { withinMs: 20_000 })
  await send(early)
  await send(newer)
  await send(newer)
  expect((await status(controller)).bus.stale).toBe(3)
  expect(await controller.jobs()).toHaveLength(1)
  expect(await controller.vwns()).toHaveLength(1)

  await settle(host)
  host.restart()
  await send(host.report())
  const before = (await status(controller)).bus.stale
  await send({ ...newer, seq: 1_000_000 })
  expect((await status(controller)).bus.stale).toBe(before + 1)
  expect((await controller.vwns()).map(({ state }) => state)).toEqual(['idle'])
  host.close()
})

test('an ended job is recorded once, however often it is reported, and keeps what it was', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const host = createFakeHost({ host: 'h1' })
  const job = host.submit()
  await send(host.report())
  host.cancel(job)
  expect(host.ended.size).toBe(1)
  for (let round = 0; round < 5; round += 1) expect((await send(host.report())).acknowledged).toEqual([job])
  const recorded = await controller.job(job)
  expect(recorded).toMatchObject({ state: 'ended', outcome: { is: 'cancelled' } })
  await until(async () => (await controller.get('/v1/accounting', accountingReplySchema)).records.length === 1, { withinMs: 20_000, what: 'its accounting record' })

  const report = host.report()
  const rewritten = { ...report, seq: report.seq + 1, ended: report.ended.map((one) => ({ ...one, outcome: { is: 'exited' as const, code: 9 }, phases: { ...one.phases, scrub: 12 } })) }
  await send(rewritten)
  expect(await controller.job(job)).toEqual(recorded)
  expect(await controller.jobs()).toHaveLength(1)
  host.close()
})

test('a name that an ended job had is refused, and a job that its bait forgot is lost', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const host = createFakeHost({ host: 'h1' })
  const job = host.submit()
  await send(host.report())
  const { jobs: _, ...rest } = host.report()
  await send({ ...rest, jobs: [] })
  expect(await controller.job(job)).toMatchObject({ state: 'ended', outcome: { is: 'lost', failure: { code: 'JOB_VANISHED' } } })
  const orders = await send(host.report())
  expect(orders.answers).toEqual([expect.objectContaining({ job, is: 'refused', failure: expect.objectContaining({ code: 'JOB_ID_TAKEN' }) })])
  expect((await send(host.report())).answers).toHaveLength(1)
  host.close()
})

test('orders rise in number within a term, and the next term begins higher', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const host = createFakeHost({ host: 'h1' })
  const seen: number[] = []
  for (let round = 0; round < 3; round += 1) {
    host.submit()
    const orders = await send(host.report())
    seen.push(orders.generation)
    host.take(orders)
    await settle(host)
  }
  expect([...seen].sort((a, b) => a - b)).toEqual(seen)
  const last = (await send(host.report())).generation
  await controller.halt()
  await controller.start()
  const next = await send(host.report())
  expect(next.term).toBe(2)
  expect(next.generation).toBeGreaterThan(last)
  host.close()
})

test('a report under another name is refused', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const host = createFakeHost({ host: 'h1' })
  const answer = await wire.request('wnod.report.h2', JSON.stringify(host.report()), { timeout: 5_000 })
  expect(answer.headers?.get('Wnod-Refused')).toContain('came as')
  expect(await controller.hosts()).toEqual([])
  host.close()
})

test('garbage on the bus is counted and dropped, and the controller works on', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const host = createFakeHost({ host: 'h7' })
  const report = JSON.stringify(host.report())
  const bytes = fc.uint8Array({ maxLength: 300 })
  const cut = fc.nat(report.length - 1).map((length) => new TextEncoder().encode(report.slice(0, length)))
  const bent = fc.record({ at: fc.nat(report.length - 1), byte: fc.nat(255) }).map(({ at, byte }) => {
    const copy = new TextEncoder().encode(report)
    copy[at] = byte
    return copy
  })
  const odd = fc.jsonValue().map((value) => new TextEncoder().encode(JSON.stringify({ ...JSON.parse(report) as object, jobs: value })))
  const deep = fc.constant(new TextEncoder().encode('['.repeat(100_000)))
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(bytes, cut, bent, odd, deep), { minLength: 20, maxLength: 20 }), async (messages) => {
      for (const message of messages) wire.publish(subjects.report(host.host), message)
      await wire.flush()
    }),
    { numRuns: 40 },
  )
  await until(async () => (await status(controller)).bus.dropped > 300, { withinMs: 20_000, what: 'garbage dropped' })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  const job = bait.submit()
  expect(await controller.untilJob(job, (view) => view.state === 'ended')).toMatchObject({ outcome: { is: 'exited', code: 0 } })
  expect(controller.lines.filter(({ level }) => level === 'error')).toEqual([])
  host.close()
})

test.each([11, 22, 33])('lost, late and doubled messages cost nothing but time (seed %i)', async (seed) => {
  await using controller = await startTestController({ natsUrl: nats.url })
  const host = createFakeHost({ host: 'h1' })
  const random = fc.sample(fc.double({ min: 0, max: 1, noNaN: true }), { seed, numRuns: 400 })
  const jobs = [host.submit(), host.submit({ user: 'bob', uid: 1002 }), host.submit()]
  const mail: Orders[] = []
  const reports: Report[] = []
  for (let round = 0; round < 100; round += 1) {
    const [a = 0, b = 0, c = 0, d = 0] = random.slice(round * 4, round * 4 + 4)
    reports.push(host.report())
    const report = reports[a < 0.7 ? reports.length - 1 : Math.floor(b * reports.length)]
    if (report !== undefined && c < 0.8) mail.push(await send(report))
    const orders = mail[Math.floor(d * mail.length)]
    if (orders !== undefined) host.take(orders)
  }
  await settle(host)
  for (const job of jobs) expect(await controller.job(job)).toMatchObject({ state: 'ended', outcome: { is: 'exited', code: 0 } })
  await until(async () => (await controller.vwns()).every(({ state }) => state === 'idle'), { withinMs: 20_000 })
  expect((await controller.vwns()).map(({ vwn }) => vwn).sort()).toEqual([...host.vwns.keys()].sort())
  host.close()
})
