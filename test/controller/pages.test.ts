/** Lists page by page, what happened and what is described, over the real server. */
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { readRoutes } from '../../controller/http/read.ts'
import type { Route } from '../../controller/http/routes.ts'
import { application } from '../../controller/http/server.ts'
import { verbRoutes } from '../../controller/http/verbs.ts'
import { until } from '../../kit/until.ts'
import { jobsReplySchema, vwnsReplySchema } from '../../wire/api.ts'
import { eventsReplySchema, historyBoundsSchema, pastFarmSchema, type FarmEvent } from '../../wire/history.ts'
import { page } from '../harness/api-page.ts'
import type { TestController } from '../harness/controller.ts'
import { openEventStream } from '../harness/event-stream.ts'
import type { FakeBait } from '../harness/fake-bait.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'

vi.setConfig({ testTimeout: 60_000 })
let played: PlayedFarm
let controller: TestController
let bait: FakeBait
beforeAll(async () => {
  played = await startPlayedFarm()
  ;({ controller, bait } = played)
  for (const user of ['anna', 'ben', 'cleo', 'anna', 'ben']) {
    const job = bait.submit({ user, uid: 1000 + user.charCodeAt(0) })
    await controller.untilJob(job, ({ state }) => state === 'ended')
  }
})
afterAll(() => played[Symbol.asyncDispose]())

test.each([['/v1/jobs', jobsReplySchema, 'jobs', 'job'], ['/v1/vwns?gone=true', vwnsReplySchema, 'vwns', 'vwn']] as const)('pages of %s make up the whole list', async (path, schema, list, id) => {
  const at = (query: string): string => `${path}${path.includes('?') ? '&' : '?'}${query}`
  const idsOf = (reply: unknown): unknown[] => ((reply as Record<string, Record<string, unknown>[]>)[list] ?? []).map((row) => row[id])
  const whole = await controller.get(path, schema)
  expect(whole.next).toBeNull()
  const paged: unknown[] = []
  for (let next: string | null = ''; next !== null; ) {
    const reply: { next: string | null } = await controller.get(at(`limit=2${next === '' ? '' : `&cursor=${next}`}`), schema)
    paged.push(...idsOf(reply))
    next = reply.next
  }
  expect(paged).toEqual(idsOf(whole))
  expect(paged.length).toBeGreaterThan(2)
})

test('of each row only what is asked for', async () => {
  expect((await controller.call('GET', '/v1/jobs?fields=job,user&limit=1')).body).toEqual({ jobs: [{ job: 'h1-5', user: 'ben' }], next: expect.any(String) })
  expect(await controller.call('GET', '/v1/jobs?fields=job,usr')).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID', facts: { parameter: 'fields', nearest: 'user' } } })
})

test.each(['x', '!!!', 'bnVsbA', Buffer.from('[1]').toString('base64url'), Buffer.from('["a","b"]').toString('base64url'), Buffer.from('[-1,"b"]').toString('base64url')])('cursor %s is refused', async (cursor) => {
  expect(await controller.call('GET', `/v1/jobs?cursor=${cursor}`)).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID', facts: { parameter: 'cursor' } } })
})

test.each(['/v1/jobs', '/v1/farm', '/v1/types'])('%s is not told twice to those who know it', async (path) => {
  const ask = (headers: Record<string, string>): Promise<{ status: number; etag: string; bytes: number }> =>
    new Promise((resolve, reject) => {
      const asked = request({ socketPath: controller.home.controllerSocket, path, headers }, (reply) => {
        let bytes = 0
        reply.on('data', (chunk: Buffer) => { bytes += chunk.length })
        reply.once('end', () => resolve({ status: reply.statusCode ?? 0, etag: reply.headers.etag ?? '', bytes }))
      })
      asked.once('error', reject)
      asked.end()
    })
  const first = await ask({})
  expect(first).toMatchObject({ status: 200, etag: expect.stringMatching(/^".+"$/) })
  expect(await ask({ 'if-none-match': `"other", W/${first.etag}` })).toEqual({ status: 304, etag: first.etag, bytes: 0 })
  expect(await ask({ 'if-none-match': '"other"' })).toMatchObject({ status: 200, etag: first.etag })
})

test('events are found by VWN, host, job and time, page by page, forwards and backwards, and followed', async () => {
  const events = async (query: string): Promise<z.output<typeof eventsReplySchema>> => controller.get(`/v1/events${query}`, eventsReplySchema)
  const all = (await events('?limit=1000')).events
  expect(all[0]).toMatchObject({ vwn: 'v1', host: 'h1', type: 'standard', event: 'requested', from: 'requested', to: 'requested', job: 'h1-1' })
  const same = async (query: string, fits: (event: FarmEvent) => boolean): Promise<void> => expect((await events(`?limit=1000&${query}`)).events, query).toEqual(all.filter(fits))
  const [middle] = all.slice(Math.floor(all.length / 2))
  if (middle === undefined) throw new Error('nothing happened')
  await same('vwn=v2', ({ vwn }) => vwn === 'v2')
  await same('host=h1', () => true)
  await same('host=h2', () => false)
  await same('job=h1-2', ({ job }) => job === 'h1-2')
  await same(`from=${middle.atMs}`, ({ atMs }) => atMs >= middle.atMs)
  await same(`to=${middle.atMs}&vwn=v1`, ({ atMs, vwn }) => atMs <= middle.atMs && vwn === 'v1')
  for (const order of ['asc', 'desc']) {
    const paged: FarmEvent[] = []
    for (let since: number | null = -1; since !== null; ) {
      const reply = await events(`?limit=3&order=${order}${since === -1 ? '' : `&since=${since}`}`)
      paged.push(...reply.events)
      since = reply.next
    }
    expect(paged).toEqual(order === 'asc' ? all : all.toReversed())
  }

  using stream = await openEventStream(`${controller.now.url}/v1/events/follow?since=${middle.id}`)
  const job = bait.submit({ user: 'dora', uid: 1040 })
  await controller.untilJob(job, ({ state }) => state === 'ended')
  const missed = async (): Promise<readonly FarmEvent[]> => (await events(`?limit=1000&since=${middle.id}`)).events
  const told = (): unknown[] => stream.events.filter(({ event }) => event === 'event').map(({ data }) => data)
  await until(async () => told().length >= (await missed()).length, { withinMs: 20_000 })
  expect(told()).toEqual((await missed()).slice(0, told().length))
  using reset = await openEventStream(`${controller.now.url}/v1/events/follow?since=1000000`)
  await until(() => reset.events[0]?.event === 'reset', { withinMs: 20_000 })
})

test('the farm as it was can be asked for, within what is kept', async () => {
  const { fromMs, toMs } = await controller.get('/v1/history/bounds', historyBoundsSchema)
  const requested = (await controller.get('/v1/events?limit=1', eventsReplySchema)).events[0]
  const then = await controller.get(`/v1/history?at=${requested?.atMs}`, pastFarmSchema)
  expect(then).toMatchObject({ hosts: [{ host: 'h1', want: null }], vwns: [{ vwn: 'v1', state: expect.any(String), job: 'h1-1', user: 'anna', paused: null }], jobs: [{ job: 'h1-1', vwn: 'v1', state: null }] })
  for (const at of [fromMs - 1, toMs + 60_000]) {
    expect(await controller.call('GET', `/v1/history?at=${at}`)).toMatchObject({ status: 404, body: { code: 'HISTORY_UNKNOWN' } })
  }
})

/** The monitor and its files, which are for browsers. */
const ofThePage = ['GET /', 'GET /assets/:name']

/** Every address of an application with these routes, as the framework itself has them, but the page; it answers HEAD where it answers GET. */
async function served(routes: readonly Route[]): Promise<string[]> {
  const { app } = await application({} as Parameters<typeof application>[0], routes, null)
  const tree = [...app.printRoutes({ commonPrefix: false }).matchAll(/^([│ ]*)[├└]── (\S+) \((.+)\)$/gm)]
  await app.close()
  const above: string[] = []
  return tree.flatMap(([, indent = '', part = '', methods = '']) => {
    above.splice(indent.length / 4, Infinity, part)
    return methods.split(', ').flatMap((method) => (method === 'HEAD' ? [] : [`${method} ${above.join('')}`]))
  }).filter((address) => !ofThePage.includes(address)).sort()
}

interface Described {
  readonly paths: Record<string, Record<string, { parameters: { name: string; in: string }[]; responses: Record<string, { content: Record<string, { schema: { $ref?: string } }> }> }>>
  readonly components: { readonly schemas: Record<string, object> }
}

test('the description names every address of the server and no other, and answers are as it says', async () => {
  for (const method of ['read', 'call'] as const) {
    const described = (await controller[method]('GET', '/v1/openapi.json')).body as Described
    const addresses = Object.entries(described.paths).flatMap(([path, operations]) => Object.keys(operations).map((verb) => `${verb.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`))
    expect(addresses.sort()).toEqual(await served(method === 'call' ? [...readRoutes, ...verbRoutes] : readRoutes))
    expect(addresses.some((address) => address.startsWith('POST'))).toBe(method === 'call')

    const ids: Record<string, string> = { '/v1/hosts/{id}/resources': 'h1', '/v1/vwns/{id}': 'v1', '/v1/vwns/{id}/samples': 'v1', '/v1/vwns/{id}/console': 'v1' }
    const queries: Record<string, string> = { '/v1/explain': '?user=root', '/v1/history': `?at=${(await controller.get('/v1/history/bounds', historyBoundsSchema)).toMs}` }
    for (const [path, { get }] of Object.entries(described.paths)) {
      const ref = get?.responses['200']?.content['application/json']?.schema.$ref
      if (ref === undefined) continue
      const schema = described.components.schemas[ref.replace('#/components/schemas/', '')]
      const { status, body } = await controller[method]('GET', path.replace('{id}', ids[path] ?? 'h1-1') + (queries[path] ?? ''))
      expect(status, path).toBe(200)
      expect(z.fromJSONSchema(schema as Parameters<typeof z.fromJSONSchema>[0]).safeParse(body).error, path).toBeUndefined()
    }
  }
})

test('docs/api.md is what the routes print (`npm run docs` renews it)', () => {
  expect(readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8')).toBe(page())
})
