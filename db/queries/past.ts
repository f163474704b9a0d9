/** What is over, from its old end: jobs that have ended and VWNs that are gone; and how large the farm's memory has become. */
import { jobId, vwnId, type JobId, type VwnId } from '../../core/ids.ts'
import type { Database } from '../open.ts'
import { statement, type Row } from '../statement.ts'

/** One thing that is over. */
export type Past =
  | { readonly kind: 'job'; readonly id: JobId; readonly endedAtMs: number; readonly record: number | null }
  | { readonly kind: 'vwn'; readonly id: VwnId; readonly endedAtMs: number; readonly record: null }

/** A place in history: everything at or before it was seen. */
export interface Place {
  readonly atMs: number
  readonly id: string
}
export const beforeAll: Place = { atMs: -1, id: '' }

const walk = statement<Row & { kind: 'job' | 'vwn'; id: string; ended_at_ms: number; record: number | null }>(`
  select 'job' as kind, id, ended_at_ms, record from job
    where ended_at_ms is not null and (ended_at_ms, id) > (@atMs, @id) and ended_at_ms < @beforeMs
  union all
  select 'vwn' as kind, id, ended_at_ms, null as record from vwn
    where ended_at_ms is not null and (ended_at_ms, id) > (@atMs, @id) and ended_at_ms < @beforeMs
  order by ended_at_ms, id limit @limit`)
/** What ended after this place and before this moment, oldest first. */
export const pastAfter = (db: Database, { atMs, id }: Place, { beforeMs, limit }: { readonly beforeMs: number; readonly limit: number }): Past[] =>
  walk(db).all({ atMs, id, beforeMs, limit }).map((row) =>
    row.kind === 'job'
      ? { kind: 'job', id: jobId(row.id), endedAtMs: row.ended_at_ms, record: row.record }
      : { kind: 'vwn', id: vwnId(row.id), endedAtMs: row.ended_at_ms, record: null })

const forgetOneJob = statement('delete from job where id = ?')
const forgetOneExplanation = statement('delete from explanation where job = ?')
const forgetSomeEvents = statement('delete from vwn_event where id in (select id from vwn_event where vwn = @vwn order by id limit @limit)')
const forgetOneVwn = statement('delete from vwn where id = ?')
/** Drops a thing that is over, or as much of it as takes so many rows; `whole`: nothing of it is left. */
export function forget(db: Database, past: Past, rowsMax: number): { readonly rows: number; readonly whole: boolean } {
  if (past.kind === 'job') return { rows: forgetOneExplanation(db).run(past.id).changes + forgetOneJob(db).run(past.id).changes, whole: true }
  const events = forgetSomeEvents(db).run({ vwn: past.id, limit: rowsMax }).changes
  if (events >= rowsMax) return { rows: events, whole: false }
  return { rows: events + forgetOneVwn(db).run(past.id).changes, whole: true }
}

const pragma = ({ sql }: Database, name: string): number => Number(sql.pragma(name, { simple: true }))
/** The size of the database. */
export const databaseBytes = (db: Database): number => pragma(db, 'page_count') * pragma(db, 'page_size')
/** What is in it, without the room that was given up in it. */
export const usedBytes = (db: Database): number => databaseBytes(db) - pragma(db, 'freelist_count') * pragma(db, 'page_size')

/** Gives so many unused pages back to the file system, once the next checkpoint has come; returns how many are left to give back. */
export function shrink(db: Database, pages: number): number {
  db.sql.pragma(`incremental_vacuum(${pages})`)
  return pragma(db, 'freelist_count')
}

/** What was given up leaves the file itself, unless somebody is reading of before. */
export const checkpoint = ({ sql }: Database): void => void sql.pragma('wal_checkpoint(passive)')

const rows = statement<Row & { job: number; vwn: number }>('select (select count(*) from job) as job, (select count(*) from vwn) as vwn')
/** How many jobs and VWNs are on record, those that live and those that are history. */
export function countRows(db: Database): { readonly jobs: number; readonly vwns: number } {
  const { job = 0, vwn = 0 } = rows(db).get() ?? {}
  return { jobs: job, vwns: vwn }
}
