/**
 * What a bait was told to do with a VWN. Orders are levels, said again as often as anybody likes; what is told here is each change of the level,
 * as the events of the VWN imply it (core/vwn.ts, `wantedOf`). What the bait does by itself to follow, such as waking a guest or scrubbing it
 * after a job, is no order.
 */
import type { JobId } from './ids.ts'
import { isLive, type Vwn } from './vwn.ts'

export const orderKinds = ['make', 'serve', 'keep', 'end', 'kill', 'forget'] as const
export type OrderKind = (typeof orderKinds)[number]

/** What each of them says, for people. */
export const orderWords: Readonly<Record<OrderKind, string>> = {
  make: 'make it',
  serve: 'let the job in',
  keep: 'keep it, without a job',
  end: 'end it, but no job',
  kill: 'end it, and the job in it',
  forget: 'forget it',
}

/** A move of a VWN as it is on record; `job` is the one that it has then, or had before. */
export interface Move {
  readonly atMs: number
  readonly event: string
  readonly to: Vwn['state']
  readonly job: JobId | null
  readonly why: string | null
}

export interface Order extends Pick<Move, 'atMs' | 'event' | 'why'> {
  readonly does: OrderKind
  readonly job: JobId | null
}

interface Level {
  readonly want: 'run' | 'gone'
  readonly insist: boolean
  readonly job: JobId | null
}

/** The orders behind all moves of a VWN, first to last. */
export function ordersIn(moves: readonly Move[]): readonly Order[] {
  const orders: Order[] = []
  let level: Level | null = null
  for (const move of moves) {
    const next = levelAfter(level, move)
    const does = change(level, next)
    const { atMs, event, why } = move
    if (does !== null) orders.push({ atMs, event, why, does, job: next?.want === 'run' ? next.job : null })
    level = next
  }
  return orders
}

function levelAfter(before: Level | null, { to, event, job }: Move): Level | null {
  if (to === 'gone') return null
  return { want: isLive({ state: to }) ? 'run' : 'gone', insist: before?.insist === true || event === 'kill', job: jobAfter(event, job, before) }
}

function jobAfter(event: string, job: JobId | null, before: Level | null): JobId | null {
  if (event === 'released') return null
  return before === null || event === 'assigned' ? job : before.job
}

function change(before: Level | null, next: Level | null): OrderKind | null {
  if (before === null) return next === null ? null : 'make'
  if (next === null) return 'forget'
  if (next.want === 'gone') {
    if (next.insist && !before.insist) return 'kill'
    return before.want === 'run' ? 'end' : null
  }
  if (next.job === before.job) return null
  return next.job === null ? 'keep' : 'serve'
}
