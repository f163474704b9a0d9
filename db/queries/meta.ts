/** Counters that only ever rise, whatever restarts. */
import { vwnId, type VwnId } from '../../core/ids.ts'
import type { Database } from '../open.ts'
import { statement, type Row } from '../statement.ts'

const bump = statement<Row & { value: number }>(
  'insert into meta (name, value) values (@name, 1) on conflict (name) do update set value = value + 1 returning value',
)
const next = (db: Database, name: 'term' | 'vwn'): number => {
  const row = bump(db).get({ name })
  if (row === undefined) throw new Error(`counter ${name} gave no number`)
  return row.value
}

/** The term of the controller that starts now; no earlier one had it. */
export const nextTerm = (db: Database): number => next(db, 'term')

/** The id of a new VWN; no earlier one had it. */
export const nextVwnId = (db: Database): VwnId => vwnId(`v${next(db, 'vwn')}`)

const get = statement<Row & { value: number }>('select value from meta where name = ?')
const valueOf = (db: Database, name: 'generation' | 'forgotten' | 'forgotten_ms'): number => {
  const row = get(db).get(name)
  if (row === undefined) throw new Error(`the database has no ${name}`)
  return row.value
}
/** The number of the farm's last change. */
export const farmGeneration = (db: Database): number => valueOf(db, 'generation')

/** Of what has changed since an earlier number than this, a part has been forgotten. */
export const forgottenGeneration = (db: Database): number => valueOf(db, 'forgotten')

/** Of what was there before this moment, a part has been forgotten. */
export const forgottenMs = (db: Database): number => valueOf(db, 'forgotten_ms')
