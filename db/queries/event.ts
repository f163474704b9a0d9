/** Every transition of every VWN, written by the one door in the same transaction as the row. */
import type { HostId, JobId, TypeName, VwnId } from '../../core/ids.ts'
import type { VwnState } from '../../core/vwn.ts'
import type { Database } from '../open.ts'
import { given, statement, type Row } from '../statement.ts'

export interface VwnEventRecord {
  readonly vwn: VwnId
  readonly host: HostId
  readonly atMs: number
  /** Kind of the event; `requested` for the first. */
  readonly event: string
  readonly from: VwnState
  readonly to: VwnState
  readonly job: JobId | null
  readonly why: string | null
}
/** As it is told to those who look for it. */
export interface VwnEventTold extends VwnEventRecord {
  /** Numbers rise in the order in which things happened. */
  readonly id: number
  readonly type: TypeName
}
type EventRow = Row & VwnEventTold

const insert = statement(
  'insert into vwn_event (vwn, host, at_ms, event, from_state, to_state, job, why) values (@vwn, @host, @atMs, @event, @from, @to, @job, @why)',
)
/** The transition is on record. */
export const addVwnEvent = (db: Database, record: VwnEventRecord): void => void insert(db).run(record)

// Rows come as they are told: nobody makes objects of them a second time.
const withType = `
  select vwn_event.id, vwn_event.at_ms as atMs, vwn_event.vwn, vwn_event.host, vwn.type, vwn_event.event, vwn_event.from_state as "from", vwn_event.to_state as "to",
    vwn_event.job, vwn_event.why
  from vwn_event join vwn on vwn.id = vwn_event.vwn`

const ofVwn = statement<EventRow>(`${withType} where vwn_event.vwn = ? order by vwn_event.id`)
/** What happened to one VWN, first to last. */
export const vwnEvents = (db: Database, vwn: VwnId): VwnEventTold[] => ofVwn(db).all(vwn)

const newest = statement<Row & { id: number | null }>('select max(id) as id from vwn_event')
/** Number of the newest event; 0 while there is none. */
export const newestEvent = (db: Database): number => newest(db).get()?.id ?? 0

export interface EventFilter {
  /** Only what comes after this event, in the order that is asked for. */
  readonly since?: number | undefined
  readonly from?: number | undefined
  readonly to?: number | undefined
  readonly vwn?: string | undefined
  readonly host?: string | undefined
  readonly job?: string | undefined
  readonly order: 'asc' | 'desc'
  readonly limit: number
}
// One statement per set of filters, so that each is answered from the index that is made for it.
const conditions = {
  vwn: 'vwn_event.vwn = @vwn',
  host: 'vwn_event.host = @host',
  job: 'vwn_event.job = @job',
  // Numbers rise with time as long as nobody sets the clock back, so a moment has its place among them.
  from: 'vwn_event.at_ms >= @from and vwn_event.id >= (select id from vwn_event where at_ms >= @from order by at_ms, id limit 1)',
  to: 'vwn_event.at_ms <= @to and vwn_event.id <= (select id from vwn_event where at_ms <= @to order by at_ms desc, id desc limit 1)',
} as const
const statements = new Map<string, ReturnType<typeof statement<EventRow>>>()

/** The events that fit the filter, first to last or last to first. */
export function listEvents(db: Database, { order, ...filter }: EventFilter): VwnEventTold[] {
  const asked = given(filter)
  const where: string[] = Object.entries(conditions).flatMap(([name, condition]) => (name in asked ? [condition] : []))
  if ('since' in asked) where.push(order === 'asc' ? 'vwn_event.id > @since' : 'vwn_event.id < @since')
  const text = `${withType} ${where.length === 0 ? '' : `where ${where.join(' and ')}`} order by vwn_event.id ${order} limit @limit`
  const list = statements.get(text) ?? statement<EventRow>(text)
  statements.set(text, list)
  return list(db).all(asked)
}
