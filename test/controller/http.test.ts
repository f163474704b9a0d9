/** The API as a client meets it. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { catalogue } from '../../core/errors.ts'
import { vwnId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import { errorReplySchema } from '../../wire/api.ts'
import type { TestController } from '../harness/controller.ts'
import type { FakeBait } from '../harness/fake-bait.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'

vi.setConfig({ testTimeout: 60_000 })
let played: PlayedFarm
let controller: TestController
let bait: FakeBait
beforeAll(async () => {
  played = await startPlayedFarm()
  ;({ controller, bait } = played)
  for (const job of [bait.submit(), bait.submit({ user: 'bob', uid: 1002, want: { type: 'small', queue: 'fast' } })]) {
    await controller.untilJob(job, (view) => view.state === 'ended')
  }
})
afterAll(() => played[Symbol.asyncDispose]())

test.each([
  ['GET', '/v1/vwns/v99', 404, 'VWN_NOT_FOUND'],
  ['GET', '/v1/vwns/../../etc/passwd', 404, 'ROUTE_NOT_FOUND'],
  ['GET', '/v1/vwns/x', 404, 'VWN_NOT_FOUND'],
  ['GET', '/v1/jobs/h1-99', 404, 'JOB_NOT_FOUND'],
  ['GET', '/v1/jobs/h1-99/receipt', 404, 'JOB_NOT_FOUND'],
  ['GET', '/v1/jobs/%00/explain', 404, 'JOB_NOT_FOUND'],
  ['GET', '/v1/jobs?usr=alice', 400, 'REQUEST_INVALID'],
  ['GET', '/v1/jobs?limit=0', 400, 'REQUEST_INVALID'],
  ['GET', '/v1/jobs?state=asleep', 400, 'REQUEST_INVALID'],
  ['GET', '/v1/vwns?gone=perhaps', 400, 'REQUEST_INVALID'],
  ['GET', '/v1/explain', 400, 'REQUEST_INVALID'],
  ['GET', '/v1/explain?user=nobody-here', 404, 'USER_NOT_FOUND'],
  ['GET', '/v1/nothing', 404, 'ROUTE_NOT_FOUND'],
  ['POST', '/v1/hosts', 404, 'ROUTE_NOT_FOUND'],
  ['POST', '/v1/hosts/h9/drain', 404, 'HOST_NOT_FOUND'],
  ['POST', '/v1/vwns/v99/kill', 404, 'VWN_NOT_FOUND'],
] as const)('%s %s is refused with %i %s', async (method, path, status, code) => {
  const reply = await controller.call(method, path)
  const body = errorReplySchema.parse(reply.body)
  expect([reply.status, body.code]).toEqual([status, code])
  expect(body.message).toContain(catalogue[code].say)
  expect(body.hint).toBe(catalogue[code].hint)
})

test('a misspelled parameter is named, with the one that was probably meant', async () => {
  expect((await controller.call('GET', '/v1/jobs?usr=alice')).body).toMatchObject({ facts: { parameter: 'usr', nearest: 'user' } })
})

test('over TCP everything can be read and nothing ordered', async () => {
  for (const path of ['/healthz', '/readyz', '/v1/status', '/v1/hosts', '/v1/vwns', '/v1/jobs', '/v1/types', '/v1/images', '/v1/vwns/v1', '/v1/jobs/h1-1', '/v1/jobs/h1-1/receipt', '/v1/jobs/h1-1/explain', '/v1/explain?user=root']) {
    expect((await controller.read('GET', path)).status, path).toBe(200)
  }
  for (const path of ['/v1/hosts/h1/drain', '/v1/hosts/h1/undrain', '/v1/vwns/v1/kill']) {
    expect(await controller.read('POST', path)).toMatchObject({ status: 404, body: { code: 'ROUTE_NOT_FOUND' } })
  }
  expect(await controller.hosts()).toMatchObject([{ want: 'open' }])
})

test('a VWN that stands still says so, until it runs again', async () => {
  const paused = async (): Promise<boolean | undefined> => (await controller.vwns('?type=standard'))[0]?.paused
  expect(await paused()).toBe(false)
  for (const still of [true, false]) {
    bait.pause(vwnId('v1'), still)
    await until(async () => (await paused()) === still, { withinMs: 20_000 })
  }
})

test('jobs can be filtered, newest first', async () => {
  const ids = async (query: string) => (await controller.jobs(query)).map(({ job }) => job)
  expect(await ids('')).toEqual(['h1-2', 'h1-1'])
  expect(await ids('?user=alice')).toEqual(['h1-1'])
  expect(await ids('?type=small&host=h1')).toEqual(['h1-2'])
  expect(await ids('?vwn=v1')).toEqual(['h1-1'])
  expect(await ids('?only=live')).toEqual([])
  expect(await ids('?state=ended&limit=1')).toEqual(['h1-2'])
})

test('a VWN shows what it is made of', async () => {
  expect(await controller.vwns('?type=small')).toMatchObject([{
    vwn: 'v2', host: 'h1', image: { name: 'tiny' }, contact: 'ssh', shape: { cpus: 1, memoryMib: 128, scratchGib: 1 }, network: 'isolated',
    owner: { uid: 1002, user: 'bob', gid: 1002, group: 'bob', project: null }, reuse: 'same-user', token: expect.stringMatching(/^1\.\d+$/), accelerator: 'tcg', bootAttempt: 1, phases: { boot: 1 }, cause: null,
  }])
})
