/** The writing side of the image store; kit/image-store.ts describes its layout and reads it. */
import { mkdir, mkdtemp, readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { isVwnError } from '../core/errors.ts'
import type { ImageDigest } from '../core/ids.ts'
import { tryUnlink, writeAtomic, writeFailure } from '../kit/atomic-file.ts'
import { imageStore, partFiles, pointerFile, readPointer, sealManifest, stampImage, type Manifest, type StoredImage } from '../kit/image-store.ts'
import { claimPidFile } from '../kit/pid-file.ts'
import { isAlive, processOf } from '../kit/process.ts'
import { until } from '../kit/until.ts'
import { removeTree } from './root.ts'

const readable = { mode: 0o644 }

/** A fresh folder in the store, on the same file system, that is gone when the scope is left unless it was renamed. */
export async function workFolder(store: string): Promise<AsyncDisposable & { readonly path: string }> {
  await mkdir(store, { recursive: true }).catch((cause: unknown) => {
    throw writeFailure(store, cause)
  })
  const { pid, startTicks } = processOf(process.pid) ?? { pid: process.pid, startTicks: 0 }
  const path = await mkdtemp(join(store, `.building-${pid}-${startTicks}-`))
  return { path, [Symbol.asyncDispose]: () => removeTree(path) }
}

/** Only one builder works on a recipe at a time; a second one waits for the first and then usually finds its work done. */
export async function claimRecipe(store: string, name: string, signal: AbortSignal): Promise<AsyncDisposable> {
  const claim = (): Promise<AsyncDisposable> => claimPidFile(join(store, 'locks', `${name}.pid.json`))
  return claim().catch((error: unknown) => {
    if (!isVwnError(error, 'PROGRAM_RUNNING')) throw error
    return until(claim, { withinMs: 20 * 60_000, everyMs: 500, what: 'the other builder', signal })
  })
}

/** Removes what builders that died half-way have left; those that live are let be. */
export async function removeLeftBehind(store: string): Promise<void> {
  for (const name of await readdir(store).catch(() => [])) {
    const [, pid, startTicks] = /^\.building-(\d+)-(\d+)-/.exec(name) ?? []
    if (pid !== undefined && !isAlive({ pid: Number(pid), startTicks: Number(startTicks) })) await removeTree(join(store, name))
  }
}

/** Moves the parts, complete in `folder` and hashed for the manifest just now, into the store; the name and the recipe's key stand for them afterwards. */
export async function addImage(store: string, folder: string, manifest: Manifest): Promise<StoredImage> {
  const { bytes, digest } = sealManifest(manifest)
  const final = join(store, digest)
  await writeAtomic(join(folder, 'manifest.json'), bytes, readable)
  // The same digest is the same image, and this one superfluous, unless that one was damaged meanwhile.
  if (!(await isWhole(store, digest))) {
    await removeTree(final)
    await rename(folder, final)
    await stampImage(store, await imageStore(store).find(digest))
  }
  await writeAtomic(pointerFile(store, 'recipes', manifest.recipe), `${digest}\n`, readable)
  await nameImage(store, manifest.name, digest)
  return imageStore(store).find(digest)
}

/** The name stands for this image from now on. */
export async function nameImage(store: string, name: string, digest: ImageDigest): Promise<void> {
  await writeAtomic(pointerFile(store, 'names', name), `${digest}\n`, readable)
}

/** Image, stamp and every pointer to it are gone. A VM that has its disk open keeps it until it ends. */
export async function removeImage(store: string, digest: ImageDigest): Promise<void> {
  for (const kind of ['names', 'recipes'] as const) {
    for (const name of await readdir(join(store, kind)).catch(() => [])) {
      if ((await readPointer(store, kind, name)) === digest) await tryUnlink(pointerFile(store, kind, name))
    }
  }
  await tryUnlink(join(store, 'stamps', `${digest}.json`))
  // The manifest goes first: what remains if we die here is no image.
  await tryUnlink(join(store, digest, 'manifest.json'))
  await removeTree(join(store, digest))
}

/** Where the parts of an image that is being made lie. */
export const partPath = (folder: string, part: keyof typeof partFiles): string => join(folder, partFiles[part])

const isWhole = (store: string, digest: ImageDigest): Promise<boolean> =>
  imageStore(store).verify(digest, { afresh: true }).then(() => true, () => false)
