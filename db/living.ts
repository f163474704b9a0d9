/**
 * What lives, in memory as it is in its rows: every turn and every watcher look at all of it, and reading ten thousand rows takes a third of a
 * second. Nobody else writes the database (open.ts), and whoever writes such a row says so here; decision 0019.
 */
import { firstOf } from '../core/first.ts'
import type { HostId } from '../core/ids.ts'
import type { Database } from './open.ts'
import type { Place } from './queries/past.ts'
import { remembered } from './statement.ts'

export interface Living<T> {
  /** All of them. */
  all(db: Database): T[]
  on(db: Database, host: HostId): T[]
  get(db: Database, id: string): T | null
  /** Those that are picked out. */
  picked(db: Database): T[]
  /** Its row is like this now. */
  put(db: Database, row: T): void
  /** Its row does not live any more. */
  drop(db: Database, id: string): void
}

interface Known<T> {
  readonly all: Map<string, T>
  readonly on: Map<HostId, Map<string, T>>
  readonly picked: Map<string, T>
}

/** Living rows, of which `read` finds those that there are; the few that are asked for most are picked out. */
export function living<T extends { readonly host: HostId }>(read: (db: Database) => readonly T[], idOf: (row: T) => string, isPicked: (row: T) => boolean = () => false): Living<T> {
  const rows = remembered((db) => {
    const known: Known<T> = { all: new Map(), on: new Map(), picked: new Map() }
    for (const row of read(db)) enter(known, row)
    return known
  })
  const enter = ({ all, on, picked }: Known<T>, row: T): void => {
    const id = idOf(row)
    const here = on.get(row.host) ?? new Map<string, T>()
    on.set(row.host, here.set(id, row))
    all.set(id, row)
    if (isPicked(row)) picked.set(id, row)
    else picked.delete(id)
  }
  return {
    all: (db) => [...rows(db).all.values()],
    on: (db, host) => [...(rows(db).on.get(host)?.values() ?? [])],
    get: (db, id) => rows(db).all.get(id) ?? null,
    picked: (db) => [...rows(db).picked.values()],
    put: (db, row) => enter(rows(db), row),
    drop(db, id) {
      const { all, on, picked } = rows(db)
      const before = all.get(id)
      if (before === undefined) return
      all.delete(id)
      picked.delete(id)
      on.get(before.host)?.delete(id)
    },
  }
}

/** How many rows there are in each state: of so many in all, those that do not live are in state `over`. */
export function countStates(rows: readonly { readonly state: string }[], over: string, all: number): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { state } of rows) counts[state] = (counts[state] ?? 0) + 1
  return all === rows.length ? counts : { ...counts, [over]: all - rows.length }
}

/** Where a page of a list begins, and how long it is. */
export interface PageAsked {
  /** Where the page before ended. */
  readonly afterMs?: number | undefined
  readonly afterId?: string | undefined
  readonly limit: number
}

/** The newest of these that come after that place. */
export function newestFirst<T>(rows: readonly T[], placeOf: (row: T) => Place, { afterMs = Infinity, afterId = '', limit }: PageAsked): T[] {
  const after = { atMs: afterMs, id: afterId }
  const younger = (a: T, b: T): number => byAge(placeOf(a), placeOf(b))
  return firstOf(rows.filter((row) => byAge(after, placeOf(row)) < 0).reverse(), limit, younger) // they came in that order, but for a few
}

/** Younger first; numbers in ids grow. */
const byAge = (a: Place, b: Place): number => (a.atMs === b.atMs ? b.id.length - a.id.length || (a.id === b.id ? 0 : a.id < b.id ? 1 : -1) : b.atMs - a.atMs)
