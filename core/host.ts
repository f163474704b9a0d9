/**
 * A VM host in the controller's eyes: what the operator wants of it, and what its heartbeats prove. Two columns that never mix.
 *
 *   want   open ⇄ draining ⇄ closed          the operator's word alone
 *   fact   alive ⇄ silent → fenced           reports and time; a new boot id fences everything of before
 *
 * Silence alone proves nothing: it ends placements, not VWNs. Only when it has lasted longer than the lease are the host's VWNs given up
 * to `fencing`, where they stay until somebody proves them gone.
 */
import type { Amount } from './amount.ts'
import type { HostId, ImageDigest } from './ids.ts'

export const hostWants = ['open', 'draining', 'closed'] as const
export type HostWant = (typeof hostWants)[number]
export const hostFactStates = ['alive', 'silent', 'fenced'] as const
export type HostFact = (typeof hostFactStates)[number]

/** An OS image that a host has. */
export interface HostImage {
  readonly digest: ImageDigest
  readonly name: string
  readonly contact: 'agent' | 'ssh'
}

/** One host as the controller's database has it. */
export interface Host {
  readonly id: HostId
  readonly want: HostWant
  readonly fact: HostFact
  /** Null until it was heard for the first time. */
  readonly bootId: string | null
  /** The bait process that was heard last, when it began, and how far it has counted. */
  readonly session: string
  readonly startedAtMs: number
  readonly seq: number
  readonly heardAtMs: number | null
  /** The newest orders that the bait has followed. */
  readonly ordersSeen: { readonly term: number; readonly generation: number }
  readonly capacity: Amount
  readonly images: readonly HostImage[]
  /** Why no guest can be started there at all; null where one can, and while that is not known yet. */
  readonly broken: string | null
}

/** What a report says of its sender. */
export interface Heartbeat {
  readonly bootId: string
  readonly session: string
  readonly startedAtMs: number
  readonly seq: number
  readonly ordersSeen: { readonly term: number; readonly generation: number }
  readonly capacity: Amount
  readonly images: readonly HostImage[]
  readonly broken: string | null
}

/** How long a host may be silent. */
export interface Patience {
  /** Between two reports of a healthy bait. */
  readonly heartbeatMs: number
  /** Missed heartbeats until nothing more is placed there. */
  readonly missedMax: number
  /** Silence until its VWNs are given up. */
  readonly leaseMs: number
}

/** A restart of bait, controller or nats-server costs no warm VWN within the lease. */
export const patience: Patience = { heartbeatMs: 2_000, missedMax: 4, leaseMs: 600_000 }

/** A host that has not been heard yet. */
export const newHost = (id: HostId): Host => ({
  id, want: 'open', fact: 'silent', bootId: null, session: '', startedAtMs: 0, seq: 0, heardAtMs: null,
  ordersSeen: { term: 0, generation: 0 }, capacity: { cpus: 0, memoryMib: 0, scratchGib: 0 }, images: [], broken: null,
})

export type Heard =
  | { readonly is: 'news'; readonly next: Host; readonly rebooted: boolean }   // rebooted: whatever ran there before is provably gone
  | { readonly is: 'ignored'; readonly why: string }

/** What a report changes. Doubled, late and older ones change nothing: reports are whole states, so only the newest counts. */
export function hear(host: Host, beat: Heartbeat, nowMs: number): Heard {
  if (beat.session === host.session) {
    if (beat.seq <= host.seq) return { is: 'ignored', why: `report ${beat.seq} came after ${host.seq}` }
  } else if (host.session !== '' && beat.startedAtMs <= host.startedAtMs) {
    return { is: 'ignored', why: 'from a bait process that has a successor' }
  }
  const { bootId, session, startedAtMs, seq, ordersSeen, capacity, images, broken } = beat
  const next: Host = { ...host, fact: 'alive', heardAtMs: nowMs, bootId, session, startedAtMs, seq, ordersSeen, capacity, images, broken }
  return { is: 'news', next, rebooted: host.bootId !== null && host.bootId !== bootId }
}

/** What time alone changes: a host that has missed its heartbeats is silent. */
export function silence(host: Host, nowMs: number, allowed: Patience = patience): Host {
  const late = host.heardAtMs === null || nowMs - host.heardAtMs > allowed.heartbeatMs * allowed.missedMax
  return host.fact === 'alive' && late ? { ...host, fact: 'silent' } : host
}

/** True when the host has been silent for longer than its VWNs may wait for it. */
export const leaseEnded = (host: Host, nowMs: number, allowed: Patience = patience): boolean =>
  host.fact !== 'alive' && host.heardAtMs !== null && nowMs - host.heardAtMs > allowed.leaseMs

/** Somebody who can know says that nothing of this host runs any more; only a host that is not heard can be declared so. */
export const attest = (host: Host): Host | null => (host.fact === 'alive' ? null : { ...host, fact: 'fenced' })

/** The operator's word; the same host when it says nothing new. */
export const wantHost = (host: Host, want: HostWant): Host => (host.want === want ? host : { ...host, want })

/** After a controller's restart nobody has been heard yet, and the lease counts from now: the silence was our own. */
export const afterRestart = (host: Host, nowMs: number): Host =>
  ({ ...host, fact: host.fact === 'alive' ? 'silent' : host.fact, heardAtMs: host.heardAtMs === null ? null : nowMs })

/** Why nothing new is placed on this host, or null when it is open and heard. */
export function closedBecause(host: Pick<Host, 'want' | 'fact' | 'heardAtMs'>): string | null {
  if (host.want === 'closed') return 'an operator has closed it'
  if (host.want === 'draining') return 'it is draining: it finishes its jobs and takes no more'
  if (host.fact === 'alive') return null
  if (host.fact === 'fenced') return 'it was declared dead and has not been heard since'
  return host.heardAtMs === null ? 'its bait has not been heard yet' : 'its bait is silent'
}
