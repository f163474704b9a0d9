/** The farm as a watcher meets it, over the real server. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { until } from '../../kit/until.ts'
import { farmSchema, resetSchema, type Farm } from '../../wire/farm.ts'
import type { TestController } from '../harness/controller.ts'
import { openEventStream } from '../harness/event-stream.ts'
import type { FakeBait } from '../harness/fake-bait.ts'
import { farmWatcher, sorted } from '../harness/farm-watcher.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'

vi.setConfig({ testTimeout: 60_000 })
let played: PlayedFarm
let controller: TestController
let bait: FakeBait
beforeAll(async () => {
  played = await startPlayedFarm({ jobMs: null })
  ;({ controller, bait } = played)
})
afterAll(() => played[Symbol.asyncDispose]())
const farm = (): Promise<Farm> => controller.get('/v1/farm', farmSchema)
const changes = (query: string, headers = {}): ReturnType<typeof openEventStream> => openEventStream(`${controller.now.url}/v1/changes${query}`, headers)

test('the farm has every host, VWN and job that there is, and its hosts hold what the list of hosts says', async () => {
  const job = bait.submit({ user: 'carol', want: { queue: 'night', batchSystem: 'slurm', batchJobId: '77' }, name: 'sleep' })
  const { vwn } = await controller.untilJob(job, ({ state }) => state === 'running')
  const seen = await farm()
  const [host] = await controller.hosts()
  expect(seen.hosts).toMatchObject([{ host: 'h1', want: 'open', fact: 'alive', capacity: host?.capacity, used: host?.used, broken: null }])
  expect(seen.vwns).toMatchObject([{ vwn, host: 'h1', type: 'standard', state: 'busy', paused: false, job, user: 'carol', cpus: 2, memoryMib: 1024, scratchGib: 4, cause: null }])
  expect(seen.jobs).toMatchObject([{ job, name: 'sleep', user: 'carol', queue: 'night', state: 'running', type: 'standard', vwn, batchSystem: 'slurm', batchJobId: '77', outcome: null }])
})

test('a watcher that hears every change knows what the farm says, over a restart of the controller too; heartbeats say nothing', async () => {
  const watcher = farmWatcher()
  watcher.fetched(await farm())
  const same = async (): Promise<boolean> => {
    const now = await farm()
    if (now.generation !== watcher.generation) return false
    expect(watcher.rows()).toEqual(sorted(now))
    return true
  }
  {
    using stream = await changes(`?since=${watcher.generation}`)
    expect(stream.headers['content-type']).toBe('text/event-stream; charset=utf-8')
    const jobs = [bait.submit(), bait.submit({ user: 'bob', uid: 1002, want: { type: 'small' } })]
    for (const job of jobs) await controller.untilJob(job, ({ state }) => state === 'running')
    for (const job of jobs) bait.finish(job)
    for (const job of jobs) await controller.untilJob(job, ({ state }) => state === 'ended')
    let heard = 0
    await until(() => {
      for (; heard < stream.events.length; heard += 1) expect(watcher.heard(stream.events[heard] ?? { event: 'none', id: null, data: null })).toBe(true)
      return same()
    }, { withinMs: 20_000 })
    expect(stream.events.filter(({ event }) => event === 'change').every(({ id, data }) => Number(id) === farmSchema.parse(data).generation)).toBe(true)
    expect(stream.events.some(({ event }) => event === 'tick')).toBe(true)
    expect(watcher.rows().jobs.some(({ job }) => jobs.includes(job))).toBe(false)
  }
  const before = (await farm()).generation
  for (let beats = 0; beats < 3; beats += 1) await bait.reportNow()
  expect((await farm()).generation).toBe(before)

  await controller.halt()
  await controller.start()
  await until(async () => (await farm()).hosts[0]?.fact === 'alive', { withinMs: 20_000 })
  using again = await changes('', { 'last-event-id': String(watcher.generation) })
  await until(() => {
    again.events.forEach((event) => watcher.heard(event))
    return same()
  }, { withinMs: 20_000 })
})

test('a generation that this database never had, or has forgotten, is a reset', async () => {
  const { generation } = await farm()
  for (const since of [generation + 1000, 1]) {
    using stream = await changes(`?since=${since}`)
    await until(() => stream.events.length > 0, { withinMs: 20_000 })
    expect(stream.events[0]).toMatchObject({ event: 'reset' })
    expect(resetSchema.parse(stream.events[0]?.data).generation).toBeGreaterThanOrEqual(generation)
  }
  expect(await controller.call('GET', '/v1/changes?since=yesterday')).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } })
})

test('a watcher that goes is forgotten', async () => {
  const stream = await changes('')
  await until(() => controller.now.watchers > 0, { withinMs: 20_000 })
  stream[Symbol.dispose]()
  await until(() => controller.now.watchers === 0, { withinMs: 20_000 })
})
