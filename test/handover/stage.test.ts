import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { Escape, safeParts, takeEntry } from '../../hooks/starter/unpack.ts'
import { tempFolder } from '../harness/temp.ts'

type Header = Parameters<typeof takeEntry>[1]

const header = (name: string, more: Partial<Header> = {}): Header =>
  ({ name, size: 0, mode: 0o644, mtime: new Date(1_000_000_000_000), type: 'file', linkname: '', uid: 0, gid: 0, uname: '', gname: '', devmajor: 0, devminor: 0, ...more })

const take = (root: string, entry: Header, content = 'new'): Promise<void> => takeEntry(root, entry, Readable.from([Buffer.from(content)]), 'mark')

test('a file appears whole, with its mode and time', async () => {
  await using at = await tempFolder()
  await take(at.path, header('./a/b/c', { mode: 0o750 }))
  const stat = statSync(join(at.path, 'a/b/c'))
  expect([readFileSync(join(at.path, 'a/b/c'), 'utf8'), stat.mode & 0o7777, stat.mtimeMs]).toEqual(['new', 0o750, 1_000_000_000_000])
  expect(readdirSync(join(at.path, 'a/b'))).toEqual(['c'])
})

test('links, and folders in the place of files', async () => {
  await using at = await tempFolder()
  writeFileSync(join(at.path, 'd'), 'file')
  await take(at.path, header('d', { type: 'directory', mode: 0o700 }), '')
  await take(at.path, header('d/l', { type: 'symlink', linkname: '/anywhere' }), '')
  expect(lstatSync(join(at.path, 'd')).mode & 0o777).toBe(0o700)
  expect(readlinkSync(join(at.path, 'd/l'))).toBe('/anywhere')
})

test('set-id bits stay behind', async () => {
  await using at = await tempFolder()
  await take(at.path, header('a', { mode: 0o6755 }))
  expect(statSync(join(at.path, 'a')).mode & 0o7777).toBe(0o755)
})

test.each(['/etc/passwd', '../x', 'a/../../x', 'a/..', 'a\0b'])('the path %j escapes', (path) => {
  expect(() => safeParts(path)).toThrow(Escape)
})

test('nothing is written through a symbolic link', async () => {
  await using at = await tempFolder()
  const [inside, outside] = [join(at.path, 'in'), join(at.path, 'out')]
  mkdirSync(inside)
  mkdirSync(outside)
  symlinkSync(outside, join(inside, 'link'))
  await expect(take(inside, header('link/x'))).rejects.toThrow(Escape)
  await expect(take(inside, header('link/d/x'))).rejects.toThrow(Escape)
  writeFileSync(join(outside, 'victim'), 'old')
  symlinkSync(join(outside, 'victim'), join(inside, 'target'))
  await take(inside, header('target')) // replaces the link itself
  expect([readFileSync(join(outside, 'victim'), 'utf8'), lstatSync(join(inside, 'target')).isFile(), existsSync(join(outside, 'x'))]).toEqual(['old', true, false])
})

test.each(['character-device', 'fifo', 'link'] as const)('a %s is no file', async (type) => {
  await using at = await tempFolder()
  await expect(take(at.path, header('x', { type }), '')).rejects.toThrow(Escape)
  expect(readdirSync(at.path)).toEqual([])
})
