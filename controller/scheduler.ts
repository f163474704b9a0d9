/**
 * One turn: what time did to hosts and VWNs, which spare VWNs have no future, a decision for every job that waits, and what each host keeps
 * ready for the jobs to come; all in one transaction. A turn can be called at any time; when nothing has changed it writes nothing. What only time
 * and an operator bring about is looked for in a `whole` turn: of a large farm that is all hosts and VWNs, and somebody wakes us at every moment.
 *
 * Time counts against a host only while we could have heard it: not while the bus is away, and not when we ourselves have slept.
 */
import { afterRestart, leaseEnded, silence, type HostImage, type Patience } from '../core/host.ts'
import type { VwnId } from '../core/ids.ts'
import type { Mapping, VwnType } from '../core/mapping.ts'
import { sameAmount } from '../core/amount.ts'
import { imageOn } from '../core/placement.ts'
import { policyIn, sameLimits } from '../core/reuse.ts'
import { concerning, makingOf, plan, retired, type Decision, type WaitingJob } from '../core/schedule.ts'
import { due, isSpare, isUnclaimed, type Owner, type Vwn, type VwnEvent } from '../core/vwn.ts'
import type { Database } from '../db/open.ts'
import { settleRecords } from '../db/queries/accounting.ts'
import { saveDecision, saveExplanation, waitingJobs, type Arrival, type JobRecord } from '../db/queries/job.ts'
import { getVwn, goneVwnsOf, presentVwns, presentVwnsOn } from '../db/queries/vwn.ts'
import type { Kit } from '../kit/service.ts'
import { explanationOf, groupsOf } from './explain.ts'
import type { HostBook } from './hosts.ts'
import { removedBecause, type Desk, type Lifecycle } from './lifecycle.ts'
import { defaultRuleName, type MappingHolder } from './mapping.ts'
import type { Pool, Turn } from './pool.ts'

export interface SchedulerParts {
  readonly kit: Kit
  readonly db: Database
  readonly book: HostBook
  readonly lifecycle: Lifecycle
  readonly mapping: Pick<MappingHolder, 'state'>
  readonly pool: Pool
  readonly patience: Patience
  readonly bus: { readonly connected: boolean }
}

/** Turns come every second; a longer pause than this means that the machine slept or its clock was set. */
const sleptMs = 10_000

/** Why jobs wait while there is no mapping. */
const noMapping = 'no mapping is in force'

/** How much one turn looks at. */
export type TurnKind = 'whole' | 'jobs'

/** The scheduler of one controller: each call is one turn. */
export function openScheduler(parts: SchedulerParts): (kind: TurnKind) => void {
  const { kit, bus, lifecycle } = parts
  let lastMs = kit.clock.nowMs()
  let deaf = false
  let told = parts.mapping.state.version
  return (kind) => {
    const nowMs = kit.clock.nowMs()
    const pausedMs = Math.abs(nowMs - lastMs)
    const hearsAgain = bus.connected && (deaf || pausedMs > sleptMs)
    lastMs = nowMs
    deaf = !bus.connected
    const { mapping, version } = parts.mapping.state
    const isWhole = kind === 'whole' || told !== version
    const pool = lifecycle.change((desk) => {
      if (hearsAgain) forgive(parts, desk, pausedMs)
      if (isWhole && !deaf) {
        watchHosts(parts, desk)
        endOverdue(parts, desk)
      }
      // Another mapping has other machines, and every host's orders name them.
      if (told !== version) for (const { host } of parts.book.all) desk.touch(host.id)
      told = version
      if (isWhole) retire(parts, desk, mapping)
      const placed = placeJobs(parts, desk, mapping)
      if (isWhole) settleRecords(parts.db, nowMs)
      return placed === null ? null : parts.pool.turn(desk, { ...placed, isWhole })
    })
    if (pool !== null) parts.pool.keep(pool)
  }
}

/** The silence was our own: every lease begins anew, and no host counts as alive before it is heard. */
function forgive({ book, kit }: SchedulerParts, desk: Desk, pausedMs: number): void {
  for (const known of book.all) desk.putHost({ ...known, host: afterRestart(known.host, kit.clock.nowMs()) }, true)
  kit.log.info({ hosts: book.all.length, pausedMs }, 'hosts are heard again, their leases begin anew')
}

function watchHosts({ book, kit, patience }: SchedulerParts, desk: Desk): void {
  for (const known of book.all) {
    const host = silence(known.host, kit.clock.nowMs(), patience)
    if (host.fact === known.host.fact) continue
    desk.putHost({ ...known, host }, true)
    kit.log.warn({ host: host.id, heardAtMs: host.heardAtMs }, 'host is silent')
  }
}

function endOverdue({ db, book, kit, patience }: SchedulerParts, desk: Desk): void {
  const nowMs = kit.clock.nowMs()
  for (const vwn of presentVwns(db)) {
    const host = book.getOrNew(vwn.host).host
    const event = due(vwn, { alive: host.fact === 'alive', leaseEnded: leaseEnded(host, nowMs, patience) }, nowMs)
    if (event !== null) desk.deliver(vwn, event)
  }
}

/** Spare VWNs that nobody will be given go at once: their room is wanted, and what they were made from is history. */
function retire({ db, book }: SchedulerParts, desk: Desk, mapping: Mapping | null): void {
  const vwns = presentVwns(db)
  const leaving = new Set(retired(vwns, book.hosts))
  for (const vwn of vwns) {
    if (!isSpare(vwn)) continue
    const why = leaving.has(vwn.id) ? 'its host takes no more jobs' : mapping === null ? null : outdated(vwn, mapping, book)
    if (why !== null) desk.deliver(vwn, { kind: 'stop', cause: removedBecause(why) })
  }
}

function outdated(vwn: Vwn, mapping: Mapping, book: HostBook): string | null {
  const type = mapping.types.find(({ name }) => name === vwn.type)
  if (type === undefined) return `the mapping has no type ${vwn.type} any more`
  const image = imageOn(book.getOrNew(vwn.host).host, type.image)
  if (image !== null && image.digest !== vwn.image) return `type ${vwn.type} has another image now`
  if (type.network !== vwn.network) return `type ${vwn.type} has another network now`
  if (policyIn(vwn.contact, type.limits.reuse) !== vwn.limits.reuse) return `type ${vwn.type} has reuse ${type.limits.reuse} now`
  return isUnclaimed(vwn) ? unfit(vwn, type, image) : null
}

/** Nobody has got used to what is nobody's: it is as its type says now, or it is made anew. */
function unfit(vwn: Vwn, type: VwnType, image: HostImage | null): string | null {
  if (image === null) return `its host does not have image ${type.image} any more`
  const { shape, limits } = makingOf(type, type.shape, vwn.host, image)
  if (!sameAmount(shape, vwn.shape)) return `type ${vwn.type} has another size now`
  return sameLimits(limits, vwn.limits) ? null : `type ${vwn.type} is used otherwise now`
}

/** A decision for every job that waits; what the pool has to know of them, or null while there is no mapping. */
function placeJobs(parts: SchedulerParts, desk: Desk, mapping: Mapping | null): Omit<Turn, 'isWhole'> | null {
  const { db, book, kit } = parts
  const waiting = waitingJobs(db)
  if (mapping === null) {
    for (const job of waiting) if (job.why !== noMapping) {
      saveDecision(db, job.job, { type: null, rule: null, why: noMapping, refusal: null, bare: false, placementMs: null, made: null })
      desk.touch(job.host)
    }
    return null
  }
  if (waiting.length === 0) return { mapping, fresh: [], holds: [] }
  const nowMs = kit.clock.nowMs()
  const startedMs = kit.clock.monotonicMs()
  const asking = waiting.map(waitingJob)
  const present = concerning(asking, mapping, { all: () => presentVwns(db), on: (host) => presentVwnsOn(db, host) })
  const decisions = plan(asking, { hosts: book.hosts, vwns: [...present, ...goneVwnsOf(db, asking.map(({ id }) => id))], mapping }, nowMs)
  const placementMs = (kit.clock.monotonicMs() - startedMs) / Math.max(1, decisions.length)
  const jobs = new Map(waiting.map((job) => [job.job, job]))
  for (const decision of decisions) {
    const job = jobs.get(decision.job)
    if (job !== undefined) carryOut(parts, desk, { job, decision, mapping, placementMs })
  }
  const holds = decisions.flatMap((decision) => (decision.is === 'wait' ? (decision.hold ?? []) : []))
  return { mapping, holds, fresh: decisions.flatMap((decision) => freshFor(decision, jobs.get(decision.job), nowMs)) }
}

/** A job that gets a fresh VWN, wherever that comes from: the next one like it may be glad of a ready one. */
function freshFor(decision: Decision, job: JobRecord | undefined, atMs: number): readonly Arrival[] {
  const isFresh = decision.is === 'boot' || (decision.is === 'reuse' && decision.made !== 'reused')
  if (job === undefined || !isFresh || decision.resolution.is !== 'matched') return []
  const { cpus, memoryMib, scratchGib } = job.want
  return [{ host: job.host, type: decision.resolution.type.name, atMs, cpus, memoryMib, scratchGib }]
}

interface Decided {
  readonly job: JobRecord
  readonly decision: Decision
  readonly mapping: Mapping
  readonly placementMs: number
}

/** Puts one decision into rows: the VWN that serves the job, or what the job is told. */
function carryOut({ db, kit, book }: SchedulerParts, desk: Desk, { job, decision, mapping, placementMs }: Decided): void {
  const { type, rule } = namesOf(decision)
  if (decision.is === 'wait') {
    for (const id of decision.evict) move(db, desk, id, { kind: 'stop', cause: removedBecause(`room for ${job.job}`) })
    if (job.why === decision.why && job.type === type && job.rule === rule) return
  }
  if (decision.is === 'reuse' && !move(db, desk, decision.vwn, { kind: 'assigned', job: job.job, owner: ownerOf(job) })) {
    return kit.log.warn({ job: job.job, vwn: decision.vwn }, 'vwn did not take the job that was planned for it')
  }
  const vwn = decision.is === 'reuse' ? decision.vwn : decision.is === 'boot' ? desk.request(decision.request).id : null
  const why = decision.is === 'boot' ? `${vwn} is made for it on ${job.host}` : decision.why
  const nowMs = kit.clock.nowMs()
  const made = decision.is === 'reuse' ? decision.made : decision.is === 'boot' ? 'new' : null
  saveDecision(db, job.job, { type, rule, why, made, refusal: decision.is === 'refused' ? decision.failure : null, bare: decision.is === 'bare', placementMs })
  saveExplanation(db, job.job, nowMs, explanationOf({ job, decision, mapping, vwn, why, atMs: nowMs, facts: book.getOrNew(job.host).facts }))
  desk.touch(job.host)
  if (decision.is !== 'wait') {
    const missedPool = made === 'new' && decision.resolution.is === 'matched' && decision.resolution.type.pool.max > 0
    desk.tell({ is: 'placed', by: made ?? (decision.is === 'bare' ? 'bare' : 'refused'), type, waitedMs: Math.max(0, nowMs - job.submittedAtMs), missedPool })
  }
  kit.log.info({ job: job.job, host: job.host, is: decision.is, vwn, made, type, rule, why }, 'job decided')
}

function move(db: Database, desk: Desk, id: VwnId, event: VwnEvent): boolean {
  const vwn = getVwn(db, id)
  return vwn !== null && desk.deliver(vwn, event).is === 'moved'
}

function namesOf({ resolution }: Decision): Pick<JobRecord, 'type' | 'rule'> {
  const rule = resolution.rule === null || resolution.rule.name === defaultRuleName ? null : resolution.rule.name
  return { type: resolution.is === 'matched' ? resolution.type.name : null, rule }
}

const ownerOf = ({ identity, want }: JobRecord): Owner => ({ user: identity.user, uid: identity.uid, gid: identity.gid, group: identity.group, project: want.project })

/** A job without a place, as the scheduler sees it. */
export const waitingJob = (job: JobRecord): WaitingJob => ({
  id: job.job,
  host: job.host,
  owner: ownerOf(job),
  groups: groupsOf(job),
  queue: job.want.queue,
  batchSystem: job.want.batchSystem,
  type: job.want.type,
  cpus: job.want.cpus,
  memoryMib: job.want.memoryMib,
  scratchGib: job.want.scratchGib,
  submittedAtMs: job.submittedAtMs,
})
