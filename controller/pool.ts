/**
 * The warm pool's part of a turn: what came is noted as demand, then every host is told what to make and what to give back. Demand is kept in
 * memory, by the monotonic clock; after a restart it is read from the jobs of the last while, so that a restart changes nothing. What pends
 * with batch systems comes again with every report.
 */
import { fits } from '../core/amount.ts'
import type { HostId, TypeName } from '../core/ids.ts'
import { typeNamed, type Mapping } from '../core/mapping.ts'
import { heardPending, nonePending, pendingOf, type Pending, type PendingWord } from '../core/pending.ts'
import type { Hold } from '../core/placement.ts'
import { aged, arrived, noDemand, poolSettings, type Demand, type PoolPlan } from '../core/pool.ts'
import { experienceOf, faredMax, planPools, usualMakeMs, type Experience } from '../core/pools.ts'
import { shapeOf } from '../core/schedule.ts'
import { isUnclaimed } from '../core/vwn.ts'
import type { Database } from '../db/open.ts'
import { arrivalsSince, liveJobs, type Arrival } from '../db/queries/job.ts'
import { newestVwns, presentVwns } from '../db/queries/vwn.ts'
import type { Kit } from '../kit/service.ts'
import type { Report } from '../wire/bait.ts'
import type { HostBook } from './hosts.ts'
import { removedBecause, type Desk } from './lifecycle.ts'
import { onlyBootedOn } from './templates.ts'

/** What the rest of the turn knows. */
export interface Turn {
  readonly mapping: Mapping
  /** Jobs that were given fresh VWNs in this turn. */
  readonly fresh: readonly Arrival[]
  /** What jobs wait for. */
  readonly holds: readonly Hold[]
  /** Else demand is noted, and the plans stay what they are. */
  readonly isWhole: boolean
}

/** What a turn leaves behind; it counts once the turn is committed. */
export interface PoolState {
  readonly demands: ReadonlyMap<string, Demand>
  readonly plans: ReadonlyMap<HostId, readonly PoolPlan[]>
}

export interface Pool {
  /** The plans of the last turn, by host: those that were heard then. */
  readonly plans: PoolState['plans']
  /** Makes and gives back; what `keep` is to be told when that is on record. */
  turn(desk: Desk, turn: Turn): PoolState
  keep(state: PoolState): void
  /** What batch systems have said to this bait; what is known already, or older than that, changes nothing. */
  hear(report: Pick<Report, 'host' | 'session' | 'pending'>): void
  /** The newest word of each batch system. */
  pending(): readonly Pick<PendingWord, 'batchSystem' | 'jobs' | 'saidMs'>[]
}

/** In so many half-lives demand fades to nothing that counts. */
const halfLivesMax = 10
/** Less demand than this asks for no clone, however long making one takes. */
const demandMin = 0.01

/** The pool of one controller. */
export function openPool({ kit, db, book }: { readonly kit: Kit; readonly db: Database; readonly book: HostBook }): Pool {
  const { halfLifeMs } = poolSettings
  const before = arrivalsSince(db, kit.clock.nowMs() - halfLivesMax * halfLifeMs)
  let state: PoolState | null = null
  let pending: Pending = nonePending
  const heard = new Map<string, string>()

  const hear = ({ host, session, pending: all }: Pick<Report, 'host' | 'session' | 'pending'>): void => {
    for (const { batchSystem, nth, agoMs, counts } of all) {
      const [by, word] = [`${host} ${batchSystem}`, `${session} ${nth}`]
      if (heard.get(by) === word) continue
      heard.set(by, word)
      const jobs = new Map(counts.map(({ type, jobs: number }) => [type, number]))
      pending = heardPending(pending, { batchSystem, saidMs: kit.clock.monotonicMs() - agoMs, jobs }, halfLifeMs)
      kit.log.debug({ host, batchSystem, agoMs, counts }, 'pending jobs heard')
    }
  }
  const turn = (desk: Desk, { mapping, fresh, holds, isWhole }: Turn): PoolState => {
    const nowMs = kit.clock.monotonicMs()
    const [was, come] = state === null ? [new Map<string, Demand>(), [...before, ...fresh]] : [state.demands, fresh]
    const demands = noted(was, come.filter((each) => isUsual(each, mapping)), (atMs) => nowMs - Math.max(0, kit.clock.nowMs() - atMs))
    if (!isWhole && state !== null) return { demands, plans: state.plans }
    const keepsNone = mapping.types.every(({ pool }) => pool.max === 0)
    if (keepsNone && state?.plans.size === 0) return { demands, plans: state.plans }
    const vwns = presentVwns(db)
    if (keepsNone && !vwns.some(isUnclaimed)) return { demands, plans: new Map() }
    const demandFor = (host: HostId, type: TypeName): Demand => demands.get(keyOf(host, type)) ?? noDemand
    const pendingFor = (type: TypeName): Pick<Demand, 'pending' | 'pendingPeak'> => pendingOf(pending, type, nowMs, halfLifeMs)
    const entering = new Set(liveJobs(db).filter((job) => job.state === 'waiting' || job.state === 'starting').map(({ job }) => job))
    const handOvers = new Map<HostId, number>()
    for (const { host, state: now, job } of vwns) if (now === 'busy' && job !== null && entering.has(job)) handOvers.set(host, (handOvers.get(host) ?? 0) + 1)
    const pools = planPools({
      hosts: book.hosts, vwns, mapping, holds, demandFor, pendingFor,
      handOversOn: (host) => handOvers.get(host) ?? 0,
      makingWith: (host, { name: type, network, shape, pool: { min } }, image) => {
        const asked = min > 0 || aged(demandFor(host, type), nowMs, halfLifeMs).arrived > demandMin || pendingFor(type).pending > 0
        const known = asked ? experience(db, host, type, kit.clock.nowMs()) : { makeMs: usualMakeMs, failing: null }
        return { ...known, booted: onlyBootedOn(book.getOrNew(host).facts, { image: image.digest, network, shape }) }
      },
    }, poolSettings, nowMs)
    for (const { host, requests, stops, plans } of pools) {
      for (const request of requests) desk.request(request)
      for (const { vwn: id, why } of stops) {
        const vwn = vwns.find((each) => each.id === id)
        if (vwn !== undefined) desk.deliver(vwn, { kind: 'stop', cause: removedBecause(why) })
      }
      if (requests.length + stops.length === 0) continue
      kit.log.info({ host, makes: requests.length, givesBack: stops.length, why: plans.map(({ type, why }) => `${type}: ${why}`) }, 'pool changed')
    }
    return { demands, plans: new Map(pools.map(({ host, plans }) => [host, plans])) }
  }
  return { turn, hear, keep: (next) => void (state = next), pending: () => [...pending.values()], get plans() { return state?.plans ?? new Map() } }
}

/** Every arrival at its moment; `momentOf` turns the time of day into the monotonic clock's. */
function noted(was: PoolState['demands'], come: readonly Arrival[], momentOf: (atMs: number) => number): PoolState['demands'] {
  const demands = new Map(was)
  for (const { host, type, atMs } of come) {
    const key = keyOf(host, type)
    demands.set(key, arrived(demands.get(key) ?? noDemand, momentOf(atMs), poolSettings.halfLifeMs))
  }
  return demands
}

const keyOf = (host: HostId, type: TypeName): string => `${host} ${type}`

/** Ready ones have their type's own size, and are of no use to jobs that ask for more or for other processors. */
function isUsual(arrival: Arrival, mapping: Mapping): boolean {
  const usual = typeNamed(mapping, arrival.type)?.shape
  if (usual === undefined) return false
  const asked = shapeOf(arrival, usual)
  return asked.cpus === usual.cpus && fits(asked, usual)
}

/** How the newest VWNs of a type on a host have fared, by what its bait has said of them: contact is the last thing that making one brings. */
export function experience(db: Database, host: HostId, type: TypeName, nowMs: number): Experience {
  const newest = newestVwns(db, host, type, faredMax)
  return experienceOf(newest.map(({ vwn, phases: { boot = 0, contact } }) => ({ vwn, makeMs: contact === undefined ? null : boot + contact })), nowMs)
}
