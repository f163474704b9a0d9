/** The farm as people watch it: slim rows of hosts, VWNs and jobs, all of those that there are or those that have changed. */
import type { Failure, Outcome } from '../../core/failure.ts'
import { hostId, imageDigest, jobId, typeName, vwnId, type HostId, type ImageDigest, type JobId, type TypeName, type VwnId } from '../../core/ids.ts'
import type { Amount } from '../../core/amount.ts'
import type { Host } from '../../core/host.ts'
import type { Made } from '../../core/placement.ts'
import type { Vwn } from '../../core/vwn.ts'
import type { Database } from '../open.ts'
import { fromJsonOrNull, statement, type Row } from '../statement.ts'
import type { JobReported } from './job.ts'

export interface HostSeen {
  readonly host: HostId
  readonly want: Host['want']
  readonly fact: Host['fact']
  readonly capacity: Amount
  /** What its VWNs hold: those without a job no cpus. */
  readonly used: Amount
  readonly broken: string | null
}
export interface VwnSeen {
  readonly vwn: VwnId
  readonly host: HostId
  readonly type: TypeName
  readonly state: Vwn['state']
  readonly paused: boolean
  readonly sinceMs: number
  readonly job: JobId | null
  readonly user: string | null
  readonly cpus: number
  readonly memoryMib: number
  readonly scratchGib: number
  readonly image: ImageDigest
  readonly cause: Failure | null
}
export interface JobSeen {
  readonly job: JobId
  readonly name: string
  readonly host: HostId
  readonly user: string
  readonly queue: string | null
  readonly state: JobReported['state']
  readonly type: TypeName | null
  readonly vwn: VwnId | null
  readonly batchSystem: string | null
  readonly batchJobId: string | null
  readonly submittedAtMs: number
  readonly endedAtMs: number | null
  readonly made: Made | null
  readonly why: string | null
  readonly outcome: Outcome | null
}
/** Rows of all three kinds. */
export interface FarmSeen {
  readonly hosts: readonly HostSeen[]
  readonly vwns: readonly VwnSeen[]
  readonly jobs: readonly JobSeen[]
}

type HostRow = Row & {
  id: string; want: Host['want']; fact: Host['fact']; capacity_cpus: number; capacity_memory: number; capacity_scratch: number; broken: string | null
  cpus: number; memory: number; scratch: number
}
const hostColumns = `h.id, h.want, h.fact, coalesce(h.facts ->> '$.capacity.cpus', 0) as capacity_cpus, coalesce(h.facts ->> '$.capacity.memoryMib', 0) as capacity_memory,
  coalesce(h.facts ->> '$.capacity.scratchGib', 0) as capacity_scratch, h.facts ->> '$.broken' as broken,
  total(case when v.job is null then 0 else v.cpus end) as cpus, total(v.memory_mib) as memory, total(v.scratch_gib) as scratch`
const hostsFrom = `from host h left join vwn v on v.host = h.id and v.state <> 'gone'`
const hostFrom = (row: HostRow): HostSeen => ({
  host: hostId(row.id), want: row.want, fact: row.fact, capacity: { cpus: row.capacity_cpus, memoryMib: row.capacity_memory, scratchGib: row.capacity_scratch },
  used: { cpus: row.cpus, memoryMib: row.memory, scratchGib: row.scratch }, broken: row.broken,
})

type VwnRow = Row & {
  id: string; host: string; type: string; state: Vwn['state']; paused: number; state_since_ms: number; job: string | null; owner_user: string | null
  cpus: number; memory_mib: number; scratch_gib: number; image: string; cause: string | null
}
const vwnColumns = 'id, host, type, state, paused, state_since_ms, job, owner_user, cpus, memory_mib, scratch_gib, image, cause'
const vwnFrom = (row: VwnRow): VwnSeen => ({
  vwn: vwnId(row.id), host: hostId(row.host), type: typeName(row.type), state: row.state, paused: row.paused === 1 && row.state !== 'gone', sinceMs: row.state_since_ms,
  job: row.job === null ? null : jobId(row.job), user: row.owner_user, cpus: row.cpus, memoryMib: row.memory_mib, scratchGib: row.scratch_gib,
  image: imageDigest(row.image), cause: fromJsonOrNull(row.cause),
})

type JobRow = Row & {
  id: string; name: string; host: string; user: string; queue: string | null; state: JobReported['state']; type: string | null; vwn: string | null
  batch_system: string | null; batch_job_id: string | null; submitted_at_ms: number; ended_at_ms: number | null; made: Made | null; why: string | null; outcome: string | null
}
const jobColumns = 'id, name, host, user, queue, state, type, vwn, batch_system, batch_job_id, submitted_at_ms, ended_at_ms, made, why, outcome'
const jobFrom = (row: JobRow): JobSeen => ({
  job: jobId(row.id), name: row.name, host: hostId(row.host), user: row.user, queue: row.queue, state: row.state, type: row.type === null ? null : typeName(row.type),
  vwn: row.vwn === null ? null : vwnId(row.vwn), batchSystem: row.batch_system, batchJobId: row.batch_job_id, submittedAtMs: row.submitted_at_ms, endedAtMs: row.ended_at_ms,
  made: row.made, why: row.why, outcome: fromJsonOrNull(row.outcome),
})

const hosts = statement<HostRow>(`select ${hostColumns} ${hostsFrom} group by h.id`)
/** Every host, with what its VWNs hold. */
export const hostsSeen = (db: Database): HostSeen[] => hosts(db).all().map(hostFrom)

const vwns = statement<VwnRow>(`select ${vwnColumns} from vwn where state <> 'gone'`)
const jobs = statement<JobRow>(`select ${jobColumns} from job where state <> 'ended'`)
/** Every host, every VWN that is not gone and every job that has not ended. */
export const farmSeen = (db: Database): FarmSeen =>
  ({ hosts: hostsSeen(db), vwns: vwns(db).all().map(vwnFrom), jobs: jobs(db).all().map(jobFrom) })

const changedHosts = statement<HostRow>(`select ${hostColumns} ${hostsFrom} where h.changed > @since group by h.id limit @limit`)
const changedVwns = statement<VwnRow>(`select ${vwnColumns} from vwn where changed > @since limit @limit`)
const changedJobs = statement<JobRow>(`select ${jobColumns} from job where changed > @since limit @limit`)
/** What has changed since this number, with what is gone or has ended; at most `limit` rows of each kind. */
export const farmChanges = (db: Database, since: number, limit: number): FarmSeen => ({
  hosts: changedHosts(db).all({ since, limit }).map(hostFrom), vwns: changedVwns(db).all({ since, limit }).map(vwnFrom), jobs: changedJobs(db).all({ since, limit }).map(jobFrom),
})
