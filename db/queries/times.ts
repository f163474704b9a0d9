/** What ended of late, as far as it tells how long things take and what goes wrong. */
import { hostId, typeName } from '../../core/ids.ts'
import type { TimedJob } from '../../core/times.ts'
import type { Database } from '../open.ts'
import { fromJson, statement, type Row } from '../statement.ts'
import type { Place } from './history.ts'

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

const failed = statement<Row & { code: string }>(`
  select json_extract(cause, '$.code') as code from vwn
  where ended_at_ms is not null and ended_at_ms >= @sinceMs and ended_at_ms < @untilMs and code is not null and code <> 'VWN_REMOVED' order by ended_at_ms desc limit @limit`)
/** Why VWNs went in this time, one code for each that nobody had asked to go. */
export const vwnFailuresSince = (db: Database, sinceMs: number, untilMs: number, limit: number): string[] => failed(db).all({ sinceMs, untilMs, limit }).map(({ code }) => code)
