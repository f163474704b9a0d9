/**
 * Jobs that still pend with a batch system, for the warm pool. A batch system speaks of the whole farm at once, and says all of it each time:
 * its newest word is what counts, whichever host it came by, however often it is repeated. What is pending is no host's yet, so the hosts
 * that could have it share it out evenly.
 */
import type { HostId, TypeName } from './ids.ts'
import { aged, noDemand, reported, type Demand } from './pool.ts'

/** What one batch system says of all its pending jobs. A type that it does not name has none. */
export interface PendingWord {
  readonly batchSystem: string
  readonly saidMs: number
  readonly jobs: ReadonlyMap<TypeName, number>
}

/** The newest word of each batch system, and the demand that all its words have left. */
export type Pending = ReadonlyMap<string, PendingWord & { readonly demands: ReadonlyMap<TypeName, Demand> }>

/** What is known when nobody has spoken. */
export const nonePending: Pending = new Map()

/** With this word; one that is no newer than what is known of that batch system changes nothing. */
export function heardPending(pending: Pending, word: PendingWord, halfLifeMs: number): Pending {
  const before = pending.get(word.batchSystem)
  if (before !== undefined && word.saidMs <= before.saidMs) return pending
  const types = new Set([...(before?.demands.keys() ?? []), ...word.jobs.keys()])
  const demands = [...types].map((type) => [type, reported(before?.demands.get(type) ?? { ...noDemand, asOfMs: word.saidMs }, word.jobs.get(type) ?? 0, word.saidMs, halfLifeMs)] as const)
  return new Map(pending).set(word.batchSystem, { ...word, demands: new Map(demands.filter(([, { pendingPeak }]) => pendingPeak >= countsMin)) })
}

/** Less than this is no job. */
const countsMin = 0.5

/** What pends of a type now in the whole farm, and the most that did: jobs, faded by the silence since. */
export function pendingOf(pending: Pending, type: TypeName, nowMs: number, halfLifeMs: number): Pick<Demand, 'pending' | 'pendingPeak'> {
  const now = [...pending.values()].map(({ demands }) => aged(demands.get(type) ?? noDemand, nowMs, halfLifeMs))
  const sum = (part: 'pending' | 'pendingPeak'): number => Math.round(now.reduce((total, demand) => total + demand[part], 0))
  return { pending: sum('pending'), pendingPeak: sum('pendingPeak') }
}

/** This host's part of so many jobs; the first of the hosts that share them take what does not go round. */
export function shareOf(jobs: number, host: HostId, sharing: readonly HostId[]): number {
  const nth = sharing.indexOf(host)
  return nth < 0 ? 0 : Math.floor(jobs / sharing.length) + (nth < jobs % sharing.length ? 1 : 0)
}
