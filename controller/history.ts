/**
 * The end of history. What is too old goes; and where the database has grown too large, the oldest of what is left. A step is a transaction
 * that drops a bounded number of rows, and after each the controller has as long for its work as the step took.
 *
 * Where accounts are done, a job is not dropped before its record was acknowledged, or is older than somebody may be late with that; then the
 * database may be larger than it should, and says so.
 */
import type { Database } from '../db/open.ts'
import { acknowledgedRecord } from '../db/queries/meta.ts'
import { beforeAll, checkpoint, forget, pastAfter, shrink, usedBytes, type Past, type Place } from '../db/queries/history.ts'
import { transaction } from '../db/statement.ts'
import type { Kit } from '../kit/service.ts'

export interface HistoryBounds {
  readonly ageMs: number
  readonly bytesMax: number
  /** How long the record of a job may stay without acknowledgement; 0: nobody acknowledges, and nothing waits for it. */
  readonly unacknowledgedMs: number
}

/** Rows that one step drops at most. */
export const stepRows = 500
/** Pages that one step gives back, of 4 KiB each. */
const stepPages = 256
/** What has only just ended is never dropped: a decision may still look at it. */
const freshMs = 3_600_000

/** History is within its bounds, as far as nothing waits for acknowledgement. */
export async function pruneHistory({ db, kit, bounds }: { readonly db: Database; readonly kit: Kit; readonly bounds: HistoryBounds }, signal: AbortSignal): Promise<void> {
  const nowMs = kit.clock.nowMs()
  const walk = { beforeMs: nowMs - bounds.ageMs, mayGo: mayGo(bounds, acknowledgedRecord(db), nowMs) }
  const isTooLarge = (): boolean => usedBytes(db) > bounds.bytesMax
  const old = await walkOn(db, kit, { ...walk, goOn: () => true }, signal)
  const crowded = isTooLarge() ? await walkOn(db, kit, { ...walk, beforeMs: nowMs - freshMs, goOn: isTooLarge }, signal) : 0
  if (old + crowded === 0) return
  await inSteps(kit, signal, () => shrink(db, stepPages) > 0)
  checkpoint(db)
  kit.log.info({ rows: old + crowded, usedBytes: usedBytes(db) }, 'history forgotten')
  if (isTooLarge()) kit.log.warn({ usedBytes: usedBytes(db), bytesMax: bounds.bytesMax }, 'history is larger than it may be: what is left is new or not acknowledged')
}

const mayGo = ({ unacknowledgedMs }: HistoryBounds, acknowledged: number, nowMs: number) => (past: Past): boolean =>
  past.kind === 'vwn' || unacknowledgedMs === 0 || (past.record !== null && past.record <= acknowledged) || past.endedAtMs < nowMs - unacknowledgedMs

interface Walk {
  readonly beforeMs: number
  readonly mayGo: (past: Past) => boolean
  readonly goOn: () => boolean
}

/** Drops what may go, from the oldest on; returns how many rows that were. */
async function walkOn(db: Database, kit: Kit, walk: Walk, signal: AbortSignal): Promise<number> {
  let rows = 0
  let place: Place | null = beforeAll
  await inSteps(kit, signal, () => {
    if (place === null || !walk.goOn()) return false
    const step: Step = transaction(db, () => dropSome(db, place ?? beforeAll, walk))
    rows += step.rows
    place = step.place
    return place !== null
  })
  return rows
}

interface Step {
  readonly rows: number
  /** How far it has come; null: to the end. */
  readonly place: Place | null
}

function dropSome(db: Database, from: Place, { beforeMs, mayGo: may }: Walk): Step {
  const past = pastAfter(db, from, { beforeMs, limit: stepRows })
  let place = from
  let rows = 0
  for (const one of past) {
    // A job is two rows.
    if (rows + 2 > stepRows) return { rows, place }
    if (may(one)) {
      const dropped = forget(db, one, stepRows - rows - 1)
      rows += dropped.rows
      if (!dropped.whole) return { rows, place }
    }
    place = { atMs: one.endedAtMs, id: one.id }
  }
  return { rows, place: past.length < stepRows ? null : place }
}

/** Repeats a step while there is more to do; others have their turn between. */
async function inSteps(kit: Kit, signal: AbortSignal, step: () => boolean): Promise<void> {
  for (;;) {
    const startedMs = kit.clock.monotonicMs()
    if (!step()) return
    await kit.clock.sleep(Math.max(1, kit.clock.monotonicMs() - startedMs), signal)
  }
}
