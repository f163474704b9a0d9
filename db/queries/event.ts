/** Every transition of every VWN, written by the one door in the same transaction as the row. */
import type { VwnId } from '../../core/ids.ts'
import type { Database } from '../open.ts'
import { statement, type Row } from '../statement.ts'

export interface VwnEventRecord {
  readonly vwn: VwnId
  readonly atMs: number
  /** Kind of the event; `requested` for the first. */
  readonly event: string
  readonly from: string
  readonly to: string
  readonly job: string | null
  readonly why: string | null
}
type EventRow = Row & { vwn: VwnId; at_ms: number; event: string; from_state: string; to_state: string; job: string | null; why: string | null }

const insert = statement(
  'insert into vwn_event (vwn, at_ms, event, from_state, to_state, job, why) values (@vwn, @atMs, @event, @from, @to, @job, @why)',
)
/** The transition is on record. */
export const addVwnEvent = (db: Database, record: VwnEventRecord): void => void insert(db).run(record)

const ofVwn = statement<EventRow>('select * from vwn_event where vwn = ? order by id')
/** What happened to one VWN, first to last. */
export const vwnEvents = (db: Database, vwn: VwnId): VwnEventRecord[] =>
  ofVwn(db).all(vwn).map((row) => ({
    vwn: row.vwn, atMs: row.at_ms, event: row.event, from: row.from_state, to: row.to_state, job: row.job, why: row.why,
  }))
