/** Jobs, living and ended: who wanted what, what they got, how it ended, and where the time went. */
import type { Failure, Outcome } from '../../core/failure.ts'
import { hostId, jobId, typeName, vwnId, type HostId, type JobId, type TypeName, type VwnId } from '../../core/ids.ts'
import type { JobState } from '../../core/job.ts'
import type { Made } from '../../core/placement.ts'
import type { ScrubReceipt } from '../../core/reuse.ts'
import { filtered, type PageAsked } from '../list.ts'
import { countStates, living } from '../living.ts'
import type { Database } from '../open.ts'
import { fromJson, fromJsonOrNull, statement, toJson, upsert, type Row } from '../statement.ts'

/** What the bait says of a job, from its first report to its last. */
export interface JobReported {
  readonly job: JobId
  readonly host: HostId
  readonly name: string
  readonly state: Exclude<JobState, 'done' | 'lost'> | 'ended'
  readonly identity: {
    readonly user: string
    readonly uid: number
    readonly gid: number
    readonly group: string
    readonly groups: readonly { readonly gid: number; readonly name: string }[]
  }
  readonly want: {
    readonly type: TypeName | null
    readonly queue: string | null
    readonly project: string | null
    readonly batchSystem: string | null
    readonly batchJobId: string | null
    readonly cpus: number | null
    readonly memoryMib: number | null
    readonly scratchGib: number | null
  }
  readonly vwn: VwnId | null
  readonly submittedAtMs: number
  readonly phases: Readonly<Record<string, number>>
  readonly outcome: Outcome | null
  readonly endedAtMs: number | null
  readonly reused: boolean | null
  readonly usage: Readonly<Record<'cpuUserMs' | 'cpuSystemMs' | 'memoryPeakBytes' | 'readBytes' | 'writtenBytes', number | null>> | null
  readonly scrubReceipt: ScrubReceipt | null
  /** Is on every log line about it. */
  readonly trace: string | null
}

/** What the controller decided about a job. */
export interface JobDecided {
  /** The VWN type that the mapping gave it, and the rule that did; null until decided, or when refused. */
  readonly type: TypeName | null
  readonly rule: string | null
  /** Why it waits, or why it got what it got. */
  readonly why: string | null
  /** Set: it will get no VWN at all. */
  readonly refusal: Failure | null
  /** It is to run on its host itself. */
  readonly bare: boolean
  /** How long the decision took. */
  readonly placementMs: number | null
  /** How it came by its VWN; null while it has none. */
  readonly made: Made | null
}

export type JobRecord = JobReported & JobDecided

type ReportedRow = {
  id: string; host: string; name: string; state: JobReported['state']
  user: string; uid: number; gid: number; group_name: string; groups: string
  requested_type: string | null; queue: string | null; project: string | null; batch_system: string | null; batch_job_id: string | null
  want_cpus: number | null; want_memory_mib: number | null; want_scratch_gib: number | null
  vwn: string | null; submitted_at_ms: number; phases: string
  outcome: string | null; ended_at_ms: number | null; reused: number | null; usage: string | null; scrub_receipt: string | null; trace: string | null
}
export type JobRow = Row & ReportedRow & { type: string | null; rule: string | null; why: string | null; refusal: string | null; bare: number; placement_ms: number | null; made: Made | null }

const columns = [
  'id', 'host', 'name', 'state', 'user', 'uid', 'gid', 'group_name', 'groups', 'requested_type', 'queue', 'project', 'batch_system', 'batch_job_id',
  'want_cpus', 'want_memory_mib', 'want_scratch_gib', 'vwn', 'submitted_at_ms', 'phases', 'outcome', 'ended_at_ms', 'reused', 'usage', 'scrub_receipt', 'trace',
] as const satisfies readonly (keyof ReportedRow)[]

function toRow({ identity, want, ...job }: JobReported): ReportedRow {
  return {
    id: job.job, host: job.host, name: job.name, state: job.state,
    user: identity.user, uid: identity.uid, gid: identity.gid, group_name: identity.group, groups: JSON.stringify(identity.groups),
    requested_type: want.type, queue: want.queue, project: want.project, batch_system: want.batchSystem, batch_job_id: want.batchJobId,
    want_cpus: want.cpus, want_memory_mib: want.memoryMib, want_scratch_gib: want.scratchGib,
    vwn: job.vwn, submitted_at_ms: job.submittedAtMs, phases: JSON.stringify(job.phases), outcome: toJson(job.outcome),
    ended_at_ms: job.endedAtMs, reused: job.reused === null ? null : Number(job.reused), usage: toJson(job.usage),
    scrub_receipt: toJson(job.scrubReceipt), trace: job.trace,
  }
}

/** A stored job. */
export function fromRow(row: JobRow): JobRecord {
  return {
    job: jobId(row.id), host: hostId(row.host), name: row.name, state: row.state,
    identity: { user: row.user, uid: row.uid, gid: row.gid, group: row.group_name, groups: fromJson(row.groups) },
    want: {
      type: row.requested_type === null ? null : typeName(row.requested_type),
      queue: row.queue, project: row.project, batchSystem: row.batch_system, batchJobId: row.batch_job_id,
      cpus: row.want_cpus, memoryMib: row.want_memory_mib, scratchGib: row.want_scratch_gib,
    },
    vwn: row.vwn === null ? null : vwnId(row.vwn), submittedAtMs: row.submitted_at_ms, phases: fromJson(row.phases),
    outcome: fromJsonOrNull(row.outcome), endedAtMs: row.ended_at_ms, reused: row.reused === null ? null : row.reused === 1,
    usage: fromJsonOrNull(row.usage), scrubReceipt: fromJsonOrNull(row.scrub_receipt), trace: row.trace,
    type: row.type === null ? null : typeName(row.type), rule: row.rule, why: row.why,
    refusal: fromJsonOrNull(row.refusal), bare: row.bare === 1, placementMs: row.placement_ms, made: row.made,
  }
}

const readLive = statement<JobRow>(`select * from job where state <> 'ended' order by submitted_at_ms, length(id), id`)
const waits = ({ state, refusal, bare }: JobRecord): boolean => state === 'waiting' && refusal === null && !bare
const live = living((db) => readLive(db).all().map(fromRow), ({ job }: JobRecord) => job, waits)

const get = statement<JobRow>('select * from job where id = ?')
const onRecord = (db: Database, id: JobId): JobRecord | null => {
  const row = get(db).get(id)
  return row === undefined ? null : fromRow(row)
}
/** The job with this id, ended or not. */
export const getJob = (db: Database, id: JobId): JobRecord | null => live.get(db, id) ?? onRecord(db, id)

/** What lives is as its row is now. */
function look(db: Database, id: JobId): void {
  const job = onRecord(db, id)
  if (job === null || job.state === 'ended') live.drop(db, id)
  else live.put(db, job)
}

// An ended job is history: whatever is said of it later, by whomever, changes nothing.
const save = statement(`${upsert('job', 'id', columns)} where job.state <> 'ended'`)
/** The job is on record as reported; false when it had ended before, and nothing was changed. */
export function saveJob(db: Database, job: JobReported): boolean {
  const isNews = save(db).run(toRow(job)).changes === 1
  if (isNews) look(db, job.job)
  return isNews
}

// What a bait learns only after the end (the scrub) is added; what is known stays, and so does what is in an accounting record.
const grow = statement(`update job set phases = json_patch(@phases, phases)
  where id = @id and state = 'ended' and record is null and submitted_at_ms = @submitted_at_ms and json_patch(@phases, phases) <> phases`)
/** Phases of an ended job that were not known at its end are on record. */
export const addPhases = (db: Database, { job, submittedAtMs, phases }: Pick<JobReported, 'job' | 'submittedAtMs' | 'phases'>): void =>
  void grow(db).run({ id: job, submitted_at_ms: submittedAtMs, phases: JSON.stringify(phases) })

const decide = statement('update job set type = @type, rule = @rule, why = @why, refusal = @refusal, bare = @bare, placement_ms = @placementMs, made = @made where id = @id')
/** What was decided about a job is on record. */
export function saveDecision(db: Database, id: JobId, decided: JobDecided): void {
  decide(db).run({ ...decided, id, refusal: toJson(decided.refusal), bare: Number(decided.bare) })
  look(db, id)
}

const trace = statement<Row & { trace: string | null }>('select trace from job where id = ?')
/** What every log line about this job carries; null where that is not known. */
export const traceOf = (db: Database, id: string): string | null => trace(db).get(id)?.trace ?? null

/** Every job that has not ended, in the order in which they came. */
export const liveJobs = (db: Database): JobRecord[] => live.all(db)

/** Those that are still to be started in a VWN, whether they have one or not. */
export const waitingJobs = (db: Database): JobRecord[] => live.picked(db)

/** As `liveJobs`, of one host. */
export const liveJobsOn = (db: Database, host: HostId): JobRecord[] => live.on(db, host)

/** A job that got a fresh VWN, as far as it tells who will come next. */
export type Arrival = Pick<JobReported['want'], 'cpus' | 'memoryMib' | 'scratchGib'> & { readonly host: HostId; readonly type: TypeName; readonly atMs: number }
type ArrivalRow = Row & Pick<JobRow, 'host' | 'want_cpus' | 'want_memory_mib' | 'want_scratch_gib' | 'submitted_at_ms'> & { type: string }

const arrivals = statement<ArrivalRow>(`
  select host, type, want_cpus, want_memory_mib, want_scratch_gib, submitted_at_ms from job
  where submitted_at_ms > ? and made in ('new', 'ready') and type is not null order by submitted_at_ms`)
/** The jobs that came after this moment and got fresh VWNs, oldest first. */
export const arrivalsSince = (db: Database, sinceMs: number): Arrival[] =>
  arrivals(db).all(sinceMs).map((row) => ({
    host: hostId(row.host), type: typeName(row.type), atMs: row.submitted_at_ms,
    cpus: row.want_cpus, memoryMib: row.want_memory_mib, scratchGib: row.want_scratch_gib,
  }))

export interface JobFilter extends PageAsked {
  readonly user?: string | undefined
  readonly host?: string | undefined
  readonly vwn?: string | undefined
  readonly type?: string | undefined
  readonly state?: string | undefined
  readonly only?: 'live' | 'ended' | undefined
}
const list = filtered<JobRow>('job', {
  at: 'submitted_at_ms',
  conditions: {
    user: 'user = @user', host: 'host = @host', vwn: 'vwn = @vwn', type: 'type = @type', state: 'state = @state', live: "state <> 'ended'", ended: "state = 'ended'",
    liveUser: '+user = @liveUser', // not by the index of all that the user ever had
  },
})
/** The newest jobs that fit the filter. */
export function listJobs(db: Database, { only, user, ...filter }: JobFilter): JobRecord[] {
  const { state } = filter
  const live = only === 'live' || (state !== undefined && state !== 'ended')
  const ended = only === 'ended' || state === 'ended'
  return list(db, { ...filter, ...(live && { live }), ...(ended && { ended }), ...(live ? { liveUser: user } : { user }) }).map(fromRow)
}

const count = statement<Row & { n: number }>('select count(*) as n from job')
/** How many jobs there are in each state. */
export const countJobs = (db: Database): Record<string, number> => countStates(live.tally(db), 'ended', count(db).get()?.n ?? 0)

const explain = statement(`insert into explanation (job, at_ms, body) values (@job, @atMs, @body)
  on conflict (job) do update set at_ms = excluded.at_ms, body = excluded.body`)
/** The reasons of the last decision about a job. */
export const saveExplanation = (db: Database, job: JobId, atMs: number, body: unknown): void =>
  void explain(db).run({ job, atMs, body: JSON.stringify(body) })

const explained = statement<Row & { body: string }>('select body from explanation where job = ?')
/** What `saveExplanation` kept, to be parsed by whoever wrote it. */
export function getExplanation(db: Database, job: JobId): unknown {
  const row = explained(db).get(job)
  return row === undefined ? null : fromJson(row.body)
}
