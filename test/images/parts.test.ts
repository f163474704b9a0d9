import { execFileSync } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { bootstrapArgs } from '../../images/bootstrap.ts'
import { cpio } from '../../images/cpio.ts'
import { dependsOn, inOrder, type Module } from '../../images/initrd.ts'
import { unpackKernel } from '../../images/kernel.ts'
import { baseKey, knownRecipes, loadRecipe, parseRecipe, recipeKey } from '../../images/recipe.ts'
import { parseOwner } from '../../images/root.ts'
import { chooseSources, parseSources } from '../../images/sources.ts'
import { tempFolder } from '../harness/temp.ts'

const recipes = join(import.meta.dirname, '../../images/recipes')

test('an archive is what cpio itself reads', async () => {
  await using folder = await tempFolder()
  const bytes = Buffer.from('odd')
  const archive = cpio([
    { kind: 'folder', path: 'a' },
    { kind: 'file', path: 'a/init', mode: 0o755, bytes },
    { kind: 'file', path: 'empty', mode: 0o600, bytes: new Uint8Array() },
  ])
  await writeFile(join(folder.path, 'x.cpio'), archive)
  await mkdir(join(folder.path, 'out'))
  execFileSync('busybox', ['cpio', '-i', '-F', '../x.cpio'], { cwd: join(folder.path, 'out'), stdio: 'ignore' })
  expect(await readFile(join(folder.path, 'out/a/init'))).toEqual(bytes)
  expect(await readFile(join(folder.path, 'out/empty'))).toHaveLength(0)
  expect(archive.length % 4).toBe(0)
})

describe('a packed kernel', () => {
  /** A bzImage as small as can be: one setup sector and a payload. */
  function bzImage(payload: Uint8Array, size: number): Buffer {
    const image = Buffer.alloc(1024)
    image.writeUInt8(1, 0x1f1)
    image.write('HdrS', 0x202)
    const sized = Buffer.concat([payload, Buffer.alloc(4)])
    sized.writeUInt32LE(size, payload.length)
    image.writeUInt32LE(0, 0x248)
    image.writeUInt32LE(sized.length, 0x24c)
    return Buffer.concat([image, sized])
  }
  const block = (bytes: readonly number[]): Buffer => {
    const frame = Buffer.alloc(8)
    frame.writeUInt32LE(0x184c2102)
    frame.writeUInt32LE(bytes.length, 4)
    return Buffer.concat([frame, Buffer.from(bytes)])
  }
  // 4 literals, then a match that repeats the last byte 6 times; then 2 literals.
  const packed = block([0x42, 0x7f, 0x45, 0x4c, 0x46, 1, 0, 0x20, 0x41, 0x42])

  test('is unpacked to the ELF in it', () => {
    expect(unpackKernel(bzImage(packed, 12))).toEqual(Buffer.from('\x7fELFFFFFFFAB'))
  })
  test.each([
    ['another size than it says', bzImage(packed, 13)],
    ['a match before its beginning', bzImage(block([0x12, 0x7f, 9, 0]), 7)],
    ['another packing', bzImage(Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]), 12)],
    ['no kernel at all', Buffer.from('hello')],
  ])('with %s boots as it is', (_what, image) => {
    expect(unpackKernel(image)).toBeNull()
  })
})

describe('modules', () => {
  const module = (file: string, depends: string[]): Module => ({ file, depends, bytes: new Uint8Array() })
  test('come after those they depend on', () => {
    const modules = new Map([
      ['virtio_blk', module('virtio_blk.ko', ['virtio', 'virtio_ring'])],
      ['virtio', module('virtio.ko', ['virtio_ring'])],
      ['virtio_ring', module('virtio_ring.ko', [])],
      ['overlay', module('overlay.ko', ['built_in'])],
    ])
    expect(inOrder(modules).map(({ file }) => file)).toEqual(['overlay.ko', 'virtio_ring.ko', 'virtio.ko', 'virtio_blk.ko'])
  })
  test('say so in their own file', () => {
    expect(dependsOn(Buffer.from('ELF\0depends=virtio,virtio-ring\0name=x\0'))).toEqual(['virtio', 'virtio_ring'])
    expect(dependsOn(Buffer.from('ELF\0depends=\0'))).toEqual([])
  })
})

describe('the mirror', () => {
  const deb822 = `# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
`
  test('is read from both forms of sources', () => {
    expect(chooseSources(parseSources(deb822, true), 'bookworm')).toEqual([
      { uri: 'http://mirror.example/debian', suite: 'bookworm', signedBy: '/usr/share/keyrings/debian-archive-keyring.gpg' },
      { uri: 'http://mirror.example/debian', suite: 'bookworm-updates', signedBy: '/usr/share/keyrings/debian-archive-keyring.gpg' },
      { uri: 'http://mirror.example/debian-security', suite: 'bookworm-security', signedBy: null },
    ])
    expect(parseSources('#deb http://no/ bookworm main\ndeb [arch=amd64 signed-by=/k.gpg] http://m/debian bookworm main # why\n', false)).toEqual([
      { uri: 'http://m/debian', suite: 'bookworm', signedBy: '/k.gpg' },
    ])
  })
  test('is Debian, not whoever else has a suite of that name', () => {
    const others = 'deb [signed-by=/usr/share/keyrings/vendor.gpg] http://vendor/debian bookworm main\ndeb http://m/debian trixie main\n'
    expect(chooseSources(parseSources(others, false), 'bookworm')).toEqual([])
  })
})

describe('recipes', () => {
  test('of ours are valid', async () => {
    const names = await knownRecipes(recipes)
    expect(names).toEqual(['debian12', 'tiny'])
    for (const name of names) expect((await loadRecipe(name, recipes)).recipe.name).toBe(name)
  })
  test('that nobody wrote are refused with the nearest name', async () => {
    await expect(loadRecipe('debain12', recipes)).rejects.toMatchObject({ code: 'RECIPE_NOT_FOUND', facts: { nearest: 'debian12' } })
  })
  test('say what is wrong where', async () => {
    const { text } = await loadRecipe('tiny', recipes)
    expect(() => parseRecipe(text.replace('suite:', 'siute:'), 'f')).toThrow(expect.objectContaining({ code: 'RECIPE_INVALID' }))
    expect(() => parseRecipe(`${text}\npakages: []\n`, 'f')).toThrow(expect.objectContaining({ facts: expect.objectContaining({ key: 'pakages', nearest: 'packages' }) }))
    expect(() => parseRecipe(text.replace(/^probe:.*$/m, ''), 'f')).toThrow(expect.objectContaining({ facts: expect.objectContaining({ key: 'probe' }) }))
    expect(() => parseRecipe('name: [', 'f')).toThrow(expect.objectContaining({ facts: expect.objectContaining({ line: 1 }) }))
  })
  test('with the agent have no seed that could come late', async () => {
    const { text } = await loadRecipe('debian12', recipes)
    expect(() => parseRecipe(`${text}\nseed: late\n`, 'mine.yaml')).toThrow(expect.objectContaining({ code: 'RECIPE_INVALID', facts: expect.objectContaining({ key: 'seed' }) as object }))
    expect((await loadRecipe('tiny', recipes)).recipe.seed).toBe('late')
  })
  test('have a key that follows everything, and a base that follows only what Debian gives', async () => {
    const { recipe, text } = await loadRecipe('debian12', recipes)
    expect(recipeKey(text, [Buffer.from('agent 1')])).not.toBe(recipeKey(text, [Buffer.from('agent 2')]))
    expect(recipeKey(text, [Buffer.from('a'), Buffer.from('b')])).not.toBe(recipeKey(text, [Buffer.from('ab'), Buffer.from('')]))
    expect(baseKey({ ...recipe, minMemoryMib: 1 })).toBe(baseKey(recipe))
    expect(baseKey({ ...recipe, packages: ['bash'] })).not.toBe(baseKey(recipe))
  })
  test('become one mmdebstrap', async () => {
    const { recipe } = await loadRecipe('tiny', recipes)
    const args = bootstrapArgs({ recipe, sources: ['deb http://m/debian bookworm main'], tar: '/t/root.tar' }, ['Acquire::http::Proxy "http://p/"'])
    expect(args).toEqual(expect.arrayContaining(['--variant=extract', '--include=busybox-static,dropbear-bin,util-linux', '--aptopt=Acquire::http::Proxy "http://p/"']))
    expect(args.slice(-3)).toEqual(['bookworm', '/t/root.tar', 'deb http://m/debian bookworm main'])
  })
})

test("other people's files are found in a list of tar", () => {
  expect(parseOwner('-rw-r----- 0/42             567 2025-01-01 00:00 ./etc/shadow')).toEqual([{ path: '/etc/shadow', uid: 0, gid: 42 }])
  expect(parseOwner('drwxrwsr-x 0/8                0 2025-01-01 00:00 ./var/mail/')).toEqual([{ path: '/var/mail', uid: 0, gid: 8 }])
  expect(parseOwner('lrwxrwxrwx 1/1                0 2025-01-01 00:00 ./a -> b')).toEqual([{ path: '/a', uid: 1, gid: 1 }])
  expect(parseOwner('-rw-r--r-- 0/0              567 2025-01-01 00:00 ./etc/passwd')).toEqual([])
  expect(parseOwner('crw-rw-rw- 0/5              1,3 2025-01-01 00:00 ./dev/null')).toEqual([])
})
