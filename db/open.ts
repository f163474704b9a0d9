/**
 * The controller's database: opened by one process at a time, brought to the newest schema, closed once.
 *
 * Ownership is a second, empty SQLite file (`<database>.lock`) held in an exclusive transaction: the kernel drops it however the
 * owner dies, and anybody may still read the database itself while the controller runs.
 */
import Sqlite from 'better-sqlite3'
import { mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { migrate } from './migrate.ts'

/** The one connection of the controller, and the lock that makes it the only one. */
export interface Database {
  readonly sql: Sqlite.Database
  /** Ends the connection and gives up ownership; safe to repeat. */
  close(): void
}

/** How long another reader's checkpoint may hold us up; no other writer exists. */
const busyMs = 5_000

/** Owns and opens the database, making it where there is none; a second owner is refused with DATABASE_IN_USE. */
export function openDatabase(file: string): Database {
  const lock = own(file)
  try {
    const sql = open(file)
    return { sql, close: () => { sql.close(); lock.close() } }
  } catch (error) {
    lock.close()
    throw error
  }
}

function own(file: string): Sqlite.Database {
  let lock: Sqlite.Database | undefined
  try {
    mkdirSync(dirname(file), { recursive: true })
    lock = new Sqlite(`${file}.lock`, { timeout: 0 })
    lock.exec('begin exclusive')
    return lock
  } catch (error) {
    lock?.close()
    if (sqliteCode(error).startsWith('SQLITE_BUSY')) throw new VwnError('DATABASE_IN_USE', { file }, { cause: error })
    throw new VwnError('DATABASE_UNUSABLE', { file }, { cause: error })
  }
}

function open(file: string): Sqlite.Database {
  let sql: Sqlite.Database | undefined
  try {
    sql = new Sqlite(file, { timeout: busyMs })
    makeShrinkable(sql)
    sql.pragma('journal_mode = wal')
    // An acknowledged job record and a number given out must survive a power cut as well: a commit waits for the disk (0.6 ms measured).
    sql.pragma('synchronous = full')
    sql.pragma('foreign_keys = on')
    sql.pragma('journal_size_limit = 67108864')
    migrate(sql)
    return sql
  } catch (error) {
    sql?.close()
    if (error instanceof VwnError) throw error
    throw new VwnError('DATABASE_UNUSABLE', { file }, { cause: error })
  }
}

/** Forgotten history gives its room back, a little at a time. A database of before that is written anew, once. */
function makeShrinkable(sql: Sqlite.Database): void {
  const incremental = 2
  if (sql.pragma('auto_vacuum', { simple: true }) === incremental) return
  sql.pragma('auto_vacuum = incremental')
  sql.exec('vacuum')
}

const sqliteCode = (error: unknown): string => (error instanceof Sqlite.SqliteError ? error.code : '')
