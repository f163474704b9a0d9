/**
 * Scratch disks. One pristine file per size, an empty file system, is made once and never written again; every VWN gets a
 * thin overlay over it, which dies with the VWN. A clone's lies over its template's, which nothing writes to any more.
 */
import { mkdir, open, rename, rm, stat, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isVwnError, VwnError, type Facts } from '../../core/errors.ts'
import { removeLeftovers, writeFailure } from '../../kit/atomic-file.ts'
import { randomId } from '../../kit/clock.ts'
import { run } from '../../kit/command.ts'
import { emptyOverlay } from './qcow2.ts'

export interface ScratchDisks {
  /** An empty disk of this size at `path`; SCRATCH_NO_SPACE, or another failure, and then nothing is there. */
  overlay(path: string, scratchGib: number, signal?: AbortSignal): Promise<void>
  /** A disk at `path` that begins as the overlay `backing` is; SCRATCH_NO_SPACE, or another failure, and then nothing is there. */
  clone(backing: string, path: string, signal?: AbortSignal): Promise<void>
}

const gib = 1024 ** 3
const commandMs = 60_000

/** Disks whose pristine files live in `folder`; makes one when its size is first asked for. */
export function scratchDisks(folder: string): ScratchDisks {
  const making = new Map<number, Promise<string>>()
  const pristine = (scratchGib: number): Promise<string> => {
    const file = making.get(scratchGib) ?? makePristine(folder, scratchGib)
    making.set(scratchGib, file)
    file.catch(() => making.delete(scratchGib))
    return file
  }
  return {
    async overlay(path, scratchGib, signal) {
      await checkSpace(folder, scratchGib)
      const backing = await pristine(scratchGib)
      await makeOverlay(path, { backing, format: 'raw', bytes: scratchGib * gib }, signal)
    },
    async clone(backing, path, signal) {
      const bytes = await virtualBytes(backing)
      await checkSpace(dirname(path), bytes / gib)
      await makeOverlay(path, { backing, format: 'qcow2', bytes }, signal)
    },
  }
}

/** The size of the disk that a qcow2 file stands for, from its header. */
async function virtualBytes(path: string): Promise<number> {
  const header = Buffer.alloc(32)
  try {
    const file = await open(path, 'r')
    await file.read(header).finally(() => file.close())
  } catch (cause) {
    throw new VwnError('FILE_UNREADABLE', { file: path }, { cause })
  }
  if (header.toString('latin1', 0, 4) !== 'QFI\xfb') throw new VwnError('FILE_MALFORMED', { file: path, why: 'it is no qcow2 disk' })
  return Number(header.readBigUInt64BE(24))
}

/** A thin disk at `path`; SCRATCH_NO_SPACE, FILE_UNWRITABLE or CANCELLED, and then nothing is there. */
export async function makeOverlay(path: string, over: { backing: string; format: 'raw' | 'qcow2'; bytes: number }, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted === true) throw new VwnError('CANCELLED', { disk: path }, { cause: signal.reason })
  const { pieces, fileBytes } = emptyOverlay(over.bytes, over.backing, over.format)
  try {
    const file = await open(path, 'w', 0o600)
    try {
      for (const { at, bytes } of pieces) await file.write(bytes, 0, bytes.length, at)
      await file.truncate(fileBytes)
    } finally {
      await file.close()
    }
  } catch (cause) {
    await rm(path, { force: true })
    throw noSpace(writeFailure(path, cause), { scratchGib: over.bytes / gib })
  }
}

/** No journal: after a crash nobody mounts it again. Inode tables stay zeroes that need not be written. */
export const fileSystemArgs = (path: string): readonly string[] =>
  ['-q', '-F', '-t', 'ext4', '-m', '0', '-L', 'scratch', '-O', '^has_journal', '-E', 'lazy_itable_init=1,nodiscard', path]

async function makePristine(folder: string, scratchGib: number): Promise<string> {
  const path = join(folder, `${scratchGib}g.ext4`)
  if (await stat(path).then(() => true, () => false)) return path
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw writeFailure(folder, cause)
  })
  await removeLeftovers(folder)
  const beside = join(folder, `.${scratchGib}g.ext4.${randomId(10)}.tmp`)
  try {
    const file = await open(beside, 'wx', 0o600)
    await file.truncate(scratchGib * gib).finally(() => file.close())
    await makeFileSystem(beside)
    await rename(beside, path)
    return path
  } catch (error) {
    await rm(beside, { force: true })
    throw noSpace(error, { scratchGib })
  }
}

/** Users without rights have no sbin in their PATH, and need none to format a file. */
async function makeFileSystem(path: string): Promise<void> {
  const args = fileSystemArgs(path)
  await run('mke2fs', args, { timeoutMs: commandMs }).catch((error: unknown) => {
    if (!isVwnError(error, 'COMMAND_MISSING')) throw error
    return run('/usr/sbin/mke2fs', args, { timeoutMs: commandMs })
  })
}

/** A disk that the host could not fill in the end is refused at once. */
async function checkSpace(folder: string, scratchGib: number): Promise<void> {
  const freeGib = await freeSpaceGib(folder)
  if (freeGib < scratchGib) throw new VwnError('SCRATCH_NO_SPACE', { folder, scratchGib, freeGib: Math.floor(freeGib * 10) / 10 })
}

/** What an unprivileged writer may still use there, or in the nearest folder above that exists. */
export async function freeSpaceGib(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder).catch((error: unknown) => {
    if (folder === '/') throw error
    return null
  }) ?? { bavail: null, bsize: 0 }
  return bavail === null ? freeSpaceGib(join(folder, '..')) : (bavail * bsize) / gib
}

function noSpace(error: unknown, facts: Facts): unknown {
  const full = isVwnError(error, 'DISK_FULL') || /No space left|Disk quota exceeded|ENOSPC|EDQUOT/.test(error instanceof Error ? error.message : '')
  return full ? new VwnError('SCRATCH_NO_SPACE', facts, { cause: error }) : error
}
