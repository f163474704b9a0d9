/** What people see: rows and memory in the shapes of wire/api.ts. Reads only. */
import type { VwnError } from '../../core/errors.ts'
import { imageDigest, type HostId, type ImageDigest, type TypeName } from '../../core/ids.ts'
import { showToken } from '../../core/lease.ts'
import type { VwnType } from '../../core/mapping.ts'
import { ordersIn } from '../../core/orders.ts'
import { held, imageOn } from '../../core/placement.ts'
import type { Vwn } from '../../core/vwn.ts'
import type { Database } from '../../db/open.ts'
import { vwnEvents, type VwnEventTold } from '../../db/queries/event.ts'
import { countJobs, liveJobsOn, type JobRecord } from '../../db/queries/job.ts'
import { countVwns, presentVwns, presentVwnsOn, vwnFacts, type VwnFacts } from '../../db/queries/vwn.ts'
import { remembered } from '../../db/statement.ts'
import { version } from '../../kit/version.ts'
import { errorReply, type HostView, type ImageView, type JobView, type PoolView, type Receipt, type Status, type TypeView, type VwnDetail, type VwnEventView, type VwnPast, type VwnView } from '../../wire/api.ts'
import { scrubReceiptSchema } from '../../wire/bait.ts'
import { phaseNames } from '../../wire/common.ts'
import type { Parts } from '../controller.ts'
import type { HostBook, KnownHost } from '../hosts.ts'
import { templateOn } from '../templates.ts'

/** Every host, with what its VWNs hold. */
export const hostViews = ({ book, db }: Parts): HostView[] => book.all.map((known) => hostView(db, known))

/** One host, with the same. */
export function hostView(db: Database, known: KnownHost): HostView {
  const { host, facts } = known
  return {
    host: host.id, want: host.want, fact: host.fact, lastReportAtMs: host.heardAtMs,
    capacity: facts.capacity, ...burdenOf(db, known),
    version: facts.version, hypervisor: facts.hypervisor, accelerators: facts.accelerators, broken: facts.broken, images: facts.images.length,
    templates: { kept: facts.templates, diskMib: facts.templates.reduce((sum, { diskMib }) => sum + diskMib, 0), diskMibMax: facts.templatesMibMax },
  }
}

type Burden = Pick<HostView, 'used' | 'vwns' | 'jobs'>
const burdens = remembered(() => new Map<HostId, { readonly generation: number; readonly burden: Burden }>())

/** What a host bears; looked at again when its orders have another number, as whatever changes this gives them one. */
function burdenOf(db: Database, { host: { id }, generation }: KnownHost): Burden {
  const before = burdens(db).get(id)
  if (before?.generation === generation) return before.burden
  const vwns = presentVwnsOn(db, id)
  const burden: Burden = { used: held(vwns, id), vwns: vwns.length, jobs: liveJobsOn(db, id).length }
  burdens(db).set(id, { generation, burden })
  return burden
}

/** VWNs, gone or not. */
export function vwnViews({ book, db }: Parts, vwns: readonly Vwn[]): VwnView[] {
  const facts = vwnFacts(db, vwns.map(({ id }) => id))
  return vwns.map((vwn) => viewOf(book, vwn, facts.get(vwn.id)))
}

/** One VWN, gone or not. */
export const vwnView = ({ book, db }: Parts, vwn: Vwn): VwnView => viewOf(book, vwn, vwnFacts(db, [vwn.id]).get(vwn.id))

function viewOf(book: HostBook, vwn: Vwn, facts: VwnFacts | undefined): VwnView {
  const image = book.get(vwn.host)?.facts.images.find(({ digest }) => digest === vwn.image)
  return {
    vwn: vwn.id, host: vwn.host, type: vwn.type, image: { digest: vwn.image, name: image?.name ?? null }, contact: vwn.contact,
    shape: vwn.shape, network: vwn.network, state: vwn.state, sinceMs: vwn.stateSinceMs, deadlineAtMs: vwn.deadlineMs,
    token: showToken(vwn.token), job: vwn.job, owner: vwn.owner, reuse: vwn.limits.reuse,
    jobsRun: vwn.jobsRun, createdAtMs: vwn.createdAtMs, phases: facts?.phases ?? {},
    bootAttempt: facts?.bootAttempt ?? 0, accelerator: facts?.accelerator ?? null, pid: vwn.state === 'gone' ? null : (facts?.pid ?? null),
    paused: vwn.state !== 'gone' && facts?.paused === true, madeBy: facts?.madeBy ?? null, cause: vwn.cause,
  }
}

/** One VWN with everything that ever happened to it. */
export const vwnPast = (parts: Parts, vwn: Vwn): VwnPast => ({
  ...vwnView(parts, vwn), events: vwnEvents(parts.db, vwn.id).map(eventView),
})
const eventView = ({ atMs, event, from, to, job, why }: VwnEventTold): VwnEventView => ({ atMs, event, from, to, job, why })

/** The same, with what its bait was told of it. */
export function vwnDetail(parts: Parts, vwn: Vwn): VwnDetail {
  const seen = parts.book.get(vwn.host)?.host.ordersSeen.generation ?? 0
  const events = vwnEvents(parts.db, vwn.id)
  return { ...vwnView(parts, vwn), events: events.map(eventView), orders: [...ordersIn(events)], ordersTaken: seen >= vwn.generation }
}

/** One job, ended or not. */
export function jobView(job: JobRecord): JobView {
  const { identity, want } = job
  return {
    job: job.job, host: job.host, name: job.name, state: job.state, user: identity.user, uid: identity.uid, group: identity.group,
    queue: want.queue, project: want.project, batchSystem: want.batchSystem, batchJobId: want.batchJobId, requestedType: want.type,
    type: job.type, rule: job.rule, vwn: job.vwn, reused: job.reused, made: job.made, why: job.why, outcome: job.outcome,
    submittedAtMs: job.submittedAtMs, endedAtMs: job.endedAtMs, phases: phasesOf(job), usage: job.usage, trace: job.trace,
  }
}

const phasesOf = ({ phases, placementMs }: JobRecord): Readonly<Record<string, number>> =>
  placementMs === null ? phases : { placement: placementMs, ...phases }

/** Where the time of one job went, and what its VWN was when it came in. */
export function receiptOf(job: JobRecord): Receipt {
  const view = jobView(job)
  const timeline = phaseNames.flatMap((phase) => {
    const ms = view.phases[phase]
    return ms === undefined ? [] : [{ phase, ms }]
  })
  const totalMs = view.endedAtMs === null ? null : Math.max(0, view.endedAtMs - view.submittedAtMs)
  // The scrub comes after the job's end and costs its user nothing.
  const known = timeline.reduce((sum, { phase, ms }) => (phase === 'scrub' ? sum : sum + ms), 0)
  return { ...view, timeline, totalMs, otherMs: totalMs === null ? null : Math.max(0, totalMs - known), scrubReceipt: scrubReceiptSchema.nullable().parse(job.scrubReceipt) }
}

/** The types of the mapping in force, and what stands in their way. */
export function typeViews({ mapping, book, db, pool, kit }: Parts): TypeView[] {
  const vwns = new Map<TypeName, number>()
  for (const { type } of presentVwns(db)) vwns.set(type, (vwns.get(type) ?? 0) + 1)
  return (mapping.state.mapping?.types ?? []).map((type) => {
    const hosts = book.all.filter(hasImage(type)).map(({ host }) => host.id)
    return {
      type: type.name, image: type.image, shape: type.shape, network: type.network, mounts: [...type.mounts], directory: type.directory, reuse: type.limits.reuse, jobsMax: type.limits.jobsRunMax,
      ageMaxMs: type.limits.ageMsMax, idleMaxMs: type.limits.idleMsMax, bootMs: type.bootMs, limit: type.limit,
      pool: type.pool.max === 0 ? null : type.pool, pools: poolViews(pool, type.name), pending: pendingViews(pool, type.name, kit.clock.monotonicMs()),
      vwns: vwns.get(type.name) ?? 0, hosts,
      templates: hosts.flatMap((host) => templateView(book.getOrNew(host), type)),
      problem: problemOf(book, type),
    }
  })
}

const hasImage = ({ image }: VwnType) => ({ facts }: KnownHost): boolean => facts.images.some(({ name, digest }) => name === image || digest === image)
const problemOf = (book: HostBook, type: VwnType): string | null => (book.all.some(hasImage(type)) ? null : `no host has image ${type.image}`)
/** Why the mapping file is not in force as it is now; null where it is. */
export const mappingProblem = ({ mapping: { state: { problem } } }: Parts): Status['mapping']['problem'] => (problem === null ? null : failureOf(problem))

const poolViews = ({ plans }: Parts['pool'], name: TypeName): PoolView[] =>
  [...plans].flatMap(([host, each]) =>
    each.flatMap(({ type, making, ready, going, wanted, kept, target, why }) => (type === name ? [{ host, making, ready, going, wanted, kept, target, why }] : [])))

const pendingViews = (pool: Parts['pool'], name: TypeName, nowMs: number): TypeView['pending'] =>
  pool.pending().flatMap(({ batchSystem, jobs, saidMs }) => {
    const pending = jobs.get(name) ?? 0
    return pending === 0 ? [] : [{ batchSystem, jobs: pending, agoMs: Math.max(0, Math.round(nowMs - saidMs)) }]
  })

/** Types that jobs are said to pend for, and that there are not. */
const unknownPending = ({ pool, mapping }: Parts): string[] =>
  pool.pending().flatMap(({ batchSystem, jobs }) => [...jobs.keys()].filter((name) => mapping.state.mapping?.types.every((type) => type.name !== name)).map((name) => `${batchSystem} says that jobs pend for type ${name}, which the mapping does not have`))

function templateView({ host, facts }: KnownHost, { image, network, shape }: VwnType): TypeView['templates'] {
  const found = imageOn(host, image)
  const fact = found === null ? null : templateOn(facts, { image: found.digest, network, shape })
  if (fact === null) return []
  const { id, state, why, diskMib, tookMs } = fact
  return [{ host: host.id, id, state, why, diskMib, tookMs }]
}

/** Every OS image that some host has. */
export function imageViews(parts: Parts): ImageView[] {
  const found = new Map<ImageDigest, ImageView & { hosts: HostId[] }>()
  for (const { host, facts } of parts.book.all) {
    for (const { digest, name, contact } of facts.images) {
      const types = (parts.mapping.state.mapping?.types ?? []).filter(({ image }) => image === name || image === digest).map((type) => type.name)
      const view = found.get(digest) ?? { digest: imageDigest(digest), name, contact, hosts: [], types }
      view.hosts.push(host.id)
      found.set(digest, view)
    }
  }
  return [...found.values()].sort((a, b) => (a.name === b.name ? (a.digest < b.digest ? -1 : 1) : a.name < b.name ? -1 : 1))
}

/** The controller itself. */
export function statusView(parts: Parts): Status {
  const { settings, kit, bus, book, mapping, db } = parts
  const { state } = mapping
  const hostCounts: Record<string, number> = {}
  for (const { host } of book.all) hostCounts[host.fact] = (hostCounts[host.fact] ?? 0) + 1
  const idle = (state.mapping?.types ?? []).flatMap((type) => {
    const problem = problemOf(book, type)
    return problem === null ? [] : [`type ${type.name}: ${problem}`]
  })
  return {
    name: settings.name, version, term: parts.lifecycle.term, startedAtMs: parts.startedAtMs, nowMs: kit.clock.nowMs(),
    bus: { connected: bus.connected, dropped: bus.dropped, stale: parts.reports.stale },
    mapping: {
      file: mapping.file, version: state.version, loadedAtMs: state.loadedAtMs,
      types: state.mapping?.types.length ?? 0, rules: state.mapping?.rules.length ?? 0,
      problem: mappingProblem(parts),
      warnings: [...state.warnings, ...idle, ...unknownPending(parts)],
    },
    hosts: book.all.map(({ host, generation }) => ({ host: host.id, generation, generationSeen: host.ordersSeen.generation })),
    counts: { hosts: hostCounts, vwns: countVwns(db), jobs: countJobs(db) },
  }
}

function failureOf(error: VwnError): { code: string; message: string; hint: string } {
  const { code, message, hint } = errorReply(error)
  return { code, message, hint }
}
