/** The farm as it is watched: all of it at once, and its changes by generation. */
import { failureWords } from '../../core/failure.ts'
import type { Database } from '../../db/open.ts'
import { farmChanges, farmSeen, type FarmSeen } from '../../db/queries/farm.ts'
import { farmGeneration, forgottenGeneration } from '../../db/queries/meta.ts'
import { version } from '../../kit/version.ts'
import type { Farm } from '../../wire/farm.ts'
import type { Parts } from '../controller.ts'
import { eventText, type Followed } from './follow.ts'
import { eventsFollowed } from './history.ts'

/** Whoever has missed more than this fetches the farm, which is not much more. */
export const changesMax = 4_000
/** Where more than this has changed, all is written anew. */
const rewrittenMax = 10_000

/** What can be watched. */
export interface WatchedFarm {
  /** The farm at this moment, as JSON in pieces. */
  now(): { readonly version: string; readonly pieces: readonly Buffer[] }
  readonly changes: Followed
  readonly events: Followed
}

/** The farm of this database, to be watched. */
export function openWatchedFarm(parts: Pick<Parts, 'db' | 'kit'>): WatchedFarm {
  const { db, kit } = parts
  const rows = writtenRows(db)
  return {
    now() {
      const { generation, json } = rows()
      return { version: `${version}-${generation}`, pieces: [Buffer.from(`{"generation":${generation},"nowMs":${kit.clock.nowMs()},`), json] }
    },
    changes: changesFollowed(parts),
    events: eventsFollowed(parts),
  }
}

/** Changes of the farm; numbers are generations. */
export const changesFollowed = ({ db, kit }: Pick<Parts, 'db' | 'kit'>): Followed => ({
  newest: () => farmGeneration(db),
  after(since) {
    const generation = farmGeneration(db)
    if (since === generation) return { upTo: generation, text: '' }
    const at = { generation, nowMs: kit.clock.nowMs() }
    const seen = changesSince(db, since, changesMax)
    return { upTo: generation, text: seen === null ? eventText('reset', at) : eventText('change', { ...at, ...rowsOf(seen) }, generation) }
  },
})

/** What has changed since this number; null where that is more than so many rows, or not known. */
function changesSince(db: Database, since: number, rowsMax: number): FarmSeen | null {
  if (since > farmGeneration(db) || since < forgottenGeneration(db)) return null
  const seen = farmChanges(db, since, rowsMax + 1)
  return seen.hosts.length + seen.vwns.length + seen.jobs.length > rowsMax ? null : seen
}

type Rows = Pick<Farm, 'hosts' | 'vwns' | 'jobs'>

/** All rows as JSON, to stand behind other members of an object; each row is written when it has changed, and all of them are joined once for a generation. */
function writtenRows(db: Database): () => { readonly generation: number; readonly json: Buffer } {
  const texts = { hosts: new Map<string, string>(), vwns: new Map<string, string>(), jobs: new Map<string, string>() }
  let written: { readonly generation: number; readonly json: Buffer } | null = null
  const write = ({ hosts, vwns, jobs }: Rows): void => {
    for (const row of hosts) texts.hosts.set(row.host, JSON.stringify(row))
    for (const row of vwns) if (row.state === 'gone') texts.vwns.delete(row.vwn); else texts.vwns.set(row.vwn, JSON.stringify(row))
    for (const row of jobs) if (row.state === 'ended') texts.jobs.delete(row.job); else texts.jobs.set(row.job, JSON.stringify(row))
  }
  return () => {
    const generation = farmGeneration(db)
    if (written?.generation === generation) return written
    const seen = written === null ? null : changesSince(db, written.generation, rewrittenMax)
    if (seen === null) for (const known of Object.values(texts)) known.clear()
    write(rowsOf(seen ?? farmSeen(db)))
    const lists = Object.entries(texts).map(([name, rows]) => `"${name}":[${[...rows.values()].join(',')}]`)
    return (written = { generation, json: Buffer.from(`${lists.join(',')}}`) })
  }
}

const rowsOf = ({ hosts, vwns, jobs }: FarmSeen): Rows => ({
  hosts: [...hosts],
  vwns: vwns.map((vwn) => ({ ...vwn, cause: vwn.cause === null ? null : failureWords(vwn.cause) })),
  jobs: [...jobs],
})
