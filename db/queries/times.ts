/** What ended of late, as far as it tells how long things take and what goes wrong. */
import { hostId, typeName } from '../../core/ids.ts'
import type { FailedVwn, MadeVwn, Way } from '../../core/making.ts'
import type { TimedJob } from '../../core/times.ts'
import type { Database } from '../open.ts'
import { fromJson, statement, type Row } from '../statement.ts'
import type { Place } from './past.ts'

type TimedRow = Row & { id: string; host: string; type: string | null; made: TimedJob['made']; bare: number; ended_at_ms: number; phases: string; failure: string | null }

const newest = statement<TimedRow>(`
  select id, host, type, case when vwn is null then null else made end as made, bare, ended_at_ms, phases, json_extract(outcome, '$.failure.code') as failure from job
  where ended_at_ms is not null and (ended_at_ms, id) < (@atMs, @id) and ended_at_ms >= @sinceMs
  order by ended_at_ms desc, id desc limit @limit`)
/** The jobs that ended since a moment, before this place, newest first; each with its place. */
export const timedJobsBefore = (db: Database, { atMs, id }: Place, { sinceMs, limit }: { readonly sinceMs: number; readonly limit: number }): (TimedJob & { readonly place: Place })[] =>
  newest(db).all({ atMs, id, sinceMs, limit }).map((row) => ({
    host: hostId(row.host), type: row.type === null ? null : typeName(row.type), made: row.made, bare: row.bare === 1, endedAtMs: row.ended_at_ms, phases: fromJson(row.phases), failure: row.failure,
    place: { atMs: row.ended_at_ms, id: row.id },
  }))

const made = statement<Row & { id: string; type: string; made_by: Way; created_at_ms: number; took: number }>(`
  select id, type, made_by, created_at_ms, json_extract(phases, '$.boot') + json_extract(phases, '$.contact') as took from vwn
  where (created_at_ms, id) < (@atMs, @id) and created_at_ms >= @sinceMs and made_by is not null and took is not null
  order by created_at_ms desc, id desc limit @limit`)
/** The VWNs that came up, begun since a moment and before this place, newest first; each with its place. */
export const madeVwnsBefore = (db: Database, { atMs, id }: Place, { sinceMs, limit }: { readonly sinceMs: number; readonly limit: number }): (MadeVwn & { readonly place: Place })[] =>
  made(db).all({ atMs, id, sinceMs, limit }).map((row) => ({
    type: typeName(row.type), madeBy: row.made_by, atMs: row.created_at_ms, tookMs: row.took, place: { atMs: row.created_at_ms, id: row.id },
  }))

const failed = statement<Row & { code: string; type: string; ended_at_ms: number }>(`
  select json_extract(cause, '$.code') as code, type, ended_at_ms from vwn
  where ended_at_ms is not null and ended_at_ms >= @sinceMs and ended_at_ms < @untilMs and code is not null and code <> 'VWN_REMOVED' order by ended_at_ms desc limit @limit`)
/** Why VWNs went in this time: those that nobody had asked to go. */
export const vwnFailuresSince = (db: Database, sinceMs: number, untilMs: number, limit: number): FailedVwn[] =>
  failed(db).all({ sinceMs, untilMs, limit }).map(({ code, type, ended_at_ms: atMs }) => ({ code, type: typeName(type), atMs }))
