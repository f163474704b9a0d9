/** The folders that the agent has made for a job outside the places that are emptied: topmost ones, as latin1 text. */
import { chownSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

const made: string[] = []

export const noteFolder = (folder: string): void => void made.push(folder)

/** Those made since this was last asked; whoever asks removes them. */
export const takeMadeFolders = (): readonly string[] => made.splice(0)

/** The folder and those above it, those that were made owned by this user. Paths are latin1 text, which holds any bytes. */
export function makeFolders(path: string, uid: number, gid: number): Buffer {
  const missing: string[] = []
  for (let at = path; !exists(at); at = dirname(at)) missing.unshift(at)
  for (const folder of missing) {
    const bytes = Buffer.from(folder, 'latin1')
    mkdirSync(bytes)
    chownSync(bytes, uid, gid)
  }
  if (missing[0] !== undefined) noteFolder(missing[0])
  return Buffer.from(path, 'latin1')
}

/** Paths are latin1 text. */
export function exists(path: string): boolean {
  try {
    statSync(Buffer.from(path, 'latin1'))
    return true
  } catch {
    return path === '/' || path === '.'
  }
}
