import { mkdir, readFile, rename, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { addImage, nameImage, removeImage } from '../../images/store.ts'
import { hashFile, imageStore, kernelCommandLine, partFiles, sealManifest, type Manifest } from '../../kit/image-store.ts'
import { tempFolder } from '../harness/temp.ts'

async function manifestOf(folder: string, name: string): Promise<Manifest> {
  const part = (file: string) => hashFile(join(folder, file))
  return {
    v: 1, name, contact: 'ssh', arch: 'x86_64', hostKeyFormat: 'dropbear', seed: 'boot', probe: 'true', recipe: 'a'.repeat(64),
    parts: { os: await part(partFiles.os), kernel: await part(partFiles.kernel), initrd: await part(partFiles.initrd) },
    kernelArgs: ['console=ttyS0'], osUuid: '11111111-1111-4111-8111-111111111111', minMemoryMib: 64,
  }
}

/** A store with one image of a few bytes. */
async function smallStore() {
  const folder = await tempFolder()
  const add = async (name: string, os = 'os') => {
    const work = join(folder.path, '.building-test')
    await mkdir(work, { recursive: true })
    for (const [part, file] of Object.entries(partFiles)) await writeFile(join(work, file), part === 'os' ? os : part)
    return addImage(folder.path, work, await manifestOf(work, name))
  }
  return { path: folder.path, add, store: imageStore(folder.path), [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

describe('the image store', () => {
  test('finds an image by name and by digest', async () => {
    await using small = await smallStore()
    const image = await small.add('tiny')
    expect((await small.store.find('tiny')).digest).toBe(image.digest)
    expect((await small.store.verify(image.digest)).names).toEqual(['tiny'])
    await expect(small.store.find('other')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
    await expect(small.store.find('f'.repeat(64))).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
    expect(await imageStore(join(small.path, 'nowhere')).list()).toEqual({ images: [], broken: [] })
  })

  test('lets a name stand for the newest', async () => {
    await using small = await smallStore()
    const first = await small.add('tiny')
    const second = await small.add('tiny', 'another os')
    expect((await small.store.find('tiny')).digest).toBe(second.digest)
    expect((await small.store.find(first.digest)).names).toEqual([])
    await nameImage(small.path, 'tiny', first.digest)
    expect((await small.store.find('tiny')).digest).toBe(first.digest)
  })

  test('refuses a part that was changed, even in place and with its time set back', async () => {
    await using small = await smallStore()
    const image = await small.add('tiny')
    await small.store.verify('tiny')
    const past = new Date(1_700_000_000_000)
    await utimes(image.os, past, past)
    await small.store.verify('tiny')
    await writeFile(image.os, 'so')
    await utimes(image.os, past, past)
    await expect(small.store.verify('tiny')).rejects.toMatchObject({ code: 'IMAGE_DIGEST_MISMATCH', facts: { part: 'os' } })
  })

  test('takes a good copy in the place of a damaged one', async () => {
    await using small = await smallStore()
    const image = await small.add('tiny')
    await writeFile(image.os, 'so')
    await small.add('tiny')
    expect(await readFile(image.os, 'utf8')).toBe('os')
    expect((await small.store.verify('tiny', { afresh: true })).digest).toBe(image.digest)
  })

  test('refuses a changed manifest, and lists the image as broken', async () => {
    await using small = await smallStore()
    const image = await small.add('tiny')
    const file = join(image.folder, 'manifest.json')
    await writeFile(file, (await readFile(file, 'utf8')).replace('"probe": "true"', '"probe": "false"'))
    await expect(small.store.verify('tiny')).rejects.toMatchObject({ code: 'IMAGE_DIGEST_MISMATCH', facts: { part: 'manifest' } })
    expect((await small.store.list()).broken).toMatchObject([{ digest: image.digest }])
  })

  test('refuses an image with a part missing', async () => {
    await using small = await smallStore()
    const image = await small.add('tiny')
    await rename(image.initrd, `${image.initrd}.away`)
    await expect(small.store.verify('tiny')).rejects.toMatchObject({ code: 'IMAGE_DIGEST_MISMATCH', facts: { part: 'initrd' } })
  })

  test('forgets an image altogether', async () => {
    await using small = await smallStore()
    const image = await small.add('tiny')
    await removeImage(small.path, image.digest)
    await expect(small.store.find('tiny')).rejects.toMatchObject({ code: 'IMAGE_NOT_FOUND' })
    expect(await small.store.list()).toEqual({ images: [], broken: [] })
  })

  test('gives equal manifests equal digests, whatever the order of their keys', async () => {
    await using small = await smallStore()
    const { manifest, digest } = await small.add('tiny')
    const turned = Object.fromEntries(Object.entries(manifest).reverse()) as Manifest
    expect(sealManifest(turned).digest).toBe(digest)
  })
})

describe("the kernel's command line", () => {
  const manifest = { kernelArgs: ['console=ttyS0', 'quiet'] } as unknown as Manifest
  const cpuinfo = 'processor\t: 0\nbogomips\t: 4890.85\n\nprocessor\t: 1\nbogomips\t: 4890.85\n'
  test('tells an emulated guest the frequency of its counter', () => {
    expect(kernelCommandLine(manifest, { accelerator: 'tcg', cpuinfo })).toBe('console=ttyS0 quiet tsc_early_khz=2445425 tsc=reliable')
  })
  test('leaves a real processor alone', () => {
    expect(kernelCommandLine(manifest, { accelerator: 'kvm', cpuinfo })).toBe('console=ttyS0 quiet')
  })
  test('says nothing of a counter that the host does not name', () => {
    expect(kernelCommandLine(manifest, { accelerator: 'tcg', cpuinfo: 'BogoMIPS\t: oops\n' })).toBe('console=ttyS0 quiet')
  })
})
