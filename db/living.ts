/**
 * What lives, in memory as it is in its rows: every turn and every watcher look at all of it, and reading ten thousand rows takes a third of a
 * second. Nobody else writes the database (open.ts), and whoever writes such a row says so here; decision 0019.
 */
import type { HostId } from '../core/ids.ts'
import type { Database } from './open.ts'
import { remembered } from './statement.ts'

export interface Living<T> {
  /** All of them. */
  all(db: Database): T[]
  on(db: Database, host: HostId): T[]
  get(db: Database, id: string): T | null
  /** Those that are picked out. */
  picked(db: Database): T[]
  /** How many there are in each state. */
  tally(db: Database): ReadonlyMap<string, number>
  /** Its row is like this now. */
  put(db: Database, row: T): void
  /** Its row does not live any more. */
  drop(db: Database, id: string): void
}

interface Known<T> {
  readonly all: Map<string, T>
  readonly on: Map<HostId, Map<string, T>>
  readonly picked: Map<string, T>
  readonly tally: Map<string, number>
}

/** Living rows, of which `read` finds those that there are; the few that are asked for most are picked out. */
export function living<T extends { readonly host: HostId; readonly state: string }>(read: (db: Database) => readonly T[], idOf: (row: T) => string, isPicked: (row: T) => boolean = () => false): Living<T> {
  const rows = remembered((db) => {
    const known: Known<T> = { all: new Map(), on: new Map(), picked: new Map(), tally: new Map() }
    for (const row of read(db)) enter(known, row)
    return known
  })
  const enter = ({ all, on, picked, tally }: Known<T>, row: T): void => {
    const id = idOf(row)
    count(tally, all.get(id)?.state, -1)
    count(tally, row.state, 1)
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
    tally: (db) => rows(db).tally,
    picked: (db) => [...rows(db).picked.values()],
    put: (db, row) => enter(rows(db), row),
    drop(db, id) {
      const { all, on, picked, tally } = rows(db)
      const before = all.get(id)
      if (before === undefined) return
      all.delete(id)
      picked.delete(id)
      count(tally, before.state, -1)
      on.get(before.host)?.delete(id)
    },
  }
}

function count(tally: Map<string, number>, state: string | undefined, more: number): void {
  if (state === undefined) return
  const now = (tally.get(state) ?? 0) + more
  if (now === 0) tally.delete(state)
  else tally.set(state, now)
}

/** How many rows there are in each state: of so many in all, those that do not live are in state `over`. */
export function countStates(living: ReadonlyMap<string, number>, over: string, all: number): Record<string, number> {
  const gone = [...living.values()].reduce((left, number) => left - number, all)
  return { ...Object.fromEntries(living), ...(gone > 0 && { [over]: gone }) }
}
