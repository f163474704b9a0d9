/** VWNs: the row that core decides on, and beside it what the bait last said about the VM, which nothing is decided on. */
import type { Failure } from '../../core/failure.ts'
import { hostId, imageDigest, jobId, typeName, vwnId, type HostId, type JobId, type TypeName, type VwnId } from '../../core/ids.ts'
import type { Way } from '../../core/making.ts'
import type { Vwn } from '../../core/vwn.ts'
import { filtered, type PageAsked } from '../list.ts'
import { countStates, living } from '../living.ts'
import type { Database } from '../open.ts'
import { fromJson, fromJsonOrNull, statement, toJson, upsert, type Row } from '../statement.ts'

type VwnRow = Row & {
  id: string; host: string; type: string; image: string; contact: Vwn['contact']; network: Vwn['network']
  cpus: number; memory_mib: number; scratch_gib: number; boot_ms: number
  reuse: Vwn['limits']['reuse']; jobs_run_max: number; age_ms_max: number; idle_ms_max: number
  owner_user: string | null; owner_uid: number | null; owner_gid: number | null; owner_group: string | null; owner_project: string | null
  pooled: number
  state: Vwn['state']; insist: number; term: number; epoch: number; generation: number; job: string | null; jobs_run: number
  created_at_ms: number; state_since_ms: number; deadline_ms: number | null; cause: string | null; ended_at_ms: number | null
}

const columns = [
  'id', 'host', 'type', 'image', 'contact', 'network', 'cpus', 'memory_mib', 'scratch_gib', 'boot_ms', 'reuse', 'jobs_run_max', 'age_ms_max',
  'idle_ms_max', 'owner_user', 'owner_uid', 'owner_gid', 'owner_group', 'owner_project', 'pooled', 'state', 'insist', 'term', 'epoch', 'generation', 'job', 'jobs_run',
  'created_at_ms', 'state_since_ms', 'deadline_ms', 'cause', 'ended_at_ms',
] as const satisfies readonly (keyof VwnRow)[]

function toRow(vwn: Vwn): VwnRow {
  return {
    id: vwn.id, host: vwn.host, type: vwn.type, image: vwn.image, contact: vwn.contact, network: vwn.network,
    cpus: vwn.shape.cpus, memory_mib: vwn.shape.memoryMib, scratch_gib: vwn.shape.scratchGib, boot_ms: vwn.bootMs,
    reuse: vwn.limits.reuse, jobs_run_max: vwn.limits.jobsRunMax, age_ms_max: vwn.limits.ageMsMax, idle_ms_max: vwn.limits.idleMsMax,
    owner_user: vwn.owner?.user ?? null, owner_uid: vwn.owner?.uid ?? null, owner_gid: vwn.owner?.gid ?? null,
    owner_group: vwn.owner?.group ?? null, owner_project: vwn.owner?.project ?? null, pooled: vwn.pooled ? 1 : 0,
    state: vwn.state, insist: vwn.insist ? 1 : 0, term: vwn.token.term, epoch: vwn.token.epoch, generation: vwn.generation,
    job: vwn.job, jobs_run: vwn.jobsRun, created_at_ms: vwn.createdAtMs, state_since_ms: vwn.stateSinceMs,
    deadline_ms: vwn.deadlineMs, cause: toJson(vwn.cause), ended_at_ms: vwn.endedAtMs,
  }
}

function fromRow(row: VwnRow): Vwn {
  const { owner_user: user, owner_uid: uid, owner_gid: gid, owner_group: group } = row
  return {
    id: vwnId(row.id), host: hostId(row.host), type: typeName(row.type), image: imageDigest(row.image), contact: row.contact, network: row.network,
    shape: { cpus: row.cpus, memoryMib: row.memory_mib, scratchGib: row.scratch_gib }, bootMs: row.boot_ms,
    limits: { reuse: row.reuse, jobsRunMax: row.jobs_run_max, ageMsMax: row.age_ms_max, idleMsMax: row.idle_ms_max },
    owner: user === null || uid === null || gid === null || group === null ? null : { user, uid, gid, group, project: row.owner_project },
    pooled: row.pooled === 1, state: row.state, insist: row.insist === 1, token: { term: row.term, epoch: row.epoch }, generation: row.generation,
    job: row.job === null ? null : jobId(row.job), jobsRun: row.jobs_run, createdAtMs: row.created_at_ms, stateSinceMs: row.state_since_ms,
    deadlineMs: row.deadline_ms, cause: fromJsonOrNull<Failure>(row.cause), endedAtMs: row.ended_at_ms,
  }
}

const readPresent = statement<VwnRow>(`select * from vwn where state <> 'gone' order by created_at_ms, length(id), id`)
const present = living((db) => readPresent(db).all().map(fromRow), ({ id }: Vwn) => id)

const save = statement(upsert('vwn', 'id', columns))
/** The row is as given, whether it existed or not. */
export function saveVwn(db: Database, vwn: Vwn): void {
  save(db).run(toRow(vwn))
  if (vwn.state === 'gone') present.drop(db, vwn.id)
  else present.put(db, vwn)
}

const get = statement<VwnRow>('select * from vwn where id = ?')
/** The VWN with this id, gone or not. */
export function getVwn(db: Database, id: VwnId): Vwn | null {
  const there = present.get(db, id)
  if (there !== null) return there
  const row = get(db).get(id)
  return row === undefined ? null : fromRow(row)
}

/** Every VWN that is not gone, in the order in which they came. */
export const presentVwns = (db: Database): Vwn[] => present.all(db)

/** As `presentVwns`, of one host. */
export const presentVwnsOn = (db: Database, host: HostId): Vwn[] => present.on(db, host)

const failedFor = statement<VwnRow>(`select * from vwn where job = ? and state = 'gone'`)
/** VWNs that were made for these jobs, and are gone: attempts that failed. */
export const goneVwnsOf = (db: Database, jobs: readonly JobId[]): Vwn[] => jobs.flatMap((job) => failedFor(db).all(job).map(fromRow))

export interface VwnFilter extends PageAsked {
  readonly host?: string | undefined
  readonly type?: string | undefined
  readonly state?: string | undefined
  readonly gone: boolean
}
const list = filtered<VwnRow>('vwn', { at: 'created_at_ms', conditions: { host: 'host = @host', type: 'type = @type', state: 'state = @state', present: "state <> 'gone'" } })
/** The newest VWNs that fit the filter. */
export const listVwns = (db: Database, { gone, ...filter }: VwnFilter): Vwn[] =>
  list(db, { ...filter, ...((filter.state === undefined ? !gone : filter.state !== 'gone') && { present: true }) }).map(fromRow)

const newest = statement<VwnRow & { phases: string }>('select * from vwn where host = @host and type = @type order by created_at_ms desc, length(id) desc, id desc limit @limit')
/** The newest VWNs of this type on this host, gone or not, each with the phases of its making; newest first. */
export const newestVwns = (db: Database, host: HostId, type: TypeName, limit: number): { readonly vwn: Vwn; readonly phases: VwnFacts['phases'] }[] =>
  newest(db).all({ host, type, limit }).map((row) => ({ vwn: fromRow(row), phases: fromJson(row.phases) }))

const count = statement<Row & { n: number }>('select count(*) as n from vwn')
/** How many VWNs there are in each state. */
export const countVwns = (db: Database): Record<string, number> => countStates(present.tally(db), 'gone', count(db).get()?.n ?? 0)

/** What the bait said last about the VM behind a VWN; for people, and for the record. */
export interface VwnFacts {
  readonly observed: string
  readonly bootAttempt: number
  readonly phases: Readonly<Record<string, number>>
  readonly accelerator: string | null
  readonly pid: number | null
  readonly paused: boolean
  readonly madeBy: Way | null
}
type FactsRow = Row & { id: string; observed: string; boot_attempt: number; phases: string; accelerator: string | null; pid: number | null; paused: number; made_by: Way | null }

const putFacts = statement(
  'update vwn set observed = @observed, boot_attempt = @boot_attempt, phases = @phases, accelerator = @accelerator, pid = @pid, paused = @paused, made_by = @made_by where id = @id',
)
/** Keeps what was said about a VWN; of an unknown one nothing is kept. */
export const saveVwnFacts = (db: Database, id: VwnId, facts: VwnFacts): void =>
  void putFacts(db).run({
    id, observed: facts.observed, boot_attempt: facts.bootAttempt, phases: JSON.stringify(facts.phases), accelerator: facts.accelerator, pid: facts.pid,
    paused: facts.paused ? 1 : 0, made_by: facts.madeBy,
  })

const takeFacts = statement<FactsRow>(
  'select id, observed, boot_attempt, phases, accelerator, pid, paused, made_by from vwn where id in (select value from json_each(?)) and observed is not null')
/** What was last said about each of these VWNs of which anything was. */
export const vwnFacts = (db: Database, ids: readonly VwnId[]): ReadonlyMap<VwnId, VwnFacts> =>
  new Map(takeFacts(db).all(JSON.stringify(ids)).map((row) => [
    vwnId(row.id), { observed: row.observed, bootAttempt: row.boot_attempt, phases: fromJson(row.phases), accelerator: row.accelerator, pid: row.pid, paused: row.paused === 1, madeBy: row.made_by },
  ]))
