/** `wnod top` and the listings in a real terminal, over a real controller with a played bait. */
import { spawn } from 'node:child_process'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { programFile } from '../../cli/programs.ts'
import { isAlive, processOf } from '../../kit/process.ts'
import { until } from '../../kit/until.ts'
import type { TestController } from '../harness/controller.ts'
import type { FakeBait } from '../harness/fake-bait.ts'
import { ended } from '../harness/farm.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'
import { openPane, type Pane } from '../harness/pane.ts'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 })
let played: PlayedFarm
let controller: TestController
let bait: FakeBait
beforeAll(async () => {
  played = await startPlayedFarm({ jobMs: null })
  ;({ controller, bait } = played)
})
afterAll(() => played[Symbol.asyncDispose]())

const wnod = `${process.execPath} ${programFile('wnod.js')}`
const pane = (more: Readonly<Record<string, string>> = {}): Promise<Pane> => openPane({ columns: 80, rows: 24, env: { WNOD_HOME: controller.home.home, ...more } })

/** Starts `wnod top`; the shell says when and how it has ended. */
async function startTop(at: Pane, run: string): Promise<{ readonly pid: number }> {
  await at.type(`sh -c 'echo $$ >${run}.pid; exec ${wnod} top'; echo "${run}: ended $?"`)
  await at.shows(/ live\n/)
  return { pid: Number(at.file(`${run}.pid`)) }
}

test('a farm is watched at a terminal of 80 columns and 24 rows, and of others', async () => {
  const hostile = bait.submit({ name: '\u001b]0;owned\u0007\u001b[31mred 漢字', user: 'alice' })
  await controller.untilJob(hostile, ({ state }) => state === 'running')
  await using at = await pane()
  await at.type(`${wnod} jobs`)
  await at.shows(/JOB +NAME +USER +STATE +TYPE +VWN .*\nh1-1 +\]0;owned.* +alice +running/)
  expect(await at.knows('pane_title')).not.toContain('owned')

  const before = await at.stty()
  const top = await startTop(at, 'watch')
  expect(await at.shows(/1 VWNs: 1 busy/)).toMatch(/> v1 +h1 +standard +busy .* alice +h1-1/)
  expect(await at.knows('alternate_on')).toBe('1')
  await at.press('3')
  expect(await at.shows(/\[3 jobs\]/)).toMatch(/> h1-1 +\]0;owned.*alice/)
  await at.press('Enter')
  await at.shows(/JOB H1-1[^]*name +\]0;owned/)
  await at.press('Down', 'Down', 'Down')
  await at.shows(/PHASE +MS/)
  await at.press('Escape')

  const second = bait.submit({ name: 'second', user: 'bob', uid: 1002 })
  await at.shows(/h1-2 +second +bob +running/)
  await at.press('/', 'b', 'o', 'b', 'Enter')
  expect(await at.shows(/1 of 2 with bob/)).not.toContain('alice')
  bait.finish(second)
  await at.shows(/no row has bob/)
  await at.press('Escape')

  for (const [columns, rows, seen] of [
    [40, 10, /^1 hosts.* live\n.*\n +JOB .*\n> h1-1 [^]*\nq quit/], [12, 4, /^1 host… live\n {2}JOB\n> h1-1\nq quit {2}\? h…\n$/], [2, 2, /^l…\n>\n$/], [1, 1, /^…\n$/], [120, 40, / BATCH +WHY\n> h1-1/],
  ] as const) {
    await at.resize(columns, rows)
    await at.shows(seen)
  }

  await controller.halt()
  await at.shows(/the controller does not answer.*STALE \d/)
  await controller.start()
  await bait.reportNow()
  await at.shows(/ live\n/)
  bait.submit({ name: 'third', user: 'carol', uid: 1003 })
  await at.shows(/h1-3 +third +carol/)

  await at.press('C-z')
  await at.shows(/Stopped/)
  expect([await at.knows('alternate_on'), await at.knows('cursor_flag')]).toEqual(['0', '1'])
  await at.type('fg')
  await at.shows(/ live\n[^]*third/)
  await at.press('q')
  await until(() => processOf(top.pid) === null, { withinMs: 20_000, what: 'top has ended' })
  expect([await at.knows('alternate_on'), await at.knows('cursor_flag'), await at.stty()]).toEqual(['0', '1', before])
})

test('told to end, or without its window, it ends, and the terminal is as before', async () => {
  await using at = await pane({ NO_COLOR: '1' })
  const before = await at.stty()
  const told = await startTop(at, 'told')
  process.kill(told.pid, 'SIGTERM')
  await at.shows(/^told: ended 0$/m)
  expect([await at.knows('alternate_on'), await at.knows('cursor_flag'), await at.stty()]).toEqual(['0', '1', before])

  const { pid } = await startTop(at, 'window')
  const watching = processOf(pid)
  await at.hangUp()
  await until(() => watching !== null && !isAlive(watching), { withinMs: 20_000, what: 'top ends with its terminal' })
})

test('without a terminal it says so at once', async () => {
  const { code, stderr } = await ended(spawn(process.execPath, [programFile('wnod.js'), 'top'], { stdio: 'pipe' }))
  expect([code, stderr]).toEqual([2, expect.stringMatching(/needs a terminal.*OPTION_INVALID/)])
})
