import { constants } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { z } from 'zod'
import { VwnError, type ErrorCode } from '../core/errors.ts'
import { randomId } from './clock.ts'

export interface WriteOptions {
  /** 0600 unless told. */
  readonly mode?: number
}

const temporary = /^\.[^/]+\.[a-z0-9]{10}\.tmp$/

/** The file has all of the new content or all of the old, whenever the power fails; the folder is made if need be. Content that fails to come leaves the old. */
export async function writeAtomic(path: string, content: string | Uint8Array | AsyncIterable<string>, options: WriteOptions = {}): Promise<void> {
  const folder = dirname(path)
  const beside = join(folder, `.${basename(path)}.${randomId(10)}.tmp`)
  try {
    await mkdir(folder, { recursive: true })
    const file = await open(beside, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, options.mode ?? 0o600)
    try {
      await writeFile(file, content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
    await syncFolder(folder)
  } catch (error) {
    await tryUnlink(beside)
    throw error instanceof VwnError ? error : writeFailure(path, error)
  }
}

/** As `writeAtomic`, of a value as JSON. */
export async function writeJson(path: string, value: unknown, options: WriteOptions = {}): Promise<void> {
  await writeAtomic(path, `${JSON.stringify(value, null, 2)}\n`, options)
}

/** The parsed content; FILE_UNREADABLE or FILE_MALFORMED otherwise. */
export async function readJson<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>> {
  const value = await tryReadJson(path, schema)
  if (value === null) throw new VwnError('FILE_UNREADABLE', { file: path, why: 'it does not exist' })
  return value.content
}

/** As `readJson`, but null where no file is. */
export async function tryReadJson<S extends z.ZodType>(path: string, schema: S): Promise<{ content: z.output<S> } | null> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return null
    throw new VwnError('FILE_UNREADABLE', { file: path }, { cause })
  }
  return { content: parseJson(text, schema, path) }
}

/** True when the file is gone now, false when it could not be removed. */
export async function tryUnlink(path: string): Promise<boolean> {
  return unlink(path).then(
    () => true,
    (error: unknown) => errnoOf(error) === 'ENOENT',
  )
}

/** Removes what writers that died half-way left in a folder; nobody may be writing there. Returns the names removed. */
export async function removeLeftovers(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder).catch(() => [])
  const leftovers = names.filter((name) => temporary.test(name))
  for (const name of leftovers) await tryUnlink(join(folder, name))
  return leftovers
}

/** `ENOENT`, `EACCES`, … of a failed system call, or null. */
export function errnoOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : null
}

/** What a failed write means to us: a full disk is worth another host, all else is not. */
export function writeFailure(path: string, cause: unknown): VwnError {
  const full = ['ENOSPC', 'EDQUOT'].includes(errnoOf(cause) ?? '')
  const code: ErrorCode = full ? 'DISK_FULL' : 'FILE_UNWRITABLE'
  return new VwnError(code, { file: path }, { cause })
}

function parseJson<S extends z.ZodType>(text: string, schema: S, path: string): z.output<S> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new VwnError('FILE_MALFORMED', { file: path }, { cause })
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new VwnError('FILE_MALFORMED', { file: path, why: z.prettifyError(parsed.error) })
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
