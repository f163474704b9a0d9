/**
 * Takes one file back from a guest. A guest is not trusted: what it sends is written below the working directory and nowhere else,
 * never through a symbolic link, and each file appears whole or not at all.
 */
import { createWriteStream } from 'node:fs'
import { chmod, lstat, mkdir, rename, symlink, unlink, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Header } from 'tar-stream'

/** A path that leads out of the directory it belongs to. */
export class Escape extends Error {
  override readonly name = 'Escape'
}

/** Brings one entry into place; `mark` makes the names of temporary files unguessable. */
export async function takeEntry(root: string, header: Header, body: Readable, mark: string): Promise<void> {
  const parts = safeParts(header.name)
  const name = parts.pop()
  if (name === undefined) return drain(body) // the directory itself
  const folder = await safeFolder(root, parts, header.name)
  const path = join(folder, name)
  if (header.type === 'directory') {
    await drain(body)
    return takeFolder(path, header)
  }
  const beside = join(folder, `.wnod-${mark}-${name}`.slice(0, 255))
  try {
    if (header.type === 'symlink') {
      await drain(body)
      await symlink(header.linkname, beside)
    } else if (header.type === 'file') {
      await pipeline(body, createWriteStream(beside, { flags: 'wx', mode: 0o600 }))
      await chmod(beside, modeOf(header))
        await utimes(beside, header.mtime, header.mtime)
    } else throw new Escape(`${header.name} is a ${header.type}, neither file, directory nor symbolic link`)
    await rename(beside, path)
  } catch (error) {
    await unlink(beside).catch(() => {})
    throw error
  }
}

/** The parts of a relative path that stays below where it starts. */
export function safeParts(path: string): string[] {
  if (path.startsWith('/') || path.includes('\0')) throw new Escape(path)
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) throw new Escape(path)
  return parts
}

/** The folder below `root`, made where it is missing; every step is a real directory. */
async function safeFolder(root: string, parts: readonly string[], shown: string): Promise<string> {
  let folder = root
  for (const part of parts) {
    folder = join(folder, part)
    const stat = await lstat(folder).catch(() => null)
    if (stat === null) await mkdir(folder, 0o755)
    else if (!stat.isDirectory()) throw new Escape(shown)
  }
  return folder
}

async function takeFolder(path: string, header: Header): Promise<void> {
  const stat = await lstat(path).catch(() => null)
  if (stat !== null && !stat.isDirectory()) await unlink(path)
  if (stat === null || !stat.isDirectory()) await mkdir(path)
  await chmod(path, modeOf(header))
}

/** A guest may not give away a user's identity: set-id bits stay behind. */
const modeOf = ({ mode }: Header): number => mode & 0o1777

const drain = async (body: Readable): Promise<void> => {
  for await (const _chunk of body) void _chunk
}
