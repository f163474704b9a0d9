/** An image that boots in a fraction of the time of a real one: its kernel and first root, and one program that speaks as the agent does. */
import { copyFile, mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageDigest } from '../../core/ids.ts'
import { run } from '../../kit/command.ts'
import { hashFile, partFiles, sealManifest, type PartName, type StoredImage } from '../../kit/image-store.ts'

const mib = 1024 ** 2
const commandMs = 60_000
/** Where the first root mounts things. */
const places = ['dev', 'proc', 'run', 'sys', 'tmp', 'var/tmp', 'sbin']

/** Puts the image into the store in this folder. */
export async function smallImage(from: StoredImage, store: string): Promise<ImageDigest> {
  const at = join(store, 'small')
  const root = join(at, 'root')
  for (const place of places) await mkdir(join(root, place), { recursive: true })
  await run('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-static', '-s', '-o', join(root, 'sbin/init'), join(import.meta.dirname, 'small-guest.c')], { timeoutMs: commandMs })
  await writeFile(join(at, partFiles.os), Buffer.alloc(8 * mib))
  await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-d', root, join(at, partFiles.os)], { timeoutMs: commandMs, env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` } })
  for (const part of ['kernel', 'initrd'] as const) await copyFile(from[part], join(at, partFiles[part]))
  const part = (name: PartName): Promise<{ sha256: string; bytes: number }> => hashFile(join(at, partFiles[name]))
  const { bytes, digest } = sealManifest({
    ...from.manifest, name: 'small', contact: 'agent', hostKeyFormat: 'openssh', probe: null, minMemoryMib: 64,
    parts: { os: await part('os'), kernel: await part('kernel'), initrd: await part('initrd') },
  })
  await writeFile(join(at, 'manifest.json'), bytes)
  await rename(at, join(store, digest))
  return digest
}
