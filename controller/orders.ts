/**
 * The whole of what is wanted of one host, built from rows whenever somebody needs it. The number says how new it is: it was raised, in the
 * transaction that changed a row, before anybody could see the change. Only what a bait may forget (acknowledgements and answers that
 * it has followed) goes without a new number.
 */
import type { HostId } from '../core/ids.ts'
import { typeNamed, type Mapping } from '../core/mapping.ts'
import { fits } from '../core/amount.ts'
import { imageOn } from '../core/placement.ts'
import { wantedOf, type Vwn } from '../core/vwn.ts'
import type { Database } from '../db/open.ts'
import { liveJobsOn } from '../db/queries/job.ts'
import { presentVwnsOn } from '../db/queries/vwn.ts'
import { baitVersion, type Answer, type Orders, type VwnSpec, type WantedVwn } from '../wire/bait.ts'
import type { HostBook } from './hosts.ts'
import type { MappingHolder } from './mapping.ts'
import type { Reports } from './reports.ts'

export interface OrdersParts {
  readonly db: Database
  readonly book: HostBook
  readonly term: number
  readonly reports: Pick<Reports, 'acknowledged' | 'turnedAway'>
  readonly mapping: Pick<MappingHolder, 'state'>
}

/** The orders of this host at this moment. */
export function ordersOf({ db, book, term, reports, mapping }: OrdersParts, host: HostId): Orders {
  const known = book.getOrNew(host)
  return {
    v: baitVersion,
    host,
    session: known.host.session,
    term,
    generation: known.generation,
    vwns: presentVwnsOn(db, host).map((vwn) => wanted(vwn, mapping.state.mapping)),
    answers: [...liveJobsOn(db, host).flatMap(answersTo), ...reports.turnedAway(host)],
    machines: machinesOn(book, host, mapping.state.mapping),
    acknowledged: [...reports.acknowledged(host)],
  }
}

/** What each type of the mapping is here, where its image is and there is room for one at all. */
function machinesOn(book: HostBook, id: HostId, mapping: Mapping | null): VwnSpec[] {
  const { host } = book.getOrNew(id)
  return (mapping?.types ?? []).flatMap(({ name, image, shape, network, bootMs, limit }) => {
    const found = imageOn(host, image)
    return found === null || limit === 0 || !fits(shape, host.capacity) ? [] : [{ type: name, image: found.digest, contact: found.contact, shape, network, bootMs }]
  })
}

/** What its jobs find mounted is as the mapping says now: the VWN itself is none the wiser until one comes. */
function wanted(vwn: Vwn, mapping: Mapping | null): WantedVwn {
  const { type, image, contact, shape, network, bootMs, owner, limits: { reuse } } = vwn
  const { mounts = [], directory = null } = (mapping === null ? null : typeNamed(mapping, type)) ?? {}
  return {
    ...wantedOf(vwn), vwn: vwn.id, token: vwn.token, spec: { type, image, contact, shape, network, bootMs }, reuse,
    owner: owner === null ? null : { uid: owner.uid, gid: owner.gid, project: owner.project }, mounts: [...mounts], directory,
  }
}

function answersTo({ job, state, refusal, bare, why }: ReturnType<typeof liveJobsOn>[number]): Answer[] {
  if (state !== 'waiting') return []
  if (refusal !== null) return [{ job, is: 'refused', failure: refusal }]
  if (bare) return [{ job, is: 'bare' }]
  return why === null ? [] : [{ job, is: 'waits', why }]
}
