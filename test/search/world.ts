/**
 * A whole farm as one plain value: the controller's database, two baits with their VMs and jobs, and the messages between them. Time is left
 * out: whatever may happen some day may happen now. The decisions are the real ones, handed in as a `Brain`, so that a test can plant bugs.
 */
import type { Amount } from '../../core/amount.ts'
import type { Failure } from '../../core/failure.ts'
import * as hosts from '../../core/host.ts'
import { hostId, imageDigest, jobId, typeName, vwnId, type HostId, type JobId, type VwnId } from '../../core/ids.ts'
import * as jobs from '../../core/job.ts'
import type { LeaseToken } from '../../core/lease.ts'
import type { Fallback, Mapping } from '../../core/mapping.ts'
import * as observe from '../../core/observe.ts'
import * as pools from '../../core/pools.ts'
import * as reconciling from '../../core/reconcile.ts'
import type { ReusePolicy, Sharer } from '../../core/reuse.ts'
import * as schedule from '../../core/schedule.ts'
import * as vwns from '../../core/vwn.ts'

/** Every decision that a farm makes. */
export interface Brain {
  readonly step: typeof vwns.step
  readonly eventsFrom: typeof observe.eventsFrom
  readonly plan: typeof schedule.plan
  readonly planPools: typeof pools.planPools
  readonly hear: typeof hosts.hear
  readonly reconcile: typeof reconciling.reconcile
  readonly isNews: typeof reconciling.isNews
  readonly stepJob: typeof jobs.step
}

/** The code that is shipped. */
export const realBrain: Brain = {
  step: vwns.step, eventsFrom: observe.eventsFrom, plan: schedule.plan, planPools: pools.planPools, hear: hosts.hear,
  reconcile: reconciling.reconcile, isNews: reconciling.isNews, stepJob: jobs.step,
}

export interface LocalVwn {
  readonly token: LeaseToken
  readonly state: reconciling.LocalState
  readonly job: JobId | null
  readonly jobOver: boolean
  readonly cause: Failure | null
  /** The class of those whose jobs were in it: there may only ever be one. */
  readonly served: string | null
}

export interface Report {
  readonly beat: Omit<hosts.Heartbeat, 'capacity' | 'images' | 'broken'>
  readonly tells: Sighting
}

/** What there is on a host. */
export interface Sighting {
  readonly vwns: readonly observe.ObservedVwn[]
  readonly live: readonly { readonly job: JobId; readonly state: jobs.JobState; readonly vwn: VwnId | null }[]
  readonly ended: readonly { readonly job: JobId; readonly vwn: VwnId | null; readonly outcome: string }[]
}

export interface Orders {
  /** As the controller knew it. */
  readonly session: string
  readonly term: number
  readonly generation: number
  readonly says: Demand
}

/** What is wanted of a host. */
export interface Demand {
  readonly vwns: readonly ({ readonly vwn: VwnId; readonly owner: Sharer | null } & reconciling.Wanted)[]
  readonly refused: readonly { readonly job: JobId; readonly failure: Failure }[]
  /** These are to run on the host itself. */
  readonly bare: readonly JobId[]
  readonly acknowledged: readonly JobId[]
}

/** One host: what is really there, what the controller believes, and what is on the way. */
export interface Site {
  readonly id: HostId
  // the bait, and what survives it
  bootId: number
  session: number
  seq: number
  orders: Orders | null
  locals: ReadonlyMap<VwnId, LocalVwn>
  jobs: ReadonlyMap<JobId, jobs.Job>
  // the mail
  reports: readonly Report[]
  mail: readonly Orders[]
  // the controller's records of it
  host: hosts.Host
  /** The number that was given last, and the one of the newest orders. */
  generation: number
  posted: number
  /** The newest report since the controller started. */
  known: Sighting | null
}

export interface World {
  term: number
  rows: readonly vwns.Vwn[]
  /** Ended jobs as the controller's history has them. */
  history: ReadonlyMap<JobId, string>
  sites: readonly Site[]
  faultsLeft: number
  /** How often each job was really started. */
  starts: ReadonlyMap<JobId, number>
  /** Jobs that something happened to: only they may be refused, cancelled or lost. */
  excused: ReadonlySet<JobId>
  /** The administrator has asked that nothing be kept ready any more. */
  poolOver: boolean
  /** Something happened to a VM or a host: only then may a VWN have a cause. */
  harmed: boolean
  /** The first broken promise. */
  broken: string | null
}

/** Who wants what of which host. */
export interface Scenario {
  readonly name: string
  readonly capacity: Amount
  readonly mapping: Mapping
  readonly jobs: readonly ({ readonly id: JobId; readonly host: HostId; readonly uid: number } & Partial<Sharer>)[]
  readonly vwnsMax: number
  readonly faults: number
  /** Why no guest starts on h1. */
  readonly broken?: string
}

export const image = imageDigest('0'.repeat(64))
export const el9 = typeName('el9')
export const one: Amount = { cpus: 1, memoryMib: 1, scratchGib: 1 }

export const mappingWith = (limits: { readonly perType: number | null; readonly reuse: ReusePolicy; readonly ready?: number; readonly perUser?: number; readonly fallback?: Fallback }): Mapping => ({
  types: [{
    name: el9, image: 'el9', shape: one, network: 'isolated', mounts: [], directory: null, bootMs: 1, limit: limits.perType, pool: { min: limits.ready ?? 0, max: limits.ready ?? 0, memoryShare: 1 },
    limits: { reuse: limits.reuse, jobsRunMax: 9, ageMsMax: 9, idleMsMax: 9 },
  }],
  rules: [],
  default: { name: 'default', match: {}, type: el9, allow: [], limits: { perUser: limits.perUser ?? null }, fallback: limits.fallback ?? 'requeue' },
})

/** True where VWNs are kept ready. */
export const keepsReady = ({ mapping }: Scenario): boolean => mapping.types.some(({ pool }) => pool.max > 0)

/** Everything is new, and every job has just been accepted by its bait. */
export function beginning({ capacity, jobs: wanted, faults }: Scenario): World {
  const site = (name: string): Site => {
    const id = hostId(name)
    const mine = wanted.filter(({ host }) => host === id)
    return {
      id, bootId: 1, session: 1, seq: 0, orders: null, locals: new Map(), jobs: new Map(mine.map((job) => [job.id, jobs.acceptJob(job.id, 0)])),
      reports: [], mail: [], host: { ...hosts.newHost(id), capacity }, generation: 0, posted: 0, known: null,
    }
  }
  return {
    term: 1, rows: [], history: new Map(), sites: [site('h1'), site('h2')], faultsLeft: faults,
    starts: new Map(), excused: new Set(), poolOver: false, harmed: false, broken: null,
  }
}

/** A copy that may be changed without changing the original; everything below sites is never changed in place. */
export const copy = (world: World): World => ({ ...world, sites: world.sites.map((site) => ({ ...site })) })

/** Who a job is: each of a group of its own and of no project, unless the scenario says otherwise. */
export const sharerIn = (scenario: Scenario, id: JobId): Sharer => {
  const { uid = 0, gid = uid, project = null } = scenario.jobs.find((each) => each.id === id) ?? {}
  return { uid, gid, project }
}

export const job = (text: string): JobId => jobId(text)
export const vwn = (number: number): VwnId => vwnId(`v${number}`)

/** Notes the first broken promise. */
export function promise(world: World, holds: boolean, what: string): void {
  if (!holds) world.broken ??= what
}

/** Rows for which it matters what orders a bait has followed: only it can prove them gone. */
export const needsProof = (row: vwns.Vwn): boolean => row.state === 'stopping' || row.state === 'fencing'

/**
 * Two worlds that differ only in how far counters have run are one. Everything in the farm compares numbers or counts on from the largest, so
 * each is replaced by its rank; and of those that nobody will compare any more, nothing is kept.
 */
export function normal(world: World): World {
  const next = copy(world)
  const term = ranks([world.term, ...world.sites.flatMap(({ orders, mail }) => [...mail, ...(orders === null ? [] : [orders])].map((each) => each.term))])
  next.term = term(world.term)
  next.rows = next.rows.map((row) => (row.state === 'gone' ? { ...row, generation: 0, jobsRun: 0, insist: false, cause: null } : row))
  for (const site of next.sites) {
    const { host, orders, mail, reports } = site
    const letters = [...mail, ...(orders === null ? [] : [orders])]
    const proofs = next.rows.filter((row) => row.host === site.id && needsProof(row)).map((row) => row.generation)
    const generation = ranks([...proofs, site.generation, site.posted, ...letters.map((each) => each.generation)])
    const proven = (seen: number): number => generation(Math.max(0, ...proofs.filter((proof) => proof <= seen)))
    const seq = ranks([site.seq, host.seq, ...reports.map(({ beat }) => beat.seq)])
    const session = ranks([site.session, host.startedAtMs, ...reports.map(({ beat }) => beat.startedAtMs), ...letters.map((each) => countOf(each.session))])
    const boot = ranks([site.bootId, countOf(host.bootId), ...reports.map(({ beat }) => countOf(beat.bootId))])
    const ranked = { seq, session, boot, proven }
    const rankOrders = (each: Orders): Orders => {
      const numbers = { session: `s${session(countOf(each.session))}`, term: term(each.term), generation: generation(each.generation) }
      return numbers.session === each.session && numbers.term === each.term && numbers.generation === each.generation ? each : { ...each, ...numbers }
    }
    next.rows = next.rows.map((row) => (row.host === site.id ? { ...row, generation: needsProof(row) ? generation(row.generation) : 0 } : row))
    const { bootId, ...beat } = rankedBeat({ ...host, bootId: host.bootId ?? '' }, ranked)
    site.host = { ...host, ...beat, bootId: host.bootId === null ? null : bootId, ordersSeen: { term: 0, generation: 0 } }
    Object.assign(site, { seq: seq(site.seq), session: session(site.session), bootId: boot(site.bootId) })
    Object.assign(site, { generation: generation(site.generation), posted: generation(site.posted) })
    site.orders = orders === null ? null : rankOrders(orders)
    site.mail = mail.map(rankOrders)
    site.reports = reports.map((report) => {
      const beat = rankedBeat(report.beat, ranked)
      return JSON.stringify(beat) === JSON.stringify(report.beat) ? report : { ...report, beat }
    })
  }
  return next
}

type Rank = (value: number) => number
/** Of `b2` or `s2`: 2. */
const countOf = (id: string | null): number => Number(id?.slice(1) ?? 0)

const rankedBeat = (beat: Report['beat'], rank: { readonly seq: Rank; readonly session: Rank; readonly boot: Rank; readonly proven: Rank }): Report['beat'] => ({
  bootId: `b${rank.boot(countOf(beat.bootId))}`, session: beat.session === '' ? '' : `s${rank.session(beat.startedAtMs)}`, startedAtMs: rank.session(beat.startedAtMs),
  seq: rank.seq(beat.seq), ordersSeen: { term: 0, generation: rank.proven(beat.ordersSeen.generation) },
})

/** 0 stays 0; every other number becomes its place among the numbers that occur. */
function ranks(numbers: readonly number[]): Rank {
  const order = new Map([...new Set([0, ...numbers])].sort((a, b) => a - b).map((value, index) => [value, index]))
  return (value) => order.get(value) ?? 0
}

/** How free a world is: one with more faults to come and fewer excuses can do, and must keep, all that another one can and must. */
export interface Freedom {
  readonly faultsLeft: number
  readonly harmed: boolean
  readonly excused: ReadonlySet<JobId>
}

/** True when everything that can go wrong from a world like `b` can go wrong from one like `a`. */
export const covers = (a: Freedom, b: Freedom): boolean =>
  a.faultsLeft >= b.faultsLeft && (!a.harmed || b.harmed) && [...a.excused].every((id) => b.excused.has(id))

/** Equal for worlds that are equal but for their freedom, and only for them. */
export function keyOf(world: World): string {
  const rows = world.rows.map((row) => [
    row.id, row.host, row.state, row.insist, row.generation, row.job, row.jobsRun, row.owner?.uid, row.owner?.gid, row.owner?.project, row.pooled,
  ].join(' '))
  const sites = world.sites.map((site) => [
    site.bootId, site.session, site.seq, site.generation, site.posted, site.host.fact, site.host.bootId, site.host.session, site.host.seq,
    text(site.orders), text(site.locals), text(site.jobs), text(site.known), ...site.reports.map(text), 'mail', ...site.mail.map(text),
  ].join('|'))
  return `${world.term} ${world.poolOver} ${[...world.history].sort().join()} ${[...world.starts].sort().join()} ${rows.join(';')} ${sites.join('#')}`
}

const texts = new WeakMap<object, string>()

/** The text of a value that never changes, made once. Maps are compared by what they hold. */
export function text(value: object | null): string {
  if (value === null) return ''
  const known = texts.get(value)
  if (known !== undefined) return known
  const made = JSON.stringify(value, (_name, part: unknown) => (part instanceof Map ? [...part].sort() : part))
  texts.set(value, made)
  return made
}
