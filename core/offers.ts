/**
 * What a host has to offer to the next jobs: how many of each VWN type could get a place now, and how soon. Batch systems are told, so that they
 * send jobs where they can start. Placement itself is asked (placement.ts), one job of a stranger after the other, so no more is ever offered than it
 * would give. What is kept warm for nobody in particular, or for somebody who may not come, gives way to jobs, and is offered too.
 */
import type { Host } from './host.ts'
import { jobId, vwnId, type HostId, type TypeName } from './ids.ts'
import type { VwnType } from './mapping.ts'
import { place, type Hold, type PlacementWant } from './placement.ts'
import { given, makingOf } from './schedule.ts'
import { requestVwn, type Owner, type Vwn } from './vwn.ts'

/** Of one type on one host; the numbers of different types share the host, so only one of them holds at a time. */
export interface Offer {
  readonly type: TypeName
  /** So many jobs could get a VWN now. */
  readonly jobs: number
  /** Of these, so many find one that waits for them. */
  readonly ready: number
  /** Jobs that have one. */
  readonly inUse: number
  /** How long the next job would wait; null where there is nothing for it. */
  readonly readyMs: number | null
}

/** Nobody is told of more than this. */
export const offerMax = 256

/** Somebody whose jobs were never here, and who shares with nobody. */
const stranger: Owner = { user: '', uid: -1, gid: -1, group: '', project: null }

export interface OfferFarm {
  /** All that are not gone, as the jobs that wait now will leave them. */
  readonly vwns: readonly Vwn[]
  /** What is kept for those that wait for room. */
  readonly holds: readonly Hold[]
  /** What making one has taken lately. */
  readonly makeMs: (host: HostId, type: TypeName) => number
}

/** What this host offers of each of these types. */
export const offersOn = (host: Host, types: readonly VwnType[], farm: OfferFarm, nowMs: number): readonly Offer[] =>
  types.map((type) => offerOf(host, type, farm, nowMs))

function offerOf(host: Host, type: VwnType, { vwns, holds, makeMs }: OfferFarm, nowMs: number): Offer {
  const want: PlacementWant = { type, shape: type.shape, owner: stranger, pinnedHost: host.id, perUser: null, takesReady: true }
  const inUse = vwns.filter((vwn) => vwn.host === host.id && vwn.type === type.name && vwn.job !== null).length
  let here = vwns.filter((vwn) => vwn.host === host.id || vwn.type === type.name)
  let [jobs, ready] = [0, 0]
  while (jobs < offerMax) {
    const choice = place(want, [host], here, holds, nowMs)
    if (choice.is === 'makeRoom' && choice.evict.length > 0) {
      here = here.filter(({ id }) => !choice.evict.includes(id))
      continue
    }
    if (choice.is !== 'reuse' && choice.is !== 'boot') break
    jobs += 1
    const job = jobId(`offer-${jobs}`)
    if (choice.is === 'boot') {
      const request = { ...makingOf(type, choice.shape, host.id, choice.image), owner: stranger, job }
      here = [...here, requestVwn(request, vwnId(`offer-${jobs}`), { term: 0, epoch: 0 }, { nowMs, generation: 0 })]
      continue
    }
    if (choice.made === 'ready') ready += 1
    here = here.map((vwn) => (vwn.id === choice.vwn ? given(vwn, { id: job, owner: stranger }) : vwn))
  }
  return { type: type.name, jobs, ready, inUse, readyMs: jobs === 0 ? null : ready > 0 ? 0 : Math.round(makeMs(host.id, type.name)) }
}

/** The name of a type where batch systems count it: `el9-gpu` is `vm_el9_gpu`. */
export const resourceName = (type: TypeName): string => `vm_${type.replace(/[^A-Za-z0-9]/g, '_')}`
