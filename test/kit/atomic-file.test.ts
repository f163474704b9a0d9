import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { readJson, removeLeftovers, tryReadJson, tryUnlink, writeAtomic, writeFailure, writeJson } from '../../kit/atomic-file.ts'
import { tempFolder } from '../harness/temp.ts'

const schema = z.strictObject({ n: z.number() })

test('a value comes back as it was written, in a folder made for it, private unless told', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'a/b/c.json')
  await writeJson(file, { n: 1 })
  await writeJson(file, { n: 2 })
  expect(await readJson(file, schema)).toEqual({ n: 2 })
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(await readdir(join(folder.path, 'a/b'))).toEqual(['c.json'])
})

test('a write that fails leaves the old content and nothing else', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'taken')
  await mkdir(file)
  await writeFile(join(file, 'old'), 'old')
  await expect(writeAtomic(file, 'new')).rejects.toMatchObject({ code: 'FILE_UNWRITABLE', facts: { file } })
  expect(await readdir(folder.path)).toEqual(['taken'])
})

test('a full disk has its own name', () => {
  expect(writeFailure('f', Object.assign(new Error('x'), { code: 'ENOSPC' })).code).toBe('DISK_FULL')
  expect(writeFailure('f', new Error('x')).code).toBe('FILE_UNWRITABLE')
})

test('absent, broken and wrong files are told apart', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'x.json')
  expect(await tryReadJson(file, schema)).toBeNull()
  await expect(readJson(file, schema)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  await writeFile(file, '{"n":')
  await expect(readJson(file, schema)).rejects.toMatchObject({ code: 'FILE_MALFORMED' })
  await writeFile(file, '{"n":"one"}')
  await expect(readJson(file, schema)).rejects.toMatchObject({ code: 'FILE_MALFORMED' })
  await expect(readJson(folder.path, schema)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
})

test('what writers left half-way is swept up, and only that', async () => {
  await using folder = await tempFolder()
  const names = ['.x.json.abcdefghij.tmp', '.keep.tmp', 'x.json']
  for (const name of names) await writeFile(join(folder.path, name), '')
  expect(await removeLeftovers(folder.path)).toEqual(['.x.json.abcdefghij.tmp'])
  expect((await readdir(folder.path)).sort()).toEqual(['.keep.tmp', 'x.json'])
  expect(await removeLeftovers(join(folder.path, 'absent'))).toEqual([])
})

test('unlinking says whether the file is gone', async () => {
  await using folder = await tempFolder()
  await writeAtomic(join(folder.path, 'x'), new Uint8Array([0, 255]), { mode: 0o644 })
  expect([...(await readFile(join(folder.path, 'x')))]).toEqual([0, 255])
  expect(await tryUnlink(join(folder.path, 'x'))).toBe(true)
  expect(await tryUnlink(join(folder.path, 'x'))).toBe(true)
  expect(await tryUnlink(folder.path)).toBe(false)
})
