/**
 * The seams inside the bait, so that the half that owns VMs and the half that owns jobs can be read, tested and replaced apart.
 *
 *   vwns/   makes, adopts, keeps and removes VWNs (hypervisor, disks, port, ssh connection); knows no job
 *   job/    takes jobs from starters, runs them in a ready VWN, cleans it; knows no hypervisor
 *   bait.ts compares Orders with both and calls them
 */
import type { Duplex } from 'node:stream'
import type { Client, ClientChannel, PseudoTtyOptions } from 'ssh2'
import type { DirectoryPolicy, Mount } from '../core/directory.ts'
import type { JobId, VwnId } from '../core/ids.ts'
import type { LeaseToken } from '../core/lease.ts'
import type { Answer, EndedJob, LiveJob, ScrubReceipt, VwnSpec } from '../wire/bait.ts'
import type { Failure } from '../wire/common.ts'

/** Where a guest's ssh server answers, and the only keys that count. */
export interface GuestAddress {
  readonly host: string
  readonly port: number
  /** OpenSSH public key line of the guest's server; anything else is refused. */
  readonly hostKey: string
  /** OpenSSH private key of this bait for this VWN. */
  readonly clientKey: string
}

/** A connection that a process in the guest makes: the port that it comes from, and what becomes of it. */
export interface Incoming {
  readonly fromPort: number
  accept(): Duplex
  refuse(): void
}

/** Bytes as they were on the wire. */
export interface Carried {
  readonly toGuestBytes: number
  readonly fromGuestBytes: number
}

/** One open, authenticated ssh connection to a guest; many jobs' channels go over it. */
export interface GuestSession {
  /** Resolves once, when the connection is gone for whatever reason; never rejects. */
  readonly closed: Promise<void>
  /** A new stream to the agent's job socket in the guest. */
  openAgent(signal?: AbortSignal): Promise<Duplex>
  /** A new command channel, for guests without the agent; with a terminal of its own if asked for. */
  exec(command: string, signal?: AbortSignal, terminal?: PseudoTtyOptions): Promise<ClientChannel>
  /** Takes connections to a free port of the guest's loopback, until `close`. */
  listen(take: (incoming: Incoming) => void): Promise<{ readonly port: number; readonly close: () => void }>
  /** Ends the connection; safe to repeat. */
  close(): void
  /** While its guest stands still the connection is not asked whether it is alive; safe to repeat. */
  stand(still: boolean): void
  /** What it has carried. */
  readonly carried: Carried
  /** The library's own client, for measurements. */
  readonly client: Client
}

/** Stops a guest with all that is in it, and lets it run again. Neither rejects: a VWN that does not obey is ended, which ends its session. */
export interface Stillness {
  /** The guest's processors stand still when it resolves; safe to repeat. */
  freeze(): Promise<void>
  /** They run, and the guest's clock is the host's; safe to repeat, also where they never stood still. */
  wake(): Promise<void>
}

/** A VWN that has reported that it is available. */
export interface ReadyVwn {
  readonly vwn: VwnId
  readonly token: LeaseToken
  readonly spec: VwnSpec
  readonly session: GuestSession
  /** Null where nobody in the guest could set its clock right again. */
  readonly stillness: Stillness | null
}

/** What a scrub found; `left` empty means clean, anything else retires the VWN. */
export interface CleanReport {
  readonly checked: readonly string[]
  readonly left: readonly string[]
  readonly tookMs: number
}

/** What a job's record says of the VWN that it gets. */
export interface PlaceFacts {
  readonly reused: boolean
  /** What the VWN took to come up, where it did for this job. */
  readonly bootMs: number | null
  readonly contactMs: number | null
  readonly scrubReceipt: ScrubReceipt
  /** What it finds mounted, and where it starts, as the mapping says. */
  readonly mounts: readonly Mount[]
  readonly directory: DirectoryPolicy | null
}

/** The half of the bait that owns jobs. */
export interface Jobs {
  /** Every job that has not ended. */
  live(): readonly LiveJob[]
  /** Ended jobs that the controller has not acknowledged. */
  ended(): readonly EndedJob[]
  /** True while the job waits for a VWN: the only time when `assign` has an effect. */
  waits(job: JobId): boolean
  /**
   * Runs a waiting job in this VWN. Resolves when the VWN is free of it again (whatever became of the job); never rejects.
   * `mustClean` is false only when nothing of the job ever reached the guest.
   */
  assign(job: JobId, place: ReadyVwn, facts: PlaceFacts): Promise<{ mustClean: boolean }>
  /** The controller's word on a waiting job; for others it is ignored. */
  answer(answer: Answer): void
  /** What every log line about this job carries; null where that is not known. */
  traceOf(job: JobId): string | null
  /** The milliseconds of a job's scrub, known only after its end; belongs to its record. */
  scrubbed(job: JobId, tookMs: number): void
  /** Forgets ended jobs that are in the controller's history. */
  acknowledge(jobs: readonly JobId[]): void
  /** Marks every job that a former bait process had started as lost; called once, before anything else. */
  recover(): Promise<void>
  /** Calls back whenever `live` or `ended` has changed. */
  onChange(listener: () => void): void
}

/** Scrubs a VWN after a job and proves it; throws VwnError when the guest does not answer. */
export type Clean = (place: ReadyVwn, signal: AbortSignal) => Promise<CleanReport>

/** How a VWN's stay came to its end, kept for the Report until the controller drops it from the Orders. */
export interface VwnEnd {
  readonly cause: Failure | null
  readonly serialTail: string
}
