/**
 * Numbered migrations, each applied once, in order, in one transaction; `user_version` says how far a database has come. A
 * migration that has been released is never edited: add the next number.
 */
import type Sqlite from 'better-sqlite3'
import { VwnError } from '../core/errors.ts'
import init from './migrations/0001_init.sql'
import reuse from './migrations/0002_reuse.sql'
import pool from './migrations/0003_pool.sql'
import paused from './migrations/0004_paused.sql'
import bare from './migrations/0005_bare.sql'
import changed from './migrations/0006_changed.sql'
import accounting from './migrations/0007_accounting.sql'
import trace from './migrations/0008_trace.sql'
import madeBy from './migrations/0009_made_by.sql'
import lists from './migrations/0010_lists.sql'

/** Position in the list is the schema version that the migration leads to, less one. */
export const migrations: readonly string[] = [init, reuse, pool, paused, bare, changed, accounting, trace, madeBy, lists]

/** Brings the database to the newest schema; one written by a newer program is refused untouched. */
export function migrate(sql: Sqlite.Database): void {
  const version = Number(sql.pragma('user_version', { simple: true }))
  if (version > migrations.length) throw new VwnError('DATABASE_NEWER', { found: version, known: migrations.length })
  for (const [index, text] of migrations.entries()) {
    if (index < version) continue
    sql.transaction(() => {
      sql.exec(text)
      sql.pragma(`user_version = ${index + 1}`)
    }).immediate()
  }
}
