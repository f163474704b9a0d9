/**
 * The life of a virtual worker node, owned by the controller.
 *
 *   requested → preparing → booting ─┬→ idle ⇄ busy → cleaning ─┬→ idle …
 *       │            any of these    └→ busy                    └→ busy (a job was waiting for it)
 *       │                 └──────────→ stopping → gone          told to go, or dead; its disks still exist
 *       └───────────────────────────→ fencing  → gone           out of hearing: nothing is assumed until it is proven gone
 *
 * One that is made for nobody is kept ready: the first job that takes it makes its user the owner.
 *
 * A job may be reserved on a VWN that is not ready yet, or still being cleaned; `ready` and `cleaned` then lead to `busy`. Effects
 * belong to states: `reissue` gives the effects of being in a state, so that recovery is nothing but entering it again. What is
 * wanted of the bait is a level (run, or gone), sent as often as anybody likes.
 */
import type { Amount } from './amount.ts'
import { failure, type Failure } from './failure.ts'
import type { HostId, ImageDigest, JobId, TypeName, VwnId } from './ids.ts'
import { compareTokens, type LeaseToken } from './lease.ts'
import { endOfUse, mayShare, ownerWords, type ReuseLimits } from './reuse.ts'

/** Every state, in the order of a happy life. */
export const vwnStates = ['requested', 'preparing', 'booting', 'idle', 'busy', 'cleaning', 'stopping', 'fencing', 'gone'] as const
export type VwnState = (typeof vwnStates)[number]

/** The person whose job a VWN served first, and by its reuse policy (reuse.ts) whose jobs it serves for life: no others ever run there. */
export interface Owner {
  readonly user: string
  readonly uid: number
  /** The primary group. */
  readonly gid: number
  readonly group: string
  readonly project: string | null
}

/** What proves that a VWN is gone: its bait says so, its host has booted since, or a person vouches for it. */
export type FenceProof = 'reported' | 'rebooted' | 'attested'

export type VwnEvent =
  | { readonly kind: 'accepted' }                                              // the bait has it on record
  | { readonly kind: 'rejected'; readonly cause: Failure }                     // the bait will not make it
  | { readonly kind: 'prepared' }                                              // disks are made, the VM is being started
  | { readonly kind: 'ready' }                                                 // the guest is available
  | { readonly kind: 'assigned'; readonly job: JobId; readonly owner: Owner }
  | { readonly kind: 'released'; readonly reached: boolean }                   // its job needs it no more; did anything of it get in?
  | { readonly kind: 'cleaned' }
  | { readonly kind: 'failed'; readonly cause: Failure }                       // preparing, booting or cleaning did not work
  | { readonly kind: 'exited'; readonly cause: Failure | null }                // the VM is no more, or on its way out by itself
  | { readonly kind: 'stop'; readonly cause: Failure | null }                  // no longer needed; never ends a job
  | { readonly kind: 'kill'; readonly cause: Failure | null }                  // an operator insists; ends a job
  | { readonly kind: 'deadline' }
  | { readonly kind: 'hostLost' }                                              // its host was silent for longer than a lease
  | { readonly kind: 'reclaimed' }                                             // nothing of it is left on the host
  | { readonly kind: 'fenced'; readonly proof: FenceProof }
export type VwnEventKind = VwnEvent['kind']
export const vwnEventKinds = [
  'accepted', 'rejected', 'prepared', 'ready', 'assigned', 'released', 'cleaned', 'failed', 'exited', 'stop', 'kill', 'deadline', 'hostLost', 'reclaimed', 'fenced',
] as const satisfies readonly VwnEventKind[]

const alive = { stop: ['stopping'], kill: ['stopping'], exited: ['stopping'], deadline: ['stopping'], hostLost: ['fencing'] } as const

/** From where to where, on what. Where several states are named, the row's own facts decide; the usual one comes first. */
export const moves = {
  requested: { accepted: ['preparing'], assigned: ['requested'], released: ['requested'], rejected: ['gone'], stop: ['fencing'], kill: ['fencing'], deadline: ['fencing'], hostLost: ['fencing'] },
  preparing: { prepared: ['booting'], assigned: ['preparing'], released: ['preparing'], ...alive, failed: ['stopping'] },
  booting: { ready: ['busy', 'idle'], assigned: ['booting'], released: ['booting'], ...alive, failed: ['stopping'] },
  idle: { assigned: ['busy'], ...alive },
  busy: { released: ['cleaning', 'idle', 'stopping'], kill: ['stopping'], exited: ['stopping'], hostLost: ['fencing'] },
  cleaning: { cleaned: ['idle', 'busy'], assigned: ['cleaning'], released: ['cleaning'], ...alive, failed: ['stopping'] },
  stopping: { reclaimed: ['gone'], kill: ['stopping'], deadline: ['stopping'], hostLost: ['fencing'] },
  fencing: { fenced: ['gone'], kill: ['fencing'], deadline: ['fencing'] },
  gone: {},
} as const satisfies Record<VwnState, Partial<Record<VwnEventKind, readonly VwnState[]>>>

/** One VWN as the controller's database has it. */
export interface Vwn {
  readonly id: VwnId
  readonly host: HostId
  readonly type: TypeName
  readonly image: ImageDigest
  readonly contact: 'agent' | 'ssh'
  readonly network: 'isolated' | 'outbound'
  readonly shape: Amount
  /** Deadline of one boot attempt; the bait makes two. */
  readonly bootMs: number
  readonly limits: ReuseLimits
  /** Set with the first job and for life. */
  readonly owner: Owner | null
  /** Made for nobody, to be ready for whoever comes. */
  readonly pooled: boolean
  readonly state: VwnState
  /** The operator's kill: going may not wait for a job to finish. */
  readonly insist: boolean
  readonly token: LeaseToken
  /** Number of the orders that first told the bait of this; rises with every move. */
  readonly generation: number
  /** Reserved, served, or (stopping, fencing, gone) the last one that it was meant for; null while idle. */
  readonly job: JobId | null
  /** Jobs that got into the guest and left it. */
  readonly jobsRun: number
  readonly createdAtMs: number
  readonly stateSinceMs: number
  /** When `deadline` is due; null where only a job or a proof ends the state. */
  readonly deadlineMs: number | null
  /** The first reason why it had to go. */
  readonly cause: Failure | null
  readonly endedAtMs: number | null
}

/** What the shell has to bring about; all of it may be repeated at any time. */
export type Effect =
  | { readonly do: 'order'; readonly host: HostId; readonly vwn: VwnId; readonly want: 'run' | 'gone'; readonly insist: boolean; readonly job: JobId | null }
  | { readonly do: 'endLease'; readonly host: HostId; readonly vwn: VwnId }    // the orders forget it, so the bait may

/** Moved; or a duplicate or stale word that changes nothing; or a request that its sender must hear was not possible. */
export type Verdict =
  | { readonly is: 'moved'; readonly next: Vwn; readonly effects: readonly Effect[] }
  | { readonly is: 'ignored'; readonly why: string }
  | { readonly is: 'denied'; readonly why: string }

/** When a decision is made: the clock, and the number that orders sent from now on will carry. */
export interface Moment {
  readonly nowMs: number
  readonly generation: number
}

/** Longest stay in each state, on top of two boot attempts while it is being made; the bait has its own, shorter ones. */
export const allowanceMs = { requested: 60_000, preparing: 60_000, booting: 60_000, cleaning: 180_000, stopping: 60_000, fencing: 60_000 } as const

/** What a new VWN is made from. */
export type VwnRequest = Pick<Vwn, 'host' | 'type' | 'image' | 'contact' | 'network' | 'shape' | 'bootMs' | 'limits' | 'owner' | 'job'>

/** The first row of a VWN that does not exist yet. */
export function requestVwn(request: VwnRequest, id: VwnId, token: LeaseToken, at: Moment): Vwn {
  const row: Vwn = {
    ...request, id, token, pooled: request.owner === null, state: 'requested', insist: false, generation: at.generation, jobsRun: 0,
    createdAtMs: at.nowMs, stateSinceMs: at.nowMs, deadlineMs: null, cause: null, endedAtMs: null,
  }
  return { ...row, deadlineMs: deadlineOf(row) }
}

/** What becomes of a VWN when this happens. `token` is the claim that the sender believes in. */
export function step(vwn: Vwn, event: VwnEvent, token: LeaseToken, at: Moment): Verdict {
  const claim = compareTokens(token, vwn.token)
  if (claim !== 0) return { is: 'ignored', why: claim < 0 ? 'speaks of an older claim' : 'speaks of a claim that nobody has made' }
  if (event.kind === 'assigned' && isReservedFor(vwn, event.job)) return { is: 'ignored', why: `it has ${event.job} already` }
  if (table[vwn.state][event.kind] === undefined) return misfit(vwn, event)
  const objection = objectionTo(vwn, event)
  if (objection !== null) return objection
  const next = enter(vwn, changed(vwn, event), targetOf(vwn, event, at.nowMs), at)
  return { is: 'moved', next, effects: reissue(next) }
}

/** The effects of being in this state: what a crash may have swallowed. */
export function reissue(vwn: Vwn): readonly Effect[] {
  if (vwn.state === 'gone') return [{ do: 'endLease', host: vwn.host, vwn: vwn.id }]
  const { want, insist, job } = wantedOf(vwn)
  return [{ do: 'order', host: vwn.host, vwn: vwn.id, want, insist, job }]
}

/** What the bait is to be told of a VWN that is not gone. */
export function wantedOf(vwn: Vwn): { readonly want: 'run' | 'gone'; readonly insist: boolean; readonly job: JobId | null } {
  const want = isLive(vwn) ? 'run' : 'gone'
  return { want, insist: vwn.insist, job: want === 'run' ? vwn.job : null }
}

/** True while a VWN may yet serve jobs. */
export const isLive = (vwn: Pick<Vwn, 'state'>): boolean => vwn.state !== 'stopping' && vwn.state !== 'fencing' && vwn.state !== 'gone'

/** True of a VWN that no user has had. */
export const isNobodys = ({ owner, job }: Vwn): boolean => owner === null && job === null

/** True of a VWN that is ready, or will be, and nobody's yet. */
export const isUnclaimed = (vwn: Vwn): boolean => isNobodys(vwn) && isLive(vwn)

/** True of a VWN that may be stopped without anybody missing it. */
export const isSpare = (vwn: Vwn): boolean => vwn.state === 'idle' || isUnclaimed(vwn)

/** True while the job has its place here, now or as soon as the VWN is ready. */
export const isReservedFor = (vwn: Vwn, job: JobId): boolean => vwn.job === job && isLive(vwn)

/** The kinds of events that would move this VWN now. */
export const legalNow = ({ state }: Vwn): readonly VwnEventKind[] => vwnEventKinds.filter((kind) => table[state][kind] !== undefined)

/** What time alone does to a VWN. Nobody is blamed for a host that cannot be heard: there only the end of its lease counts. */
export function due(vwn: Vwn, host: { readonly alive: boolean; readonly leaseEnded: boolean }, nowMs: number): VwnEvent | null {
  if (host.leaseEnded && table[vwn.state].hostLost !== undefined) return { kind: 'hostLost' }
  return host.alive && vwn.deadlineMs !== null && nowMs >= vwn.deadlineMs ? { kind: 'deadline' } : null
}

const table: Readonly<Record<VwnState, Partial<Record<VwnEventKind, readonly VwnState[]>>>> = moves

/** Requests of people and of the scheduler deserve an answer; news that comes twice or late does not. */
function misfit(vwn: Vwn, event: VwnEvent): Verdict {
  const asked = event.kind === 'assigned' || event.kind === 'stop' || event.kind === 'kill'
  if (!asked || (event.kind !== 'assigned' && !isLive(vwn))) return { is: 'ignored', why: `${event.kind} changes nothing while ${vwn.state}` }
  return { is: 'denied', why: vwn.state === 'busy' ? `it is busy with ${vwn.job}: drain its host or kill it` : `it is ${vwn.state}` }
}

function objectionTo(vwn: Vwn, event: VwnEvent): Verdict | null {
  if (event.kind === 'assigned') {
    if (vwn.job !== null) return { is: 'denied', why: `it is kept for ${vwn.job}` }
    const { owner, limits: { reuse } } = vwn
    if (owner !== null && !mayShare(reuse, owner, event.owner)) return { is: 'denied', why: `it belongs to ${ownerWords(reuse, owner)}` }
  }
  if (event.kind === 'released' && vwn.job === null) return { is: 'ignored', why: 'it has no job' }
  if (event.kind === 'kill' && vwn.insist) return { is: 'ignored', why: 'it is being killed already' }
  return null
}

function targetOf(vwn: Vwn, event: VwnEvent, nowMs: number): VwnState {
  if (event.kind === 'ready' || event.kind === 'cleaned') return vwn.job === null ? 'idle' : 'busy'
  if (event.kind === 'released' && vwn.state === 'busy') {
    if (!event.reached) return 'idle'
    return endOfUse({ ...vwn, jobsRun: vwn.jobsRun + 1 }, nowMs) === null ? 'cleaning' : 'stopping'
  }
  return table[vwn.state][event.kind]?.[0] ?? vwn.state
}

/** The facts that an event brings, apart from the state. */
function changed(vwn: Vwn, event: VwnEvent): Partial<Vwn> {
  switch (event.kind) {
    case 'assigned': return { job: event.job, owner: vwn.owner ?? event.owner }
    case 'released': return { job: null, jobsRun: vwn.jobsRun + (vwn.state === 'busy' && event.reached ? 1 : 0) }
    case 'kill': return { insist: true, cause: vwn.cause ?? event.cause }
    case 'stop': case 'failed': case 'exited': case 'rejected': return { cause: vwn.cause ?? event.cause }
    case 'hostLost': return { cause: vwn.cause ?? failure('VWN_HOST_LOST', vwn.host) }
    case 'deadline': return { cause: vwn.cause ?? lateness(vwn) }
    case 'accepted': case 'prepared': case 'ready': case 'cleaned': case 'reclaimed': case 'fenced': return {}
    default: return event satisfies never
  }
}

/** An idle VWN that has outstayed its time has done nothing wrong. */
function lateness({ state }: Vwn): Failure | null {
  if (state === 'requested' || state === 'preparing' || state === 'booting') return failure('VWN_BOOT_TIMEOUT', `while ${state}`)
  return state === 'cleaning' ? failure('VWN_SILENT', 'while it was scrubbed') : null
}

function enter(vwn: Vwn, facts: Partial<Vwn>, state: VwnState, at: Moment): Vwn {
  const next: Vwn = {
    ...vwn, ...facts, state,
    generation: Math.max(at.generation, vwn.generation + 1),
    stateSinceMs: state === vwn.state ? vwn.stateSinceMs : at.nowMs,
    endedAtMs: state === 'gone' ? at.nowMs : null,
  }
  const again = state === vwn.state && (state === 'stopping' || state === 'fencing')   // asked once more: wait as long again
  return { ...next, deadlineMs: deadlineOf(again ? { ...next, stateSinceMs: at.nowMs } : next) }
}

function deadlineOf(vwn: Vwn): number | null {
  switch (vwn.state) {
    case 'busy': case 'gone': return null
    case 'idle': {
      const oldAtMs = Math.max(vwn.createdAtMs + vwn.limits.ageMsMax, vwn.stateSinceMs)
      return vwn.owner === null ? oldAtMs : Math.min(vwn.stateSinceMs + vwn.limits.idleMsMax, oldAtMs) // the pool knows how long it needs one
    }
    case 'preparing': case 'booting': return vwn.stateSinceMs + 2 * vwn.bootMs + allowanceMs[vwn.state]
    case 'requested': case 'cleaning': case 'stopping': case 'fencing': return vwn.stateSinceMs + allowanceMs[vwn.state]
    default: return vwn.state satisfies never
  }
}
