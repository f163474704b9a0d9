/** Reports that say what the one before said: they are not read, and nobody can tell by what comes of them. */
import { connect, type NatsConnection } from 'nats'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { hostId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import { hostsReplySchema } from '../../wire/api.ts'
import { ordersSchema, type Orders, type Report } from '../../wire/bait.ts'
import { subjects } from '../../wire/subjects.ts'
import { startTestController, type TestController } from '../harness/controller.ts'
import { createFakeHost, type FakeHost } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

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

const ask = async (host: string, text: string): Promise<{ readonly text: string; readonly refused: string }> => {
  const answer = await wire.request(subjects.report(hostId(host)), text, { timeout: 5_000 })
  return { text: new TextDecoder().decode(answer.data), refused: answer.headers?.get('Wnod-Refused') ?? '' }
}
const send = async (report: Report): Promise<Orders> => ordersSchema.parse(JSON.parse((await ask(report.host, JSON.stringify(report))).text))

/** How many were not read, so far. */
async function unread(controller: TestController): Promise<number> {
  const text = await (await fetch(`${controller.now.url}/metrics`)).text()
  return Number(/^wnod_reports_total\{is="same"\} (\d+)$/m.exec(text)?.[1])
}

/** Runs a job to its end; from then on the host has nothing new to say. */
async function settled(host: FakeHost): Promise<void> {
  let news = true
  host.onChange(() => { news = true })
  host.submit()
  await until(async () => {
    news = false
    host.take(await send(host.report()))
    return !news && host.jobs.size === 0 && host.ended.size === 0
  }, { withinMs: 20_000, everyMs: 5, what: 'the host has nothing new to say' })
}

test('it counts as heard, is answered as before, and is read again as soon as either side has something new', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  using host = { ...createFakeHost({ host: 'h1' }), [Symbol.dispose]: () => host.close() }
  await settled(host)
  const first = await send(host.report())
  const before = await unread(controller)
  for (let nth = 1; nth <= 3; nth += 1) {
    expect(await send(host.report())).toEqual(first)
    expect(await unread(controller)).toBe(before + nth)
  }

  expect(await controller.call('POST', `/v1/vwns/${first.vwns[0]?.vwn}/kill`)).toMatchObject({ status: 202 })
  const told = await send(host.report())
  expect(told.vwns).toMatchObject([{ want: 'gone' }])
  expect(told.generation).toBeGreaterThan(first.generation)
  expect(await unread(controller)).toBe(before + 3)
  expect(await send(host.report())).toEqual(told) // and again, if the answer was lost
  expect(await unread(controller)).toBe(before + 4)

  const job = host.submit()
  await send(host.report())
  expect(await unread(controller)).toBe(before + 4)
  expect(await controller.job(job)).toMatchObject({ host: 'h1' })
})

test('late or doubled it is none: what was said in between counts', async () => {
  await using controller = await startTestController({ natsUrl: nats.url })
  using host = { ...createFakeHost({ host: 'h2' }), [Symbol.dispose]: () => host.close() }
  await settled(host)
  const plain = host.report()
  await send(plain)
  const [again, later] = [host.report(), host.report()]
  await send(again)
  const before = await unread(controller)
  await send(again)
  expect(await unread(controller)).toBe(before)
  const busy = { ...later, facts: { ...later.facts, broken: 'no room for a guest' } }
  // All three arrive at once: the last says what the first said, but not what the one before it said.
  await Promise.all([send(host.report()), send({ ...busy, seq: later.seq + 2 }), send({ ...plain, seq: later.seq + 3 })])
  const { hosts } = await controller.get('/v1/hosts', hostsReplySchema)
  expect(hosts).toMatchObject([{ host: 'h2', broken: null }])
})

test.each([
  ['a number that is none', (text: string) => text.replace(/"seq":\d+/, '"seq":1e999')],
  ['a number that is too large', (text: string) => text.replace(/"seq":\d+/, '"seq":99999999999999999')],
  ['a number with a zero before it', (text: string) => text.replace(/"seq":(\d+)/, '"seq":0$1')],
  ['no number', (text: string) => text.replace(/"seq":\d+/, '"seq":')],
  ['another end', (text: string) => `${text.slice(0, -1)} `],
])('one with %s is read, and refused', async (_, spoilt) => {
  await using controller = await startTestController({ natsUrl: nats.url })
  using host = { ...createFakeHost({ host: 'h3' }), [Symbol.dispose]: () => host.close() }
  await settled(host)
  await send(host.report())
  const before = await unread(controller)
  expect((await ask('h3', spoilt(JSON.stringify(host.report())))).refused).toMatch(/not understood/)
  expect(await unread(controller)).toBe(before)
})
