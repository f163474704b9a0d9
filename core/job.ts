/**
 * The life of a job, owned by the bait that accepted it; the batch system owns the queue.
 *
 *   waiting → staging → starting ─→ running ⇄ suspended → collecting → done
 *      └────────┴─ done (refused, bare) └────────┴→ stopping ──┘
 *                                                       └→ lost
 *
 * `starting` is the point of no return: the guest has been told to run it. Before, a failure is `refused`: it never ran, and the batch
 * system may run it again. After, the worst is `lost`: nobody can tell. A job leaves `waiting` only into a VWN that is there.
 *
 * One that runs on the host itself (`bare`) never leaves `waiting` but for its end: to tell its starter so is its point of no return, and from
 * then on it is no business of ours.
 *
 * A suspended job has had its SIGTSTP; where its whole guest is to stand still, that comes a moment later, so that the job can get ready.
 * Whatever comes next (resume, cancel) lets the guest run again first, or ends it.
 */
import { failure, type Failure, type Outcome } from './failure.ts'
import type { JobId, VwnId } from './ids.ts'

/** Every state, in the order of a happy life. */
export const jobStates = ['waiting', 'staging', 'starting', 'running', 'suspended', 'stopping', 'collecting', 'done', 'lost'] as const
export type JobState = (typeof jobStates)[number]

/** How the process itself ended. */
export type JobExit = Extract<Outcome, { is: 'exited' | 'signalled' }>

export type JobEvent =
  | { readonly kind: 'assigned'; readonly vwn: VwnId }
  | { readonly kind: 'refused'; readonly failure: Failure }
  | { readonly kind: 'bare' }                                                  // it runs on the host itself
  | { readonly kind: 'staged' }
  | { readonly kind: 'started' }
  | { readonly kind: 'failed'; readonly failure: Failure }                     // it certainly did not run
  | { readonly kind: 'exited'; readonly exit: JobExit }
  | { readonly kind: 'collected' }
  | { readonly kind: 'suspend'; readonly pause: boolean }                      // pause: its guest is to stand still as well
  | { readonly kind: 'resume' }
  | { readonly kind: 'cancel'; readonly signal: string | null; readonly graceMs?: number } // null: the job starter went away; no grace: as its limits say
  | { readonly kind: 'deadline' }
  | { readonly kind: 'vwnLost'; readonly failure: Failure }                    // the VWN, or all contact with it, is gone for good
export type JobEventKind = JobEvent['kind']
export const jobEventKinds = [
  'assigned', 'refused', 'bare', 'staged', 'started', 'failed', 'exited', 'collected', 'suspend', 'resume', 'cancel', 'deadline', 'vwnLost',
] as const satisfies readonly JobEventKind[]

/** From where to where, on what. Where two states are named, the job's own facts decide; the usual one comes first. */
export const moves = {
  waiting: { assigned: ['staging'], refused: ['done'], bare: ['done'], suspend: ['waiting'], resume: ['waiting'], cancel: ['done'], deadline: ['done'] },
  staging: { staged: ['starting'], failed: ['done'], suspend: ['staging'], resume: ['staging'], cancel: ['done'], deadline: ['done'], vwnLost: ['done'] },
  starting: { started: ['running', 'suspended'], exited: ['collecting'], failed: ['done'], suspend: ['starting'], resume: ['starting'], cancel: ['stopping'], deadline: ['stopping'], vwnLost: ['lost'] },
  running: { exited: ['collecting'], suspend: ['suspended'], cancel: ['stopping'], vwnLost: ['lost'] },
  suspended: { resume: ['running'], exited: ['collecting'], suspend: ['suspended'], cancel: ['stopping'], deadline: ['suspended'], vwnLost: ['lost'] },
  stopping: { exited: ['collecting'], started: ['stopping'], failed: ['done'], cancel: ['stopping'], deadline: ['stopping'], vwnLost: ['done', 'lost'] },
  collecting: { collected: ['done'], cancel: ['done'], deadline: ['done'], vwnLost: ['done'] },
  done: {},
  lost: {},
} as const satisfies Record<JobState, Partial<Record<JobEventKind, readonly JobState[]>>>

/** One job as the bait keeps it; what it runs is kept beside it. */
export interface Job {
  readonly id: JobId
  readonly state: JobState
  readonly vwn: VwnId | null
  readonly stateSinceMs: number
  /** When `deadline` is due; null where the job or the batch system decides how long. */
  readonly deadlineMs: number | null
  /** `wanted` outlives the states before `running`; `over` says that it may have to be woken. */
  readonly suspend: 'never' | 'wanted' | 'over'
  /** Whether its guest is to stand still while it is suspended; `due`: it has had its moment, and does. */
  readonly pause: 'never' | 'wanted' | 'due'
  /** Why it is being stopped; the first reason counts. `ran`: it was running, so how it then ends is its own affair. */
  readonly stopFor: { readonly is: 'cancel'; readonly signal: string | null; readonly ran: boolean } | { readonly is: 'deadline'; readonly failure: Failure } | null
  /** What it was given to end by itself once it is asked; null: what its limits say. */
  readonly graceMs: number | null
  /** How often stopping has been insisted on. */
  readonly insisted: number
  /** How the process ended, once that is known. */
  readonly exit: JobExit | null
  /** The end of the output, or changed files, may be missing. */
  readonly partial: boolean
  readonly outcome: Outcome | null
  readonly limits: JobLimits
}

/** How long a job may stay in states where it makes no progress of its own. */
export interface JobLimits {
  /** Without a VWN; null waits for ever. */
  readonly waitMs: number | null
  readonly stageMs: number
  /** From the guest being told to its first answer. */
  readonly startMs: number
  /** From SIGTSTP until its guest stands still. */
  readonly pauseMs: number
  /** Between asking a process to end, insisting, and giving up the VWN. */
  readonly stopMs: number
  readonly collectMs: number
}

/** Generous everywhere, because an emulated guest on a loaded machine is slow. */
export const jobLimits: JobLimits = { waitMs: null, stageMs: 3_600_000, startMs: 120_000, pauseMs: 100, stopMs: 10_000, collectMs: 3_600_000 }

/** What the shell has to bring about; all of it may be repeated. */
export type JobEffect =
  | { readonly do: 'stage'; readonly vwn: VwnId }
  | { readonly do: 'run'; readonly vwn: VwnId }                                // told once per connection; the agent takes a job once
  | { readonly do: 'suspend' }
  | { readonly do: 'pause' }                                                   // its guest stands still
  | { readonly do: 'resume' }                                                  // its guest runs, then it is told
  | { readonly do: 'ask' }                                                     // the process is asked to end (and woken to hear it)
  | { readonly do: 'insist' }                                                  // SIGKILL to everything it started
  | { readonly do: 'killVwn'; readonly vwn: VwnId }                            // arrives back as vwnLost
  | { readonly do: 'collect' }
  | { readonly do: 'end'; readonly outcome: Outcome }

export type JobVerdict =
  | { readonly is: 'moved'; readonly next: Job; readonly effects: readonly JobEffect[] }
  | { readonly is: 'ignored'; readonly why: string }

/** A job that was just accepted. */
export const acceptJob = (id: JobId, nowMs: number, limits: JobLimits = jobLimits): Job => ({
  id, state: 'waiting', vwn: null, stateSinceMs: nowMs, deadlineMs: limits.waitMs === null ? null : nowMs + limits.waitMs,
  suspend: 'never', pause: 'never', stopFor: null, graceMs: null, insisted: 0, exit: null, partial: false, outcome: null, limits,
})

/** True when nothing more can become of it. */
export const hasEnded = (job: Job): boolean => job.state === 'done' || job.state === 'lost'

/** What becomes of a job when this happens. Nothing is denied: what does not fit is late, and changes nothing. */
export function step(job: Job, event: JobEvent, nowMs: number): JobVerdict {
  const targets = table[job.state][event.kind]
  if (targets === undefined || isRepeated(job, event)) return { is: 'ignored', why: `${event.kind} changes nothing while ${job.state}` }
  const facts = { ...job, ...changed(job, event) }
  const state = targetOf(facts, event, targets)
  const stays = state === job.state
  const entered = { ...facts, state, stateSinceMs: stays ? job.stateSinceMs : nowMs }
  const deadlineMs = stays && !isUrged(event) ? job.deadlineMs : deadlineOf(entered, nowMs)
  const next: Job = { ...entered, deadlineMs, outcome: outcomeOf(entered, event) }
  return { is: 'moved', next, effects: reissue(next) }
}

/** True of what says nothing new: who stands still already, or is told to end already, is not told again. */
function isRepeated(job: Job, event: JobEvent): boolean {
  if (job.state === 'suspended' && event.kind === 'suspend') return !event.pause || job.pause !== 'never'
  if (job.state === 'stopping' && event.kind === 'cancel') return event.graceMs !== 0 || job.insisted > 0
  return job.state === 'suspended' && event.kind === 'deadline' && job.pause !== 'wanted'
}

/** True of what makes a job's state begin anew, for as long as it may last. */
const isUrged = ({ kind }: JobEvent): boolean => kind === 'deadline' || kind === 'cancel'

/** The effects of being in this state. */
export function reissue(job: Job): readonly JobEffect[] {
  switch (job.state) {
    case 'waiting': return []
    case 'staging': return job.vwn === null ? [] : [{ do: 'stage', vwn: job.vwn }]
    case 'starting': return job.vwn === null ? [] : [{ do: 'run', vwn: job.vwn }]
    case 'running': return job.suspend === 'over' ? [{ do: 'resume' }] : []
    case 'suspended': return [{ do: job.pause === 'due' ? 'pause' : 'suspend' }]
    case 'stopping':
      if (job.insisted === 0) return [{ do: 'ask' }]
      return job.insisted === 1 || job.vwn === null ? [{ do: 'insist' }] : [{ do: 'killVwn', vwn: job.vwn }]
    case 'collecting': return [{ do: 'collect' }]
    case 'done': case 'lost': return job.outcome === null ? [] : [{ do: 'end', outcome: job.outcome }]
    default: return job.state satisfies never
  }
}

/** The kinds of events that would move this job now. */
export const legalNow = ({ state }: Job): readonly JobEventKind[] => jobEventKinds.filter((kind) => table[state][kind] !== undefined)

const table: Readonly<Record<JobState, Partial<Record<JobEventKind, readonly JobState[]>>>> = moves

function targetOf(job: Job, event: JobEvent, targets: readonly JobState[]): JobState {
  const [usual = job.state, other = usual] = targets
  if (event.kind === 'started' && job.state === 'starting') return job.suspend === 'wanted' ? other : usual
  // A cancelled job whose VM is dead has got what was asked for; one that we stopped ourselves may have run.
  if (event.kind === 'vwnLost' && job.state === 'stopping') return job.stopFor?.is === 'cancel' ? usual : other
  return usual
}

/** The facts that an event brings, apart from the state. */
function changed(job: Job, event: JobEvent): Partial<Job> {
  switch (event.kind) {
    case 'assigned': return { vwn: event.vwn }
    case 'suspend': return { suspend: 'wanted', pause: !event.pause ? job.pause : job.state === 'suspended' ? 'due' : 'wanted' }
    case 'resume': return { suspend: job.state === 'suspended' ? 'over' : job.suspend === 'wanted' ? 'never' : job.suspend, pause: 'never' }
    case 'exited': return { exit: event.exit }
    case 'cancel': {
      if (job.state === 'collecting') return { partial: true }
      const { signal, graceMs = null } = event
      const ran = job.state === 'running' || job.state === 'suspended'
      return { stopFor: job.stopFor ?? { is: 'cancel', signal, ran }, graceMs, insisted: graceMs === 0 ? Math.max(1, job.insisted) : job.insisted }
    }
    case 'deadline':
      if (job.state === 'suspended') return { pause: 'due' }
      if (job.state === 'stopping') return { insisted: job.insisted + 1 }
      if (job.state === 'collecting') return { partial: true }
      return { stopFor: job.stopFor ?? { is: 'deadline', failure: failure(lateness(job.state)) } }
    case 'vwnLost': return job.state === 'collecting' ? { partial: true } : {}
    case 'refused': case 'bare': case 'staged': case 'started': case 'failed': case 'collected': return {}
    default: return event satisfies never
  }
}

const lateness = (state: JobState) =>
  state === 'waiting' ? 'JOB_WAITED_TOO_LONG' : state === 'staging' ? 'JOB_STAGE_TIMEOUT' : 'JOB_START_TIMEOUT'

function deadlineOf({ state, limits, pause, insisted, graceMs }: Job, nowMs: number): number | null {
  switch (state) {
    case 'waiting': return limits.waitMs === null ? null : nowMs + limits.waitMs
    case 'staging': return nowMs + limits.stageMs
    case 'starting': return nowMs + limits.startMs
    case 'suspended': return pause === 'wanted' ? nowMs + limits.pauseMs : null
    case 'stopping': return nowMs + (insisted === 0 ? (graceMs ?? limits.stopMs) : limits.stopMs)
    case 'collecting': return nowMs + limits.collectMs
    case 'running': case 'done': case 'lost': return null
    default: return state satisfies never
  }
}

function outcomeOf(job: Job, event: JobEvent): Outcome | null {
  if (job.state === 'lost') return { is: 'lost', failure: event.kind === 'vwnLost' ? event.failure : failure('VWN_DIED') }
  if (job.state !== 'done') return null
  if (event.kind === 'bare') return { is: 'bare' }
  // Who was told to end while it ran and its starter was there ends as it would on a bare node: by its own exit, or of the signal.
  if (job.stopFor?.is === 'cancel') return job.stopFor.ran && job.stopFor.signal !== null && job.exit !== null ? job.exit : { is: 'cancelled', signal: job.stopFor.signal }
  // We stopped it because nobody could tell whether it ran; that it has ended since does not say what it did.
  if (job.stopFor?.is === 'deadline' && job.exit !== null) return { is: 'lost', failure: job.stopFor.failure }
  if (job.exit !== null) return job.exit
  if (event.kind === 'refused' || event.kind === 'failed' || event.kind === 'vwnLost') return { is: 'refused', failure: event.failure }
  return { is: 'refused', failure: job.stopFor?.is === 'deadline' ? job.stopFor.failure : failure('JOB_START_FAILED') }
}
