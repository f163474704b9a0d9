/** What a person sees at a terminal while a job waits. */
import { rmSync } from 'node:fs'
import { stripVTControlCharacters } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { inForeground, lineOf } from '../../kit/progress.ts'
import { openPane } from '../harness/pane.ts'
import { buildStarter, openDesk, starterFile, starterFolder } from './desk.ts'

afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))

test('a job that waits says so in one line of the terminal, which is gone when it is over', { timeout: 60_000 }, async () => {
  buildStarter()
  await using desk = await openDesk()
  await using at = await openPane({ columns: 40, rows: 10, env: { WNOD_SOCKET: desk.socket } })
  await at.type(`${process.execPath} ${starterFile} --progress true`)
  await at.shows(/^wnod: \d+ s, h1-1 waits/m)
  await at.press('C-c')
  expect(await at.shows(/\n[$#]\s*$/)).not.toContain('waits')
})

test('it is one line, whatever the reason says', () => {
  expect(stripVTControlCharacters(lineOf('h1-1 waits: no\u001b[2J\nroom', 3_900)).trim()).toBe('wnod: 3 s, h1-1 waits: no [2J room')
})

test('nothing is written from the background', () => {
  expect([inForeground('77 (no) de) S 1 77 1 34816 77 4194304 1'), inForeground('77 (node) S 1 77 1 34816 90 4194304 1')]).toEqual([true, false])
})
