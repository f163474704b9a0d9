/** The farm as it is watched: all of it at once, and its changes by generation. */
import { failureWords } from '../../core/failure.ts'
import { farmChanges, farmSeen, type FarmSeen } from '../../db/queries/farm.ts'
import { farmGeneration, forgottenGeneration } from '../../db/queries/meta.ts'
import { version } from '../../kit/version.ts'
import { jobViewSchema } from '../../wire/api.ts'
import type { Farm } from '../../wire/farm.ts'
import type { Parts } from '../controller.ts'
import { eventText, type Followed } from './follow.ts'
import { eventsFollowed } from './history.ts'

/** Whoever has missed more than this fetches the farm, which is not much more. */
export const changesMax = 4_000

/** What can be watched. */
export interface WatchedFarm {
  /** The farm at this moment, as JSON in two pieces: the second is written once per generation, and whoever asks meanwhile shares it. */
  now(): { readonly version: string; readonly pieces: readonly [Buffer, Buffer] }
  readonly changes: Followed
  readonly events: Followed
}

/** The farm of this database, to be watched. */
export function openWatchedFarm(parts: Pick<Parts, 'db' | 'kit'>): WatchedFarm {
  const { db, kit } = parts
  let written: { readonly generation: number; readonly rows: Buffer } | null = null
  return {
    now() {
      const generation = farmGeneration(db)
      if (written?.generation !== generation) written = { generation, rows: Buffer.from(JSON.stringify(rowsOf(farmSeen(db))).replace('{', ',')) }
      return { version: `${version}-${generation}`, pieces: [Buffer.from(`{"generation":${generation},"nowMs":${kit.clock.nowMs()}`), written.rows] }
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
    const isKnown = since < generation && since >= forgottenGeneration(db)
    const seen = isKnown ? farmChanges(db, since, changesMax + 1) : null
    if (seen === null || seen.hosts.length + seen.vwns.length + seen.jobs.length > changesMax) return { upTo: generation, text: eventText('reset', at) }
    return { upTo: generation, text: eventText('change', { ...at, ...rowsOf(seen) }, generation) }
  },
})

const rowsOf = ({ hosts, vwns, jobs }: FarmSeen): Pick<Farm, 'hosts' | 'vwns' | 'jobs'> => ({
  hosts: [...hosts],
  vwns: vwns.map((vwn) => ({ ...vwn, cause: vwn.cause === null ? null : failureWords(vwn.cause) })),
  jobs: jobs.map((job) => ({ ...job, state: jobViewSchema.shape.state.parse(job.state) })),
})
