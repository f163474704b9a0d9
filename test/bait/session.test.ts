import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { beginSession } from '../../bait/session.ts'

const folder = mkdtempSync(join(tmpdir(), 'wnod-session-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('each bait process begins later than the one before it, whatever the clock says', async () => {
  const file = join(folder, 'session.json')
  const begun: number[] = []
  for (const nowMs of [1000, 2000, 500, 500, 3000]) begun.push(await beginSession(file, nowMs))
  expect(begun).toEqual([1000, 2000, 2001, 2002, 3000])
  expect(readdirSync(folder)).toEqual(['session.json'])
})

test('a file that is damaged is named, not guessed', async () => {
  const file = join(folder, 'damaged.json')
  writeFileSync(file, '{"startedAtMs":')
  await expect(beginSession(file, 1)).rejects.toMatchObject({ code: 'FILE_MALFORMED' })
})
