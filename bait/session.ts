/** What tells the reports of one bait process from those of the one before it on the same host. */
import { z } from 'zod'
import { tryReadJson, writeJson } from '../kit/atomic-file.ts'

const sessionSchema = z.strictObject({ startedAtMs: z.int().nonnegative() })

/**
 * When this process has begun, wall clock in milliseconds: later than any before it, also where the clock was set back meanwhile. The
 * controller ignores reports of a process that has a successor, and goes by this number.
 */
export async function beginSession(file: string, nowMs: number): Promise<number> {
  const last = await tryReadJson(file, sessionSchema)
  const startedAtMs = last === null ? nowMs : Math.max(nowMs, last.content.startedAtMs + 1)
  await writeJson(file, { startedAtMs })
  return startedAtMs
}
