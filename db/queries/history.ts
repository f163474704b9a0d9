/** The farm as it was: VWNs from their events, jobs from their times. What nobody wrote down is not made up. */
import { hostId, imageDigest, jobId, typeName, vwnId, type HostId, type JobId } from '../../core/ids.ts'
import type { VwnState } from '../../core/vwn.ts'
import type { Database } from '../open.ts'
import { statement, type Row } from '../statement.ts'
import type { JobSeen, VwnSeen } from './farm.ts'
import { forgottenMs } from './meta.ts'

/** `cause` is the event's own sentence. */
export type VwnThen = Omit<VwnSeen, 'paused' | 'cause'> & { readonly cause: string | null }
export type JobThen = Pick<JobSeen, 'job' | 'name' | 'host' | 'user' | 'queue' | 'batchSystem' | 'batchJobId' | 'submittedAtMs'>
export interface FarmThen {
  readonly hosts: readonly HostId[]
  readonly vwns: readonly VwnThen[]
  readonly jobs: readonly JobThen[]
}

type VwnRow = Row & {
  id: string; host: string; type: string; image: string; cpus: number; memory_mib: number; scratch_gib: number
  to_state: VwnState; job: string | null; user: string | null; why: string | null; since_ms: number
}
const columns = 'id, host, type, image, cpus, memory_mib, scratch_gib, owner_user'
// Only `released` takes its job from a VWN; every other event names the one that it has. Its owner is that of its first job.
const vwns = statement<VwnRow>(`
  with there as (
    select ${columns} from vwn where state <> 'gone' and created_at_ms <= @at
    union all
    select ${columns} from vwn where state = 'gone' and created_at_ms <= @at and ended_at_ms > @at
      and created_at_ms >= @at - (select ended_at_ms - created_at_ms from vwn order by ended_at_ms - created_at_ms desc limit 1)
  )
  select v.id, v.host, v.type, v.image, v.cpus, v.memory_mib, v.scratch_gib, e.to_state, e.why,
    case when e.event = 'released' then null else e.job end as job,
    case when exists (select 1 from vwn_event where vwn = v.id and id <= e.id and job is not null) then v.owner_user end as user,
    (select at_ms from vwn_event where vwn = v.id and id <= e.id and (event = 'requested' or from_state <> to_state) order by id desc limit 1) as since_ms
  from there v join vwn_event e on e.id = (select max(id) from vwn_event where vwn = v.id and at_ms <= @at)
  where e.to_state <> 'gone'`)

type JobRow = Row & { id: string; name: string; host: string; user: string; queue: string | null; batch_system: string | null; batch_job_id: string | null; submitted_at_ms: number }
const jobColumns = 'id, name, host, user, queue, batch_system, batch_job_id, submitted_at_ms'
const jobs = statement<JobRow>(`
  select ${jobColumns} from job where state <> 'ended' and submitted_at_ms <= @at
  union all
  select ${jobColumns} from job where state = 'ended' and submitted_at_ms <= @at and ended_at_ms > @at
    and submitted_at_ms >= @at - (select ended_at_ms - submitted_at_ms from job order by ended_at_ms - submitted_at_ms desc limit 1)`)

const hosts = statement<Row & { id: string }>('select id from host order by id')

/** Everything that was there at this moment. */
export const farmThen = (db: Database, at: number): FarmThen => ({
  hosts: hosts(db).all().map(({ id }) => hostId(id)),
  vwns: vwns(db).all({ at }).map((row) => ({
    vwn: vwnId(row.id), host: hostId(row.host), type: typeName(row.type), state: row.to_state, sinceMs: row.since_ms, job: jobOrNull(row.job), user: row.user,
    cpus: row.cpus, memoryMib: row.memory_mib, scratchGib: row.scratch_gib, image: imageDigest(row.image), cause: row.why,
  })),
  jobs: jobs(db).all({ at }).map((row) => ({
    job: jobId(row.id), name: row.name, host: hostId(row.host), user: row.user, queue: row.queue, batchSystem: row.batch_system, batchJobId: row.batch_job_id,
    submittedAtMs: row.submitted_at_ms,
  })),
})

const first = statement<Row & { ms: number | null }>('select min(ms) as ms from (select min(at_ms) as ms from vwn_event union all select min(submitted_at_ms) from job)')
/** From which moment on everything is known that was there; null while nothing ever was. */
export function historyFromMs(db: Database): number | null {
  const firstMs = first(db).get()?.ms ?? null
  return firstMs === null ? null : Math.max(firstMs, forgottenMs(db))
}

const jobOrNull = (id: string | null): JobId | null => (id === null ? null : jobId(id))
