import { z } from 'zod'
import { VwnError } from '../core/errors.ts'
import { tryReadJson, tryUnlink, writeJson } from './atomic-file.ts'
import { bootId, isAlive, processOf, type ProcessRef } from './process.ts'

const pidFile = z.object({ pid: z.int().positive(), startTicks: z.int(), bootId: z.string() })

/** The process that wrote this file, if it runs. An unreadable file names nobody. */
export async function readPidFile(path: string): Promise<ProcessRef | null> {
  const file = await tryReadJson(path, pidFile).catch(() => null)
  if (file === null || file.content.bootId !== bootId()) return null
  const { pid, startTicks } = file.content
  return isAlive({ pid, startTicks }) ? { pid, startTicks } : null
}

/** Records that we, or that process, run here; PROGRAM_RUNNING when another one does. Disposing removes the file. */
export async function claimPidFile(path: string, pid = process.pid): Promise<AsyncDisposable> {
  const holder = await readPidFile(path)
  if (holder !== null && holder.pid !== pid) throw new VwnError('PROGRAM_RUNNING', { pid: holder.pid, file: path })
  await writeJson(path, { ...processOf(pid), bootId: bootId() }, { mode: 0o644 })
  return { [Symbol.asyncDispose]: async () => void (await tryUnlink(path)) }
}
