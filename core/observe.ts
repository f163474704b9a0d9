/**
 * What a bait's report means for a VWN's row. Reports are levels, rows move by events: this walks from where the row is to where the
 * report says the VWN is, one legal event at a time, however many reports were lost in between.
 *
 * It rests on three promises of a bait:
 *   1. before its first report it has adopted everything that its host still has, so a VWN that it knew and leaves out is gone;
 *   2. a report that has seen orders of generation g acts on them already: it knows every VWN that they want to run;
 *   3. a VWN counts as `busy` until its scrub begins, never as `idle` in between; a job that is among the ended has left its VWN.
 */
import { failure, type Failure } from './failure.ts'
import type { JobId, VwnId } from './ids.ts'
import { sameToken, type LeaseToken } from './lease.ts'
import { step, type Moment, type Vwn, type VwnEvent } from './vwn.ts'

/** How a report shows one VWN. */
export interface ObservedVwn {
  readonly vwn: VwnId
  readonly token: LeaseToken
  readonly state: 'preparing' | 'booting' | 'idle' | 'busy' | 'cleaning' | 'stopping' | 'gone'
  readonly job: JobId | null
  /** Why it stops or is gone. */
  readonly cause: Failure | null
}

/** What a report says of the jobs of its host. */
export interface ObservedJobs {
  readonly live: ReadonlyMap<JobId, { readonly state: string; readonly vwn: VwnId | null }>
  readonly ended: ReadonlyMap<JobId, { readonly vwn: VwnId | null }>
}

/** One report, as far as VWNs go. */
export interface Sight {
  readonly vwns: ReadonlyMap<VwnId, ObservedVwn>
  readonly jobs: ObservedJobs
  /** The newest orders that the bait had followed when it reported. */
  readonly ordersSeen: { readonly term: number; readonly generation: number }
  /** The host has booted since it was heard last. */
  readonly rebooted: boolean
}

/** More steps than any walk through the table needs; a longer one is a bug. */
const stepsMax = 8

/** The events that bring this row to where the report says its VWN is; none when it is there already. */
export function eventsFrom(row: Vwn, sight: Sight): readonly VwnEvent[] {
  const events: VwnEvent[] = []
  const at: Moment = { nowMs: row.stateSinceMs, generation: row.generation } // the walk is only imagined: the door makes the real one
  for (let now = row; events.length < stepsMax;) {
    const event = nextEvent(now, row, sight)
    if (event === null) return events
    const verdict = step(now, event, now.token, at)
    if (verdict.is !== 'moved') return events
    events.push(event)
    now = verdict.next
  }
  return events
}

function nextEvent(now: Vwn, row: Vwn, sight: Sight): VwnEvent | null {
  if (now.state === 'gone') return null
  const seen = sight.vwns.get(now.id)
  if (seen === undefined) return whenMissing(now, row, sight)
  if (!sameToken(seen.token, now.token)) return null // another life of the same name: the bait will end it
  return fromHost(now, seen) ?? whenJobLeft(now, sight.jobs)
}

/** The bait has followed the orders that first spoke of the row as it is, or newer ones. */
const covered = (row: Vwn, sight: Sight): boolean => sight.ordersSeen.generation >= row.generation

/**
 * The bait does not know it. What was only requested may still be in the mail, and what is wanted gone may be made yet by older orders
 * under way: there, only a bait that has followed orders as new as the row proves anything.
 */
function whenMissing(now: Vwn, row: Vwn, sight: Sight): VwnEvent | null {
  switch (now.state) {
    case 'requested': return whenJobLeft(now, sight.jobs)
    case 'preparing': case 'booting': case 'idle': case 'busy': case 'cleaning': return { kind: 'exited', cause: failure('VWN_VANISHED') }
    case 'stopping': return row.state === 'stopping' && covered(row, sight) ? { kind: 'reclaimed' } : null
    case 'fencing':
      if (row.state !== 'fencing') return null
      if (covered(row, sight)) return { kind: 'fenced', proof: 'reported' }
      return sight.rebooted ? { kind: 'fenced', proof: 'rebooted' } : null
    case 'gone': return null
    default: return now.state satisfies never
  }
}

/** What the VM itself has come to. */
function fromHost(now: Vwn, seen: ObservedVwn): VwnEvent | null {
  const ended = seen.state === 'gone' || seen.state === 'stopping'
  const cause = seen.cause ?? failure('VWN_DIED')
  switch (now.state) {
    case 'requested': return seen.state === 'gone' ? { kind: 'rejected', cause } : { kind: 'accepted' }
    case 'preparing': return ended ? { kind: 'failed', cause } : seen.state === 'preparing' ? null : { kind: 'prepared' }
    case 'booting': return ended ? { kind: 'failed', cause } : seen.state === 'preparing' || seen.state === 'booting' ? null : { kind: 'ready' }
    case 'idle': case 'busy': case 'cleaning':
      if (ended) return { kind: 'exited', cause }
      if (seen.state === 'preparing' || seen.state === 'booting') return { kind: 'exited', cause: failure('VWN_DIED', 'the bait made it anew') }
      return now.state === 'cleaning' && (seen.state === 'idle' || (seen.state === 'busy' && seen.job !== null && seen.job === now.job)) ? { kind: 'cleaned' } : null
    case 'stopping': return seen.state === 'gone' ? { kind: 'reclaimed' } : null
    case 'fencing': return seen.state === 'gone' ? { kind: 'fenced', proof: 'reported' } : null
    case 'gone': return null
    default: return now.state satisfies never
  }
}

/** The job that this VWN is kept for has ended, went elsewhere, or is not known any more (which is the same, and already recorded). */
function whenJobLeft(now: Vwn, jobs: ObservedJobs): VwnEvent | null {
  if (now.job === null) return null
  const live = jobs.live.get(now.job)
  if (live !== undefined) return live.vwn === null || live.vwn === now.id ? null : { kind: 'released', reached: false }
  const ended = jobs.ended.get(now.job)
  return { kind: 'released', reached: ended === undefined || ended.vwn === now.id }
}
