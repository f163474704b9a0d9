/**
 * The warm pool in the farm's terms: what each host keeps ready, from its VWNs and the jobs that wait, and what is to be requested and stopped
 * for it. A ready clone is a VWN like any other, but without an owner and a job. A host that cannot clone a type boots it: that spares its jobs
 * even more, and costs no boot that they would not need themselves.
 *
 *   mapping, VWNs, waiting and pending jobs, demand, experience ─▶ PoolType, PoolHost ─ planPool ─▶ requests, stops, and counts for people
 */
import { add, noAmount, subtract, times, withoutCpus } from './amount.ts'
import { closedBecause, type Host, type HostImage } from './host.ts'
import { compareIds, vwnId, type HostId, type TypeName, type VwnId } from './ids.ts'
import type { Mapping, VwnType } from './mapping.ts'
import { held, imageOn, type Hold } from './placement.ts'
import { shareOf } from './pending.ts'
import { aged, planPool, type Clone, type Demand, type PoolPlan, type PoolSettings, type PoolType } from './pool.ts'
import { waitMs, type Backoff } from './retry.ts'
import { makingOf } from './schedule.ts'
import { isLive, isUnclaimed, requestVwn, type Vwn, type VwnRequest } from './vwn.ts'

/** What is known of making VWNs of one type on one host. */
export interface Experience {
  /** How long making one takes. */
  readonly makeMs: number
  /** Why none is to be made now, or null. */
  readonly failing: string | null
}

/** The same, with how they come to be. */
export interface Making extends Experience {
  /** Why each is booted, and will be; null where clones are to be had, or may be soon. */
  readonly booted: string | null
}

export interface PoolFarm {
  readonly hosts: readonly Host[]
  /** All that are not gone. */
  readonly vwns: readonly Vwn[]
  readonly mapping: Mapping
  /** What jobs wait for, by the turn that has just been planned. */
  readonly holds: readonly Hold[]
  /** Jobs of a host that are about to enter a VWN which is there: each keeps a processor busy. */
  readonly handOversOn: (host: HostId) => number
  readonly demandFor: (host: HostId, type: TypeName) => Demand
  /** Jobs that pend for this type, on no host yet. */
  readonly pendingFor: (type: TypeName) => Pick<Demand, 'pending' | 'pendingPeak'>
  readonly makingWith: (host: HostId, type: VwnType, image: HostImage) => Making
}

/** What one host does for its pool, and why. */
export interface HostPool {
  readonly host: HostId
  readonly plans: readonly PoolPlan[]
  readonly requests: readonly VwnRequest[]
  readonly stops: readonly { readonly vwn: VwnId; readonly why: string }[]
}

/** What every host that is heard does for its pool now; hosts come by name, and a place under a type's limit is given once. */
export function planPools(farm: PoolFarm, settings: PoolSettings, nowMs: number): readonly HostPool[] {
  let { vwns } = farm
  const on = new Map(farm.hosts.map(({ id }) => [id, [] as Vwn[]]))
  for (const vwn of vwns) on.get(vwn.host)?.push(vwn)
  const alive = [...farm.hosts].filter(({ fact }) => fact === 'alive').sort((a, b) => compareIds(a.id, b.id))
  const pending = sharedPending(farm)
  const demandFor = (host: HostId, type: TypeName): Demand => withShare(aged(farm.demandFor(host, type), nowMs, settings.halfLifeMs), pending.get(type), host)
  return alive.map((host) => {
    const pool = planHost(host, { ...farm, vwns, demandFor, here: on.get(host.id) ?? [] }, settings, nowMs)
    if (pool.requests.length === 0) return pool
    const asked = pool.requests.map((request, index) => requestVwn(request, vwnId(`new-${host.id}-${index}`), { term: 0, epoch: 0 }, { nowMs: 0, generation: 0 }))
    vwns = [...vwns, ...asked]
    return pool
  })
}

/** What pends of a type, and the hosts that share it. */
interface SharedPending extends Pick<Demand, 'pending' | 'pendingPeak'> {
  readonly sharing: readonly HostId[]
}

/** Of each type of which anything pends: all open hosts that have its image take the same. */
function sharedPending({ hosts, mapping, pendingFor }: PoolFarm): ReadonlyMap<TypeName, SharedPending> {
  const open = hosts.filter((host) => host.fact === 'alive' && closedBecause(host) === null)
  return new Map(mapping.types.flatMap(({ name, image }) => {
    const pends = pendingFor(name)
    if (pends.pendingPeak === 0) return []
    return [[name, { ...pends, sharing: open.filter((host) => imageOn(host, image) !== null).map(({ id }) => id).sort(compareIds) }] as const]
  }))
}

/** A host's own demand for a type, with its share of what pends. */
function withShare(own: Demand, shared: SharedPending | undefined, host: HostId): Demand {
  if (shared === undefined) return own
  const { pending, pendingPeak, sharing } = shared
  return { ...own, pending: own.pending + shareOf(pending, host, sharing), pendingPeak: own.pendingPeak + shareOf(pendingPeak, host, sharing) }
}

/** `here`: those of the VWNs that are on this host. */
function planHost(host: Host, farm: PoolFarm & { readonly here: readonly Vwn[] }, settings: PoolSettings, nowMs: number): HostPool {
  const { here } = farm
  const canHave = (type: VwnType): boolean => type.pool.max > 0 && imageOn(host, type.image) !== null
  const kinds = farm.mapping.types.map((type) => kindOf(type, host, here, farm)).filter(({ type, it }) => it.clones.length > 0 || canHave(type))
  const waiting = farm.holds.reduce((sum, hold) => (hold.host === host.id ? add(sum, hold.amount) : sum), noAmount)
  const pooled = kinds.reduce((sum, { it }) => add(sum, times(it.holds, it.clones.length)), noAmount)
  const used = subtract(held(here, host.id), pooled)
  const handOversWaiting = Math.max(0, farm.handOversOn(host.id) + 1 - host.capacity.cpus) // one processor makes clones, or a stream of jobs would leave the pool dry
  const standing = { capacity: withoutCpus(host.capacity), used: withoutCpus(used), waiting: withoutCpus(waiting) } // a ready one computes nothing
  const poolHost = { ...standing, handOversWaiting, closed: closedBecause(host) }
  const plans = planPool(kinds.map(({ it }) => it), poolHost, settings, nowMs)
  const requests = plans.flatMap((plan) => {
    const type = kinds.find((kind) => kind.type.name === plan.type)?.type
    const image = type === undefined ? null : imageOn(host, type.image)
    return type === undefined || image === null ? [] : Array.from({ length: plan.make }, () => ({ ...makingOf(type, type.shape, host.id, image), owner: null, job: null }))
  })
  return { host: host.id, plans, requests, stops: plans.flatMap(({ giveBack }) => giveBack.map(({ clone, why }) => ({ vwn: vwnId(clone), why }))) }
}

interface Kind {
  readonly type: VwnType
  readonly it: PoolType
}

function kindOf(type: VwnType, host: Host, here: readonly Vwn[], { vwns, demandFor, makingWith }: PoolFarm): Kind {
  const image = imageOn(host, type.image)
  const making = image === null ? { makeMs: usualMakeMs, failing: `${host.id} does not have image ${type.image}`, booted: null } : makingWith(host.id, type, image)
  const clones = here.filter((vwn) => vwn.type === type.name).flatMap(cloneOf)
  const places = making.failing === null ? placesOf(type, vwns) : { left: 0, why: making.failing }
  const it: PoolType = { type: type.name, policy: type.pool, demand: demandFor(host.id, type.name), clones, holds: withoutCpus(type.shape), makeMs: making.makeMs, booted: making.booted, places }
  return { type, it }
}

function placesOf({ name, limit }: VwnType, vwns: readonly Vwn[]): PoolType['places'] {
  if (limit === null) return { left: Infinity, why: '' }
  const exist = vwns.filter((vwn) => vwn.type === name).length
  return { left: Math.max(0, limit - exist), why: `${exist} of ${limit} VWNs of type ${name} exist` }
}

/** What is nobody's, and holds its room until it is gone. */
function cloneOf(vwn: Vwn): readonly Clone[] {
  if (vwn.owner !== null || vwn.job !== null) return []
  const state = isUnclaimed(vwn) ? (vwn.state === 'idle' ? 'ready' : 'making') : 'going'
  return [{ id: vwn.id, state, sinceMs: vwn.stateSinceMs }]
}

// ---------------------------------------------------------------- experience

/** Until one was made: what a boot took where this was measured. */
export const usualMakeMs = 6_000

/** A type that does not come up is tried again, ever more seldom: nobody waits for it. */
const failingBackoff: Backoff = { baseMs: 10_000, factor: 3, maxMs: 600_000, jitter: 0 }

/** One that is nobody's and ends sooner than this was not worth making. */
const lastsMs = 60_000

/** How one of the newest VWNs of a type has fared. */
export interface Fared {
  readonly vwn: Vwn
  /** How long it took to come up; null while it has not, or when that is not known. */
  readonly makeMs: number | null
}

/** So many of the newest VWNs of a type on a host tell how making the next one will go. */
export const faredMax = 5

/** What the newest VWNs of one type on one host, newest first, teach about the next one. */
export function experienceOf(newest: readonly Fared[], nowMs: number): Experience {
  const took = newest.flatMap(({ makeMs }) => makeMs ?? []).sort((a, b) => a - b)
  const makeMs = took[Math.floor(took.length / 2)] ?? usualMakeMs
  const telling = newest.filter((fared) => fared.makeMs !== null || hasFailed(fared)) // what is under way, or was stopped for a job, tells nothing
  const firstGood = telling.findIndex((fared) => !hasFailed(fared))
  const failed = firstGood < 0 ? telling : telling.slice(0, firstGood)
  const [last] = failed
  if (last === undefined) return { makeMs, failing: null }
  const sinceMs = nowMs - last.vwn.stateSinceMs
  const rests = sinceMs >= 0 && sinceMs < waitMs(failingBackoff, failed.length, 0)
  const names = failed.map(({ vwn }) => vwn.id).sort(compareIds).join(', ')
  return { makeMs, failing: rests ? `${names} did not last (${last.vwn.cause?.code ?? 'VWN_DIED'}), and the next one is made a while later` : null }
}

/** Never came up, or died soon after, with no job to blame and nobody who had asked for it. */
function hasFailed({ vwn, makeMs }: Fared): boolean {
  const { cause, jobsRun, owner, createdAtMs, stateSinceMs } = vwn
  if (isLive(vwn) || jobsRun > 0 || cause === null || cause.code === 'VWN_REMOVED' || cause.code === 'VWN_HOST_LOST') return false
  return makeMs === null || (owner === null && stateSinceMs - createdAtMs < lastsMs + makeMs)
}
