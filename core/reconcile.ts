/**
 * What a bait does about one VWN: wanted × observed → action. Called again and again; every action may be repeated, and each leads to
 * another row or to rest. Nothing that serves a job is touched unless the controller insists or does not know it.
 *
 *   wanted ↓ observed →       nothing   preparing, booting   idle            busy               cleaning   stopping   dead      gone
 *   unknown, or older claim   –         kill                 kill            kill               kill       kill       reclaim   forget
 *   run                       prepare   wait                 attach / rest   wait / clean       wait       wait       reclaim   report
 *   gone                      report    kill                 shutdown        wait / kill        shutdown   wait       reclaim   report
 *
 * `busy` becomes `clean` (run) or `shutdown` (gone) once its job has let go of it.
 */
import type { JobId } from './ids.ts'
import { compareTokens, type LeaseToken } from './lease.ts'

/** One VWN of the Orders, as far as this decision goes. */
export interface Wanted {
  readonly token: LeaseToken
  readonly want: 'run' | 'gone'
  readonly insist: boolean
  readonly job: JobId | null
}

/** `dead`: the VM is no more, but its files are. `gone`: nothing is left but the record that says so. */
export const localStates = ['preparing', 'booting', 'idle', 'busy', 'cleaning', 'stopping', 'dead', 'gone'] as const
export type LocalState = (typeof localStates)[number]

/** One VWN as the bait finds it on its host. */
export interface Local {
  readonly token: LeaseToken
  readonly state: LocalState
  /** The job it serves; set while `busy`. */
  readonly job: JobId | null
  /** While `busy`: its job has let go of it, whether or not the scrub has begun. */
  readonly jobOver: boolean
}

export type Action =
  | { readonly do: 'rest' }                                                    // as it should be
  | { readonly do: 'wait' }                                                    // something is under way; its own deadline watches it
  | { readonly do: 'prepare' }                                                 // make and boot it
  | { readonly do: 'attach'; readonly job: JobId }
  | { readonly do: 'clean' }
  | { readonly do: 'shutdown' }                                                // ask, then insist
  | { readonly do: 'kill' }
  | { readonly do: 'reclaim' }                                                 // remove what a dead VM left
  | { readonly do: 'report' }                                                  // it is gone: say so until the Orders forget it
  | { readonly do: 'forget' }

/** The next thing to do about one VWN; `waits` tells whether a job still waits for a place on this host. */
export function reconcile(wanted: Wanted | null, local: Local | null, waits: (job: JobId) => boolean): Action {
  if (local === null) return wanted === null ? { do: 'rest' } : { do: wanted.want === 'run' ? 'prepare' : 'report' }
  const claim = wanted === null ? 1 : compareTokens(wanted.token, local.token)
  if (claim < 0) return { do: 'wait' } // orders from before this VWN: newer ones will come
  if (wanted === null || claim > 0) return unwanted(local)
  return wanted.want === 'run' ? run(wanted, local, waits) : gone(wanted, local)
}

function unwanted(local: Local): Action {
  if (local.state === 'gone') return { do: 'forget' }
  return { do: local.state === 'dead' ? 'reclaim' : 'kill' }
}

function run(wanted: Wanted, local: Local, waits: (job: JobId) => boolean): Action {
  switch (local.state) {
    case 'preparing': case 'booting': case 'cleaning': case 'stopping': return { do: 'wait' }
    case 'idle': return wanted.job !== null && waits(wanted.job) ? { do: 'attach', job: wanted.job } : { do: 'rest' }
    case 'busy': return { do: local.jobOver ? 'clean' : 'wait' }
    case 'dead': return { do: 'reclaim' }
    case 'gone': return { do: 'report' }
    default: return local.state satisfies never
  }
}

function gone(wanted: Wanted, local: Local): Action {
  switch (local.state) {
    case 'preparing': case 'booting': return { do: 'kill' }
    case 'idle': case 'cleaning': return { do: 'shutdown' }
    case 'busy': return { do: local.jobOver ? 'shutdown' : wanted.insist ? 'kill' : 'wait' }
    case 'stopping': return { do: wanted.insist ? 'kill' : 'wait' }
    case 'dead': return { do: 'reclaim' }
    case 'gone': return { do: 'report' }
    default: return local.state satisfies never
  }
}

/** How new an Orders is. */
export interface OrdersNumber {
  readonly term: number
  readonly generation: number
}

/**
 * A bait follows an Orders only when it is newer than the last one it followed, and for the very process that it is: one for the process
 * before it was written before the controller could know what that one has left, and whether the host has booted since.
 */
export const isNews = (orders: OrdersNumber & { readonly session: string }, session: string, followed: OrdersNumber | null): boolean =>
  orders.session === session && (followed === null || orders.term > followed.term || (orders.term === followed.term && orders.generation > followed.generation))
