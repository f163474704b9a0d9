import { execFile } from 'node:child_process'
import { readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { fileSystemArgs, freeSpaceGib, makeOverlay, scratchDisks } from '../../bait/disk/scratch.ts'
import { tempFolder } from '../harness/temp.ts'

const run = promisify(execFile)

test('the arguments of the formatting tool', () => {
  expect(fileSystemArgs('/p').join(' ')).toBe('-q -F -t ext4 -m 0 -L scratch -O ^has_journal -E lazy_itable_init=1,nodiscard /p')
})

test('overlays are thin, their pristine file is made once, and it is an empty file system', async () => {
  await using folder = await tempFolder()
  const disks = scratchDisks(join(folder.path, 'scratch'))
  const [one, two] = [join(folder.path, 'one.qcow2'), join(folder.path, 'two.qcow2')]
  await Promise.all([disks.overlay(one, 2), disks.overlay(two, 2)])
  expect(await readdir(join(folder.path, 'scratch'))).toEqual(['2g.ext4'])
  const pristine = join(folder.path, 'scratch', '2g.ext4')
  expect((await stat(pristine)).size).toBe(2 * 1024 ** 3)
  expect((await stat(pristine)).blocks * 512).toBeLessThan(8 * 1024 ** 2)
  expect((await stat(one)).size).toBeLessThan(1024 ** 2)
  const { stdout } = await run('qemu-img', ['info', '--output=json', one])
  expect(JSON.parse(stdout)).toMatchObject({ 'virtual-size': 2 * 1024 ** 3, 'backing-filename': pristine })
})

test.each([1, 2, 513, 65_536])('an overlay of %i GiB is what qemu-img makes, and holds what is written to its end', async (sizeGib) => {
  await using folder = await tempFolder()
  const [backing, ours, theirs] = ['with , and ü', 'ours', 'theirs'].map((name) => join(folder.path, name)) as [string, string, string]
  const bytes = sizeGib * 1024 ** 3
  await writeFile(backing, '')
  await truncate(backing, 1024 ** 2)
  await makeOverlay(ours, { backing, format: 'raw', bytes })
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', backing, theirs, String(bytes)])
  const about = async (path: string): Promise<object> => {
    const { filename: _1, 'actual-size': _2, children: _3, ...rest } = JSON.parse((await run('qemu-img', ['info', '--output=json', path])).stdout) as Record<string, unknown>
    return rest
  }
  expect(await about(ours)).toEqual(await about(theirs))
  await run('qemu-io', ['-f', 'qcow2', '-c', `write -P 0x22 ${bytes - 65_536} 65536`, '-c', 'write -P 0x33 0 4096', ours])
  await run('qemu-img', ['check', '-q', ours])
})

test('a disk that the host could never fill is refused, and nothing is made', async () => {
  await using folder = await tempFolder()
  const disks = scratchDisks(join(folder.path, 'scratch'))
  const tooMuch = Math.ceil(await freeSpaceGib(folder.path)) + 1
  await expect(disks.overlay(join(folder.path, 'x.qcow2'), tooMuch)).rejects.toMatchObject({ code: 'SCRATCH_NO_SPACE', facts: { scratchGib: tooMuch } })
  expect(await readdir(folder.path)).toEqual([])
})

test('an overlay that cannot be written leaves nothing', async () => {
  await using folder = await tempFolder()
  const disks = scratchDisks(join(folder.path, 'scratch'))
  await expect(disks.overlay(join(folder.path, 'nowhere', 'x.qcow2'), 1)).rejects.toMatchObject({ code: 'FILE_UNWRITABLE' })
})

test('a clone begins as its backing overlay is, and writes to itself alone', async () => {
  await using folder = await tempFolder()
  const disks = scratchDisks(join(folder.path, 'scratch'))
  const [template, one, two] = ['template', 'one', 'two'].map((name) => join(folder.path, `${name}.qcow2`)) as [string, string, string]
  const first = async (path: string): Promise<string> => (await run('qemu-io', ['-r', '-f', 'qcow2', '-c', 'read -v 0 16', path])).stdout.slice(0, 57)
  const write = (path: string, byte: string) => run('qemu-io', ['-f', 'qcow2', '-c', `write -P ${byte} 0 4096`, path])
  await disks.overlay(template, 1)
  await write(template, '0x11')
  const [before, bytes] = [await first(template), await readFile(template)]
  await Promise.all([disks.clone(template, one), disks.clone(template, two)])
  expect(await first(one)).toBe(before)
  await write(one, '0x22')
  expect(await first(one)).not.toBe(before)
  expect(await first(two)).toBe(before)
  expect((await readFile(template)).equals(bytes)).toBe(true)
})

test('a clone of nothing, of no disk, or where nothing can be written, leaves nothing', async () => {
  await using folder = await tempFolder()
  const disks = scratchDisks(join(folder.path, 'scratch'))
  const at = (name: string): string => join(folder.path, name)
  await expect(disks.clone(at('none'), at('x'))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  await writeFile(at('text'), 'this is no disk, whatever its name says')
  await expect(disks.clone(at('text'), at('x'))).rejects.toMatchObject({ code: 'FILE_MALFORMED' })
  await disks.overlay(at('good'), 1)
  await expect(disks.clone(at('good'), join(at('nowhere'), 'x'))).rejects.toMatchObject({ code: 'FILE_UNWRITABLE' })
  expect((await readdir(folder.path)).sort()).toEqual(['good', 'scratch', 'text'])
})
