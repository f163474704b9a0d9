import type Sqlite from 'better-sqlite3'
import type { Database } from './open.ts'

/** What SQLite stores. */
export type Cell = string | number | null
export type Row = Readonly<Record<string, Cell>>

/** A query that is compiled once per connection, at its first use. */
export function statement<Result extends Row>(text: string): (db: Database) => Sqlite.Statement<unknown[], Result> {
  const compiled = new WeakMap<Sqlite.Database, Sqlite.Statement<unknown[], Result>>()
  return ({ sql }) => {
    let found = compiled.get(sql)
    if (found === undefined) compiled.set(sql, (found = sql.prepare<unknown[], Result>(text)))
    return found
  }
}

/** `insert into TABLE …` of all these columns that replaces an earlier row of the same `key`. */
export function upsert(table: string, key: string, columns: readonly string[]): string {
  const values = columns.map((column) => `@${column}`).join(', ')
  const changes = columns.filter((column) => column !== key).map((column) => `${column} = excluded.${column}`).join(', ')
  return `insert into ${table} (${columns.join(', ')}) values (${values}) on conflict (${key}) do update set ${changes}`
}

/** The properties that have a value; a parameter that is merely absent would be an error. */
export const given = (filter: object): Record<string, unknown> =>
  Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined))

/** A value of ours as a cell: JSON, and null for null. */
export const toJson = (value: unknown): string | null => (value === null ? null : JSON.stringify(value))

/** What `toJson` stored. Only this program writes the database, so the shape is trusted. */
export const fromJson = <T>(cell: string): T => JSON.parse(cell) as T
export const fromJsonOrNull = <T>(cell: string | null): T | null => (cell === null ? null : fromJson<T>(cell))

/** What is kept in memory of each connection. */
const memories = new WeakMap<Sqlite.Database, Map<unknown, unknown>>()

/** What is read once per connection, at its first use, and then kept up to date by those who write; read again after a transaction that failed. */
export function remembered<T>(read: (db: Database) => T): (db: Database) => T {
  const key = {}
  return (db) => {
    const memory = memories.get(db.sql) ?? new Map<unknown, unknown>()
    if (!memory.has(key)) memories.set(db.sql, memory.set(key, read(db)))
    return memory.get(key) as T
  }
}

/** Runs `work` as one transaction that takes the write lock at once; everything or nothing of it is kept. */
export function transaction<T>({ sql }: Database, work: () => T): T {
  if (sql.inTransaction) return work()
  try {
    return sql.transaction(work).immediate()
  } catch (error) {
    memories.delete(sql)
    throw error
  }
}
