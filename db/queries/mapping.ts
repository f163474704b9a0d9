/** The last valid mapping file, word for word. */
import type { Database } from '../open.ts'
import { statement, type Row } from '../statement.ts'

const save = statement(`insert into mapping (id, text, loaded_at_ms) values (1, @text, @atMs)
  on conflict (id) do update set text = excluded.text, loaded_at_ms = excluded.loaded_at_ms`)
/** This is the mapping to fall back to. */
export const saveMapping = (db: Database, text: string, atMs: number): void => void save(db).run({ text, atMs })

const get = statement<Row & { text: string; loaded_at_ms: number }>('select text, loaded_at_ms from mapping')
/** The mapping to fall back to; null when none was ever valid. */
export function lastMapping(db: Database): { readonly text: string; readonly loadedAtMs: number } | null {
  const row = get(db).get()
  return row === undefined ? null : { text: row.text, loadedAtMs: row.loaded_at_ms }
}
