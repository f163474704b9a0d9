/** Who gets whose VWN by which policy, and what is on record of it, with the controller and a played bait. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { until } from '../../kit/until.ts'
import { receiptSchema, typesReplySchema } from '../../wire/api.ts'
import { startTestController, type TestController } from '../harness/controller.ts'
import { startFakeBait, type FakeBait, type FakeJob } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

vi.setConfig({ testTimeout: 60_000 })
let nats: NatsServer
beforeAll(async () => { nats = await startNats() })
afterAll(() => nats.stop())

const mappingWith = (reuse: string, image = 'debian12'): string => `
types: { standard: { image: ${image}, reuse: ${reuse} } }
default: { type: standard, limits: { per_user: 1 } }
`
const ada: FakeJob = { user: 'ada', uid: 1001, gid: 100, group: 'cms', want: { project: 'higgs' } }
const ben: FakeJob = { user: 'ben', uid: 1002, gid: 100, group: 'cms', want: { project: 'top' } }
const cleo: FakeJob = { user: 'cleo', uid: 1003, gid: 101, group: 'atlas', want: { project: 'higgs' } }

/** The VWNs that jobs of these users get, one after the other. */
async function vwnsOf(controller: TestController, bait: FakeBait, jobs: readonly FakeJob[]): Promise<readonly (string | null)[]> {
  const got: (string | null)[] = []
  for (const job of jobs) {
    got.push((await controller.untilJob(bait.submit(job), ({ state }) => state === 'ended')).vwn)
    await until(async () => (await controller.vwns()).every(({ state }) => state === 'idle'), { withinMs: 20_000, what: 'all VWNs are idle' })
  }
  return got
}

test.each([
  ['never', 'debian12', [ada, ada], ['v1', 'v2']],
  ['same-user', 'debian12', [ada, ben, cleo, ada], ['v1', 'v2', 'v3', 'v1']],
  ['same-group', 'debian12', [ada, ben, cleo, ada], ['v1', 'v1', 'v2', 'v1']],
  ['same-project', 'debian12', [ada, ben, cleo, ada], ['v1', 'v2', 'v1', 'v1']],
  ['same-group', 'tiny', [ada, ben, ada], ['v1', 'v2', 'v1']],
])('by %s, in image %s', async (reuse, image, jobs, vwns) => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith(reuse, image) })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  expect(await vwnsOf(controller, bait, jobs)).toEqual(vwns)
})

test('a VWN is its first job’s for life, counts as his, and goes when its type is shared otherwise', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('same-group') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  expect(await vwnsOf(controller, bait, [ada, ben])).toEqual(['v1', 'v1'])
  expect(await controller.vwns()).toMatchObject([{ reuse: 'same-group', owner: { user: 'ada', uid: 1001, gid: 100, group: 'cms', project: 'higgs' } }])
  expect((await controller.get('/v1/types', typesReplySchema)).types).toMatchObject([{ reuse: 'same-group' }])
  controller.writeMapping(mappingWith('same-user'))
  await until(async () => (await controller.vwns()).length === 0, { withinMs: 20_000, what: 'v1 is gone' })
  expect((await controller.vwn('v1')).cause?.message).toContain('type standard has reuse same-user now')
})

test('the receipt of a job is what its bait has said, over a restart of the controller', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mappingWith('same-user') })
  await using bait = await startFakeBait({ url: nats.url, host: 'h1' })
  await vwnsOf(controller, bait, [ada, ada])
  const receipt = async (job: string) => (await controller.get(`/v1/jobs/${job}/receipt`, receiptSchema)).scrubReceipt
  const [first, second] = [await receipt('h1-1'), await receipt('h1-2')]
  expect(first).toMatchObject({ made: 'clone', policy: 'same-user', jobsBefore: 0, before: 'nobody', scrub: null })
  expect(second).toMatchObject({ jobsBefore: 1, before: 'same-user', scrub: { checked: ['processes', 'files'], tookMs: 12 } })
  await controller.halt()
  await controller.start()
  expect(await receipt('h1-2')).toEqual(second)
  const never = bait.submit({ ...ada, want: { type: 'nothing' } })
  await controller.untilJob(never, ({ state }) => state === 'ended')
  expect(await receipt(never)).toBeNull()
})
