/**
 * Who is charged for what: one record per ended job, and sums over records.
 *
 *   submitted ─ wait ─ boot ─ contact ─ stage ─ start ─ run ─ collect ─ ended ─ scrub
 *   └────────────────────────── wall ──────────────────────────────┘
 *   └───────────── overhead: ours ──────────────┘   its own  └──── ours ─────┘
 *
 * Phases are measured on a clock that never goes back, wall is the difference of two times of day, which do. What the phases prove counts:
 * wall is never less than their sum, and `other` is what they do not explain (the running of a job that was lost, a clock that was set).
 */
import type { Outcome } from './failure.ts'
import type { HostId, ImageDigest, JobId, TypeName, VwnId } from './ids.ts'
import type { Made } from './placement.ts'

/** How a job came to its end, in one word. `timeLimit` is the kernel's own, of processor time; other limits end a job by a signal of the batch system. */
export const causes = ['exited', 'signalled', 'outOfMemory', 'timeLimit', 'cancelled', 'lost', 'refused', 'bare'] as const
export type Cause = (typeof causes)[number]

/** An ended job with its record's number, as it is kept. */
export interface Accountable {
  readonly record: number
  readonly job: JobId
  readonly host: HostId
  readonly name: string
  readonly identity: { readonly user: string; readonly uid: number; readonly group: string }
  readonly want: { readonly queue: string | null; readonly project: string | null; readonly batchSystem: string | null; readonly batchJobId: string | null }
  readonly type: TypeName | null
  readonly vwn: VwnId | null
  readonly made: Made | null
  readonly image: ImageDigest | null
  /** What its VWN held. */
  readonly shape: { readonly cpus: number; readonly memoryMib: number; readonly scratchGib: number } | null
  readonly submittedAtMs: number
  readonly endedAtMs: number
  readonly phases: Readonly<Record<string, number>>
  readonly outcome: Outcome
  readonly usage: Readonly<Record<string, number | null>> | null
}

/** Parts of a record's wall time that are ours, not the job's own. */
const ours = ['waitMs', 'bootMs', 'contactMs', 'stageMs', 'startMs', 'collectMs'] as const

/** One ended job, flat: a column each. Times are whole milliseconds; null is what nobody knows. */
export interface AccountingRecord {
  readonly record: number
  readonly job: JobId
  readonly batchSystem: string | null
  readonly batchJobId: string | null
  readonly name: string
  readonly user: string
  readonly uid: number
  readonly group: string
  readonly project: string | null
  readonly queue: string | null
  readonly host: HostId
  readonly type: TypeName | null
  readonly vwn: VwnId | null
  readonly image: ImageDigest | null
  readonly made: Made | null
  readonly cpus: number | null
  readonly memoryMib: number | null
  readonly scratchGib: number | null
  readonly submittedAtMs: number
  readonly startedAtMs: number | null
  readonly endedAtMs: number
  readonly wallMs: number
  readonly waitMs: number
  readonly bootMs: number
  readonly contactMs: number
  readonly stageMs: number
  readonly startMs: number
  readonly runMs: number
  readonly collectMs: number
  readonly otherMs: number
  readonly scrubMs: number
  readonly overheadMs: number
  readonly cpuUserMs: number | null
  readonly cpuSystemMs: number | null
  readonly memoryPeakBytes: number | null
  readonly readBytes: number | null
  readonly writtenBytes: number | null
  readonly cause: Cause
  readonly exitCode: number | null
  readonly signal: string | null
  readonly coreDumped: boolean
  /** Code of the failure that refused or lost it. */
  readonly failure: string | null
}

/** The record of an ended job. */
export function accountOf(job: Accountable): AccountingRecord {
  const { identity, want, shape, outcome } = job
  const times = timesOf(job)
  return {
    record: job.record, job: job.job, batchSystem: want.batchSystem, batchJobId: want.batchJobId, name: job.name,
    user: identity.user, uid: identity.uid, group: identity.group, project: want.project, queue: want.queue,
    host: job.host, type: job.type, vwn: job.vwn, image: job.image, made: job.vwn === null ? null : job.made,
    cpus: shape?.cpus ?? null, memoryMib: shape?.memoryMib ?? null, scratchGib: shape?.scratchGib ?? null,
    submittedAtMs: job.submittedAtMs, startedAtMs: startOf(job), endedAtMs: job.endedAtMs, ...times,
    cpuUserMs: used(job, 'cpuUserMs'), cpuSystemMs: used(job, 'cpuSystemMs'), memoryPeakBytes: used(job, 'memoryPeakBytes'),
    readBytes: used(job, 'readBytes'), writtenBytes: used(job, 'writtenBytes'),
    cause: causeOf(outcome), exitCode: outcome.is === 'exited' ? outcome.code : null,
    signal: outcome.is === 'signalled' || outcome.is === 'cancelled' ? outcome.signal : null, coreDumped: outcome.is === 'signalled' && outcome.coreDumped,
    failure: outcome.is === 'refused' || outcome.is === 'lost' ? outcome.failure.code : null,
  }
}

const whole = (value: number | null | undefined): number => Math.max(0, Math.round(value ?? 0))

function used({ usage }: Accountable, name: string): number | null {
  const value = usage?.[name] ?? null
  return value === null ? null : whole(value)
}

type Times = Pick<AccountingRecord, (typeof ours)[number] | 'wallMs' | 'runMs' | 'otherMs' | 'scrubMs' | 'overheadMs'>

function timesOf({ phases, submittedAtMs, endedAtMs }: Pick<Accountable, 'phases' | 'submittedAtMs' | 'endedAtMs'>): Times {
  const spanMs = whole(endedAtMs - submittedAtMs)
  const measured = {
    bootMs: whole(phases['boot']), contactMs: whole(phases['contact']), stageMs: whole(phases['stage']), startMs: whole(phases['start']),
    runMs: whole(phases['run']), collectMs: whole(phases['collect']),
  }
  // Without a phase `wait` it never came to a place: waiting was all it did.
  const waitMs = phases['wait'] === undefined ? spanMs : whole(phases['wait'])
  const known = sum(Object.values(measured)) + waitMs
  const parts = { waitMs, ...measured }
  const scrubMs = whole(phases['scrub'])
  const wallMs = Math.max(spanMs, known)
  return { wallMs, ...parts, otherMs: wallMs - known, scrubMs, overheadMs: sum(ours.map((part) => parts[part])) + scrubMs }
}

/** When its own process began; null where it never did. */
function startOf({ phases, submittedAtMs, endedAtMs }: Accountable): number | null {
  if (phases['start'] === undefined) return null
  const before = sum(['wait', 'boot', 'contact', 'stage', 'start'].map((phase) => whole(phases[phase])))
  return Math.max(submittedAtMs, Math.min(endedAtMs, submittedAtMs + before))
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)

function causeOf(outcome: Outcome): Cause {
  switch (outcome.is) {
    case 'exited': return outcome.outOfMemory === true && outcome.code !== 0 ? 'outOfMemory' : 'exited'
    case 'signalled': return outcome.outOfMemory === true ? 'outOfMemory' : outcome.signal === 'SIGXCPU' ? 'timeLimit' : 'signalled'
    case 'cancelled': case 'lost': case 'refused': case 'bare': return outcome.is
    default: return outcome satisfies never
  }
}

/** Which records are asked for; what is not given does not count. */
export interface RecordFilter {
  readonly sinceMs?: number | undefined
  readonly untilMs?: number | undefined
  readonly user?: string | undefined
  readonly group?: string | undefined
  readonly project?: string | undefined
  readonly type?: string | undefined
}

/** True of a record that is asked for; time is that of the job's end. */
export const isAskedFor = (record: AccountingRecord, { sinceMs = -Infinity, untilMs = Infinity, ...names }: RecordFilter): boolean =>
  record.endedAtMs >= sinceMs && record.endedAtMs < untilMs &&
  sumKeys.every((key) => names[key] === undefined || record[key] === names[key])

/** What records can be summed by. */
export const sumKeys = ['user', 'group', 'project', 'type'] as const
export type SumKey = (typeof sumKeys)[number]

/** Many records as one. */
export interface Sum {
  /** The user, group, project or type; null: the records that have none. */
  readonly key: string | null
  readonly jobs: number
  /** Those that did not exit with 0; of those that ran bare nobody knows. */
  readonly failed: number
  readonly reused: number
  readonly wallMs: number
  readonly waitMs: number
  readonly runMs: number
  readonly overheadMs: number
  readonly cpuMs: number
  readonly readBytes: number
  readonly writtenBytes: number
  /** Of the one that had the most. */
  readonly memoryPeakBytes: number
}

const nothing: Omit<Sum, 'key'> =
  { jobs: 0, failed: 0, reused: 0, wallMs: 0, waitMs: 0, runMs: 0, overheadMs: 0, cpuMs: 0, readBytes: 0, writtenBytes: 0, memoryPeakBytes: 0 }

/** Sums that records are added to, one after the other; many records take no more room than few. */
export interface Sums {
  add(record: AccountingRecord): void
  /** Whoever has used most first. */
  rows(): readonly Sum[]
}

/** Sums by this, of no record yet. */
export function sumsBy(by: SumKey): Sums {
  const byKey = new Map<string | null, Sum>()
  return {
    add(record) {
      const key = record[by]
      byKey.set(key, grown(byKey.get(key) ?? { key, ...nothing }, record))
    },
    rows: () => [...byKey.values()].sort((a, b) => b.wallMs - a.wallMs || ((a.key ?? '') < (b.key ?? '') ? -1 : 1)),
  }
}

const grown = (now: Sum, record: AccountingRecord): Sum => ({
  key: now.key,
  jobs: now.jobs + 1,
  failed: now.failed + Number(record.cause !== 'bare' && (record.cause !== 'exited' || record.exitCode !== 0)),
  reused: now.reused + Number(record.made === 'reused'),
  wallMs: now.wallMs + record.wallMs,
  waitMs: now.waitMs + record.waitMs,
  runMs: now.runMs + record.runMs,
  overheadMs: now.overheadMs + record.overheadMs,
  cpuMs: now.cpuMs + (record.cpuUserMs ?? 0) + (record.cpuSystemMs ?? 0),
  readBytes: now.readBytes + (record.readBytes ?? 0),
  writtenBytes: now.writtenBytes + (record.writtenBytes ?? 0),
  memoryPeakBytes: Math.max(now.memoryPeakBytes, record.memoryPeakBytes ?? 0),
})
