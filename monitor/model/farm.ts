/**
 * The farm as the page knows it: a snapshot, and what changed since. Nothing is changed in place and only what a change is about is
 * made anew, so that a host that looks the same is the same object and is not drawn again.
 */
import { compareIds, type HostId, type JobId, type VwnId } from '../../core/ids.ts'
import type { Farm as FarmRows, FarmHost, FarmJob, FarmVwn } from '../../wire/farm.ts'

/** One host and the VWNs on it, in the order of their ids. */
export interface Tile {
  readonly host: FarmHost
  readonly vwns: readonly FarmVwn[]
}

export interface Farm {
  readonly generation: number
  /** The controller's clock when it said this. */
  readonly nowMs: number
  readonly tiles: ReadonlyMap<HostId, Tile>
  /** Jobs that have not ended. */
  readonly jobs: ReadonlyMap<JobId, FarmJob>
}

export const noFarm: Farm = { generation: 0, nowMs: 0, tiles: new Map(), jobs: new Map() }

/** The farm that this snapshot shows. */
export const farmOf = (snapshot: FarmRows): Farm => apply(noFarm, [snapshot])

/** The farm after these changes, in the order in which they came; one that is known already changes nothing. */
export function apply(farm: Farm, changes: readonly FarmRows[]): Farm {
  const news = changes.filter(({ generation }) => generation > farm.generation || farm === noFarm)
  const last = changes.at(-1)
  if (last === undefined) return farm
  if (news.length === 0) return { ...farm, nowMs: last.nowMs }
  return {
    generation: Math.max(farm.generation, ...news.map(({ generation }) => generation)),
    nowMs: last.nowMs,
    tiles: withRows(farm.tiles, news),
    jobs: withJobs(farm.jobs, news),
  }
}

function withRows(tiles: Farm['tiles'], news: readonly FarmRows[]): Farm['tiles'] {
  const hosts = new Map(news.flatMap((change) => change.hosts.map((host) => [host.host, host] as const)))
  const vwns = new Map(news.flatMap((change) => change.vwns.map((vwn) => [vwn.vwn, vwn] as const)))
  if (hosts.size === 0 && vwns.size === 0) return tiles
  const touched = new Map<HostId, FarmVwn[]>()
  for (const vwn of vwns.values()) touched.set(vwn.host, [...(touched.get(vwn.host) ?? []), vwn])
  const next = new Map(tiles)
  for (const id of new Set([...hosts.keys(), ...touched.keys()])) {
    const before = tiles.get(id)
    const host = hosts.get(id) ?? before?.host
    if (host === undefined) continue // its row comes with the next change
    const changed = touched.get(id)
    next.set(id, { host, vwns: changed === undefined ? (before?.vwns ?? []) : withVwns(before?.vwns ?? [], changed) })
  }
  // In the order of their names, however they came.
  return tiles.size === next.size ? next : new Map([...next].sort(([a], [b]) => compareIds(a, b)))
}

function withVwns(before: readonly FarmVwn[], changed: readonly FarmVwn[]): readonly FarmVwn[] {
  const news = new Map(changed.map((vwn) => [vwn.vwn, vwn]))
  const kept = before.map((vwn) => news.get(vwn.vwn) ?? vwn)
  const known = new Set<VwnId>(before.map(({ vwn }) => vwn))
  const fresh = changed.filter(({ vwn }) => !known.has(vwn))
  return [...kept, ...fresh].filter(({ state }) => state !== 'gone').sort((a, b) => compareIds(a.vwn, b.vwn))
}

function withJobs(jobs: Farm['jobs'], news: readonly FarmRows[]): Farm['jobs'] {
  if (news.every((change) => change.jobs.length === 0)) return jobs
  const next = new Map(jobs)
  for (const job of news.flatMap((change) => change.jobs)) {
    if (job.state === 'ended') next.delete(job.job)
    else next.set(job.job, job)
  }
  return next
}

/** The VWN that is looked for; null where it is not there (any more). */
export function vwnIn(farm: Farm, isIt: (vwn: FarmVwn) => boolean): FarmVwn | null {
  for (const { vwns } of farm.tiles.values()) {
    const found = vwns.find(isIt)
    if (found !== undefined) return found
  }
  return null
}
