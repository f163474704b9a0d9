/** Accounting records: what is kept of each ended job until whoever does the accounts has taken it. */
import type { Accountable } from '../../core/accounting.ts'
import { imageDigest, type JobId } from '../../core/ids.ts'
import type { Database } from '../open.ts'
import { statement, transaction, type Row } from '../statement.ts'
import { fromRow, type JobRow } from './job.ts'
import { nextRecord } from './meta.ts'

/** How long after a VWN has become idle the time of its scrub may still be told. */
const scrubToldMs = 5_000
/** So that the first turn after an upgrade is not long. */
const settledAtOnce = 1_000

type Unrecorded = Row & { id: JobId; image: string | null; cpus: number | null; memory_mib: number | null; scratch_gib: number | null }

const unrecorded = statement<Unrecorded>(`
  select job.id, coalesce(vwn.image, json_extract(job.scrub_receipt, '$.image')) as image, vwn.cpus, vwn.memory_mib, vwn.scratch_gib
  from job left join vwn on vwn.id = job.vwn
  where job.state = 'ended' and job.record is null and (
    vwn.id is null or json_extract(job.phases, '$.scrub') is not null or vwn.state in ('stopping', 'fencing', 'gone')
    or (vwn.state = 'busy' and vwn.job <> job.id) or (vwn.state = 'idle' and vwn.state_since_ms <= @idleSinceMs))
  order by job.ended_at_ms limit @limit`)
const settle = statement(`
  update job set record = @record, image = @image, vwn_cpus = @cpus, vwn_memory_mib = @memory_mib, vwn_scratch_gib = @scratch_gib where id = @id`)
/** Ended jobs of which nothing more will be told have their records, numbered without a gap; returns how many were new. */
export const settleRecords = (db: Database, nowMs: number): number => {
  const jobs = unrecorded(db).all({ idleSinceMs: nowMs - scrubToldMs, limit: settledAtOnce })
  if (jobs.length > 0) transaction(db, () => jobs.forEach((job) => settle(db).run({ ...job, record: nextRecord(db) })))
  return jobs.length
}

type RecordRow = JobRow & { record: number; image: string | null; vwn_cpus: number | null; vwn_memory_mib: number | null; vwn_scratch_gib: number | null }

const page = statement<RecordRow>('select * from job where record > @after and record <= @upTo order by record limit @limit')
export interface RecordsAsked {
  /** The last record that is known already. */
  readonly after: number
  readonly upTo: number
  readonly limit: number
}
/** The records after one, in the order of their numbers. */
export const recordsAfter = (db: Database, asked: RecordsAsked): Accountable[] =>
  page(db).all(asked).map((row) => {
    const { outcome, endedAtMs, ...job } = fromRow(row)
    if (outcome === null || endedAtMs === null) throw new Error(`${job.job} has a record and no end`)
    const { vwn_cpus: cpus, vwn_memory_mib: memoryMib, vwn_scratch_gib: scratchGib } = row
    const shape = cpus === null || memoryMib === null || scratchGib === null ? null : { cpus, memoryMib, scratchGib }
    return { ...job, outcome, endedAtMs, record: row.record, image: row.image === null ? null : imageDigest(row.image), shape }
  })

const between = statement<Row & { first: number | null; last: number | null }>(`
  select min(record) as first, max(record) as last from job
  where ended_at_ms is not null and ended_at_ms >= @sinceMs and ended_at_ms < @untilMs and record is not null`)
/** The lowest and the highest record of the jobs that ended in this time; others may lie between them. Null: there are none. */
export function recordsBetween(db: Database, sinceMs: number, untilMs: number): { readonly first: number; readonly last: number } | null {
  const { first = null, last = null } = between(db).get({ sinceMs, untilMs }) ?? {}
  return first === null || last === null ? null : { first, last }
}
