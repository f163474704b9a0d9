/** What hosts have to offer, for the resource hooks of batch systems. */
import { VwnError } from '../../core/errors.ts'
import { hostId, idPatterns } from '../../core/ids.ts'
import { offersOn, resourceName } from '../../core/offers.ts'
import { imageOn } from '../../core/placement.ts'
import { planned, type Farm } from '../../core/schedule.ts'
import { waitingJobs } from '../../db/queries/job.ts'
import { goneVwnsOf, presentVwns } from '../../db/queries/vwn.ts'
import type { ResourcesReply } from '../../wire/api.ts'
import type { Parts } from '../controller.ts'
import { experience } from '../pool.ts'
import { waitingJob } from '../scheduler.ts'

/** Of one host, for those that come after all who wait already; HOST_NOT_FOUND. */
export function resourcesOf({ book, db, kit, mapping }: Parts, id: string): ResourcesReply {
  const known = idPatterns.host.test(id) ? book.get(hostId(id)) : null
  if (known === null) throw new VwnError('HOST_NOT_FOUND', { host: id })
  const { host } = known
  const inForce = mapping.state.mapping
  if (inForce === null) return { host: host.id, resources: [] }
  const waiting = waitingJobs(db).map(waitingJob)
  const farm: Farm = { hosts: book.hosts, vwns: [...presentVwns(db), ...goneVwnsOf(db, waiting.map(({ id: job }) => job))], mapping: inForce }
  const nowMs = kit.clock.nowMs()
  const { vwns, holds } = planned(waiting, farm, nowMs)
  const types = inForce.types.filter(({ image }) => imageOn(host, image) !== null)
  const makeMs = (...[on, type]: Parameters<Parameters<typeof offersOn>[2]['makeMs']>): number => experience(db, on, type, nowMs).makeMs
  const offers = offersOn(host, types, { vwns: vwns.filter(({ state }) => state !== 'gone'), holds, makeMs }, nowMs)
  return { host: host.id, resources: offers.map((offer) => ({ ...offer, name: resourceName(offer.type) })) }
}
