/** What hosts show of their VWNs, through the API and the commands. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { controllerApi } from '../../cli/client.ts'
import type { Context } from '../../cli/context.ts'
import { printConsole, printSamples } from '../../cli/look.ts'
import { showOne } from '../../cli/show/one.ts'
import { roll } from '../../cli/table.ts'
import { vwnId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import { consoleReplySchema, samplesReplySchema, type Sample } from '../../wire/look.ts'
import type { TestController } from '../harness/controller.ts'
import type { FakeBait } from '../harness/fake-bait.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })
const v1 = vwnId('v1')
const sample = (atMs: number, cpuMs: number): Sample => ({ atMs, cpuMs, memoryBytes: 64 * 1024 ** 2, readBytes: 0, writtenBytes: cpuMs * 1024, toGuestBytes: null, fromGuestBytes: null })
let played: PlayedFarm
let controller: TestController
let bait: FakeBait
beforeAll(async () => {
  played = await startPlayedFarm({ jobMs: null })
  ;({ controller, bait } = played)
  await controller.untilJob(bait.submit(), ({ state }) => state === 'running')
})
afterAll(() => played[Symbol.asyncDispose]())

/** A command's context, and what it has printed and said. */
function commandLine(json = false): { readonly context: Context; printed(): string; readonly said: string[] } {
  const words: string[] = []
  const said: string[] = []
  const context: Context = { home: controller.home, api: controllerApi(controller.home), json, ...roll, print: (text) => void words.push(text), say: (text) => void said.push(text) }
  return { context, said, printed: () => words.join('') }
}

test('samples come from the host, those after a moment too', async () => {
  bait.samples.set(v1, [sample(1_000, 0), sample(11_000, 5_000), sample(21_000, 5_000)])
  const all = await controller.get('/v1/vwns/v1/samples', samplesReplySchema)
  expect(all).toMatchObject({ everyMs: 10_000, samples: [{ atMs: 1_000 }, { cpuMs: 5_000 }, { atMs: 21_000 }] })
  expect((await controller.get('/v1/vwns/v1/samples?since=11000', samplesReplySchema)).samples.map(({ atMs }) => atMs)).toEqual([21_000])
  const { context, printed } = commandLine()
  await printSamples(context, 'v1')
  expect(printed()).toMatch(/^AT +CPUS BUSY +MEMORY .*\n.* 0\.50 +64\.0 MiB +0\.0 MiB +0\.5 MiB +- +-\n.* 0\.00 .*\n$/)
})

test('a console is read whole or from a place on, and followed until its VWN is gone, over an absence of its host', async () => {
  const long = `${'x'.repeat(99)}\n`.repeat(1_000)
  bait.consoles.set(v1, `${long}the end\n`)
  expect(await controller.get(`/v1/vwns/v1/console?from=${long.length}`, consoleReplySchema)).toEqual({ from: long.length, next: long.length + 8, said: long.length + 8, text: 'the end\n' })
  expect((await controller.get('/v1/vwns/v1/console?bytes=8', consoleReplySchema)).text).toBe('the end\n')
  const whole = commandLine()
  await printConsole(whole.context, 'v1', null)
  expect(whole.printed()).toBe(`${long}the end\n`)

  const { context, printed, said } = commandLine()
  const following = printConsole(context, 'v1', new AbortController().signal)
  await until(() => printed().endsWith('the end\n'), { withinMs: 20_000 })
  bait.mute()
  const refused = controller.call('GET', '/v1/vwns/v1/console')
  await until(() => said.length > 0, { withinMs: 20_000, what: 'word of the absence' })
  expect(await refused).toMatchObject({ status: 503, body: { code: 'HOST_AWAY', facts: { host: 'h1', vwn: 'v1' } } })
  expect(said).toEqual(['the bait of that host does not answer; waiting for it'])
  bait.consoles.set(v1, `${long}the end\nno, more\n`)
  bait.unmute()
  await until(() => printed().endsWith('no, more\n'), { withinMs: 20_000 })
  await controller.call('POST', '/v1/vwns/v1/kill')
  await following
  expect(printed()).toBe(`${long}the end\nno, more\n`)
})

test('of a VWN that is gone there is nothing to see but what its bait was told', async () => {
  await until(async () => (await controller.vwn('v1')).state === 'gone', { withinMs: 20_000 })
  for (const path of ['samples', 'console']) expect(await controller.call('GET', `/v1/vwns/v1/${path}`)).toMatchObject({ status: 404, body: { code: 'VWN_UNSEEN' } })
  expect(await controller.call('GET', '/v1/vwns/v99/samples')).toMatchObject({ status: 404, body: { code: 'VWN_NOT_FOUND' } })
  expect(await controller.call('GET', '/v1/vwns/v1/console?from=-1')).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } })
  const { orders, events } = await controller.vwn('v1')
  expect(orders.map(({ does, job, event }) => [does, job, event])).toEqual([['make', 'h1-1', 'requested'], ['kill', null, 'kill'], ['forget', null, 'reclaimed']])
  const { context, printed } = commandLine()
  await showOne(context, 'v1')
  expect(printed()).toMatch(/TOLD AT +ORDER +JOB +BECAUSE OF +WHY\n.* make it +h1-1 +requested .*\n.* end it, and the job in it +- +kill .*\n.* forget it +- +reclaimed /)
  expect(orders.map(({ atMs }) => atMs)).toEqual(['requested', 'kill', 'reclaimed'].map((kind) => events.find(({ event }) => event === kind)?.atMs))
})
