/** `wnod events` against a real controller with a played bait. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { controllerApi } from '../../cli/client.ts'
import type { Context } from '../../cli/context.ts'
import { eventLine, events, type EventsAsked } from '../../cli/events.ts'
import { moment } from '../../core/words.ts'
import { roll } from '../../cli/table.ts'
import { cells } from '../../cli/text.ts'
import { vwnId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import { farmEventSchema, type FarmEvent } from '../../wire/history.ts'
import type { TestController } from '../harness/controller.ts'
import { startFakeBait, type FakeBait } from '../harness/fake-bait.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })
let played: PlayedFarm
let controller: TestController
let bait: FakeBait
beforeAll(async () => {
  played = await startPlayedFarm()
  ;({ controller, bait } = played)
  await ran()
})
afterAll(() => played[Symbol.asyncDispose]())

/** A job of this user has come and gone. */
async function ran(user = 'alice', uid = 1001): Promise<string> {
  const job = bait.submit({ user, uid })
  await controller.untilJob(job, ({ state }) => state === 'ended')
  return job
}

/** `wnod events --json` in this process. */
function asked(options: EventsAsked, signal = new AbortController().signal, api = controllerApi(controller.home)): { readonly seen: FarmEvent[]; readonly said: string[]; readonly over: Promise<void> } {
  const seen: FarmEvent[] = []
  const said: string[] = []
  const context: Context = {
    home: controller.home, api, json: true, ...roll,
    print: (line) => void seen.push(farmEventSchema.parse(JSON.parse(line))), say: (line) => void said.push(line),
  }
  return { seen, said, over: events(context, options, signal) }
}

async function listed(options: EventsAsked): Promise<FarmEvent[]> {
  const { seen, over } = asked(options)
  await over
  return seen
}

test('what happened to a VWN, first to last, with the reason', async () => {
  await until(async () => (await controller.vwn('v1')).state === 'idle', { withinMs: 20_000, what: 'v1 is clean' })
  bait.breakVwn(vwnId('v1'))
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000, what: 'v1 is gone' })
  const told = await listed({ vwn: 'v1' })
  expect(told.map(({ to }) => to)).toEqual(expect.arrayContaining(['requested', 'booting', 'busy', 'cleaning', 'idle', 'gone']))
  expect(told.map(({ id }) => id)).toEqual(told.map(({ id }) => id).toSorted((a, b) => a - b))
  expect(told.map(({ why }) => why)).toContainEqual(expect.stringContaining('VWN_DIED'))
})

test('chosen by VWN, host, job, time and number', async () => {
  const all = await listed({})
  expect(await listed({ vwn: 'v99' })).toEqual([])
  expect(await listed({ host: 'h2' })).toEqual([])
  expect(new Set((await listed({ job: 'h1-1' })).map(({ job }) => job))).toEqual(new Set(['h1-1']))
  expect(await listed({ since: Date.now() - 3_600_000 })).toEqual(all)
  expect(await listed({ limit: 2 })).toEqual(all.slice(-2))
  expect(await listed({ since: Date.now() - 3_600_000, limit: 2 })).toEqual(all.slice(-2))
  expect(await listed({ since: Date.UTC(2099, 0, 1) })).toEqual([])
})

test('all of a long past comes, page by page', async () => {
  const [first] = await listed({ limit: 1 })
  const past = Array.from({ length: 2_500 }, (_, i) => ({ ...first, id: i + 1 }))
  const api: Context['api'] = {
    ...controllerApi(controller.home),
    get: (_path, schema, query = {}) => {
      const events = past.slice(Number(query['since'] ?? 0)).slice(0, Number(query['limit']))
      return Promise.resolve(schema.parse({ events, next: events.at(-1)?.id === 2_500 ? null : events.at(-1)?.id }))
    },
  }
  const { seen, over } = asked({ since: Date.now() - 86_400_000 }, undefined, api)
  await over
  expect(seen).toEqual(past)
})

test('it follows through restarts of the controller, and tells each event once', async () => {
  const enough = new AbortController()
  const { seen, said, over } = asked({ follow: true, since: Date.now() - 86_400_000 }, enough.signal)
  await ran('bob', 1002)
  await controller.halt()
  await until(() => said.length > 0, { withinMs: 20_000, what: 'the break is said' })
  await controller.start()
  await bait.reportNow()
  const last = await ran('carol', 1003)
  await until(async () => (await controller.vwns()).every(({ state }) => state === 'idle'), { withinMs: 20_000, what: 'nothing happens any more' })
  const all = await listed({ since: Date.now() - 86_400_000 })
  await until(() => seen.at(-1)?.id === all.at(-1)?.id, { withinMs: 20_000, what: 'all is told' })
  enough.abort()
  await over
  expect(seen).toEqual(all)
  expect(seen.map(({ job }) => job)).toContain(last)
  expect(said).toEqual([expect.stringMatching(/waiting for it$/)])
})

test('what is followed can be chosen too', async () => {
  const enough = new AbortController()
  const { seen, over } = asked({ follow: true, limit: 1, host: 'h2' }, enough.signal)
  await using other = await startFakeBait({ url: played.natsUrl, host: 'h2' })
  const job = other.submit({ user: 'dave', uid: 1004 })
  await ran('dave', 1004)
  await controller.untilJob(job, ({ state }) => state === 'ended')
  await until(() => seen.some((event) => event.job === job), { withinMs: 20_000, what: `an event with ${job}` })
  enough.abort()
  await over
  expect(new Set(seen.map(({ host }) => host))).toEqual(new Set(['h2']))
})

test('a line holds what a reason holds of words, and no more than the terminal is wide', () => {
  const event = farmEventSchema.parse({ id: 1, atMs: 1_800_000_000_000, vwn: 'v1', host: 'h1', type: 'standard', event: 'failed', from: 'booting', to: 'stopping', job: null, why: 'no\u001b[2J\nroom 漢字' })
  const whole = `${moment(1_800_000_000_000)}  v1      h1        standard    booting > stopping      failed      -         no [2J room 漢字`
  expect(eventLine(event, roll)).toBe(whole)
  expect(cells(eventLine(event, { width: 80, colour: false }))).toBe(80)
})
