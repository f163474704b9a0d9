/**
 * One turn of the scheduler: every waiting job in the order of arrival, each against what the jobs before it have left. The whole turn
 * is decided on a working copy, so it never gives the same room twice.
 *
 * Nobody starves. A job that waits for room on a host holds it: what it needs is taken off that host for all later jobs, and spare
 * VWNs that it will need are closed to them, turn after turn, until everything is free together. That costs idle cores for a while; the
 * batch system has counted the job's cores on its host already, so what it waits for is only the memory and scratch that warm VWNs keep.
 */
import type { Amount } from './amount.ts'
import type { ErrorCode } from './errors.ts'
import { failure, type Failure } from './failure.ts'
import { closedBecause, type Host, type HostImage } from './host.ts'
import { compareIds, vwnId, type HostId, type JobId, type TypeName, type VwnId } from './ids.ts'
import { allowedBy, resolveType, type Mapping, type Resolution, type Rule, type VwnType, type Who } from './mapping.ts'
import { place, type Choice, type Hold, type HostSentence, type Made, type PlacementWant } from './placement.ts'
import { policyIn } from './reuse.ts'
import { isLive, isSpare, requestVwn, type Owner, type Vwn, type VwnRequest } from './vwn.ts'

/** A job without a place, and all that its placement depends on. */
export interface WaitingJob {
  readonly id: JobId
  readonly host: HostId
  readonly owner: Owner
  readonly groups: readonly string[]
  readonly queue: string | null
  readonly batchSystem: string | null
  readonly type: TypeName | null
  readonly cpus: number | null
  readonly memoryMib: number | null
  readonly scratchGib: number | null
  readonly submittedAtMs: number
}

/** VWNs that may fail to come up for one job before it is given back to the batch system. */
export const attemptsMax = 2

/** Ready VWNs that may fail a job before it is given none but its own. They cost it no attempt: they were not made for it. */
export const readyFailuresMax = 2

export type Decision = { readonly job: JobId; readonly why: string; readonly perHost: readonly HostSentence[]; readonly resolution: Resolution } & (
  | { readonly is: 'reuse'; readonly vwn: VwnId; readonly made: Made }
  | { readonly is: 'boot'; readonly request: VwnRequest }
  | { readonly is: 'wait'; readonly evict: readonly VwnId[]; readonly hold: Hold | null } // these spare VWNs are to be stopped for it
  | { readonly is: 'refused'; readonly failure: Failure }
  | { readonly is: 'bare' } // it runs on its host itself
)

export interface Farm {
  readonly hosts: readonly Host[]
  /** All that are not gone, and those gone ones that were meant for a waiting job: they count as attempts. */
  readonly vwns: readonly Vwn[]
  readonly mapping: Mapping
}

/** A decision for each waiting job that has no VWN yet, in the order in which they came. */
export const plan = (jobs: readonly WaitingJob[], farm: Farm, nowMs: number): readonly Decision[] => planned(jobs, farm, nowMs).decisions

/** As `plan`, with what those decisions leave behind: the VWNs as they would be, and what is kept for who waits on. */
export function planned(jobs: readonly WaitingJob[], farm: Farm, nowMs: number): { readonly decisions: readonly Decision[]; readonly vwns: readonly Vwn[]; readonly holds: readonly Hold[] } {
  const asking = new Set<JobId | null>(jobs.map(({ id }) => id))
  const theirs = farm.vwns.filter(({ job }) => asking.has(job))
  const placed = new Set(theirs.filter(isLive).map(({ job }) => job))
  const waiting = jobs.filter(({ id }) => !placed.has(id))
  const queue = [...waiting].sort((a, b) => a.submittedAtMs - b.submittedAtMs || compareIds(a.id, b.id))
  const turn: Turn = { vwns: farm.vwns, holds: [], over: theirs.filter((vwn) => !isLive(vwn)) }
  const decisions = queue.map((job) => decide(job, farm, turn, nowMs))
  return { decisions, vwns: turn.vwns, holds: turn.holds }
}

/**
 * Of the VWNs of a farm, those that the places of these jobs can depend on: of a large one few. Where no limit counts VWNs of other hosts, that are those of
 * the hosts where the jobs were dispatched, and the others are not even looked at.
 */
export function concerning(jobs: readonly WaitingJob[], { types, rules, default: otherwise }: Mapping, vwns: { readonly all: () => readonly Vwn[]; readonly on: (host: HostId) => readonly Vwn[] }): readonly Vwn[] {
  const hosts = new Set(jobs.map(({ host }) => host))
  const limited = new Set(types.filter(({ limit }) => limit !== null).map(({ name }) => name))
  const countsUsers = [...rules, ...(otherwise === null ? [] : [otherwise])].some(({ limits }) => limits.perUser !== null)
  if (limited.size === 0 && !countsUsers) return [...hosts].flatMap(vwns.on)
  const users = new Set(countsUsers ? jobs.map(({ owner }) => owner.uid) : [])
  return vwns.all().filter(({ host, type, owner }) => hosts.has(host) || limited.has(type) || (owner !== null && users.has(owner.uid)))
}

type Asking = Omit<WaitingJob, 'id' | 'host' | 'submittedAtMs'>

/** What a job wants where it does not leave the size to its type. */
export type WantedShape = Pick<WaitingJob, keyof Amount>

/** A place in a VWN, or on the host itself. */
export type Place = Choice | { readonly is: 'bare'; readonly why: string }

/** What the mapping says, and where it leads to; no place where the mapping refuses. */
export interface Explained {
  readonly resolution: Resolution
  readonly placement: (Place & { readonly perHost: readonly HostSentence[] }) | null
}

/** What one job would get if it came now and nobody waited; without a host to be pinned to, on any. */
export function explainPlacement(job: Asking & { readonly host: HostId | null }, farm: Farm, nowMs: number): Explained {
  const resolution = resolveType(farm.mapping, whoOf(job))
  if (resolution.is === 'refused') return { resolution, placement: null }
  if (resolution.is === 'bare') return { resolution, placement: { perHost: [], ...onHost(job.host, resolution.rule, farm.hosts) } }
  const placement = place(wantOf(job, resolution, true), farm.hosts, farm.vwns, [], nowMs)
  return { resolution, placement: { ...fallenBack(resolution.rule, placement), perHost: placement.perHost } }
}

/** The working copy of one turn. */
interface Turn {
  vwns: readonly Vwn[]
  holds: readonly Hold[]
  /** VWNs of jobs that wait, which had come to their end, or were on the way to it, when the turn began. */
  readonly over: readonly Vwn[]
}

function decide(job: WaitingJob, farm: Farm, turn: Turn, nowMs: number): Decision {
  const resolution = resolveType(farm.mapping, whoOf(job))
  const base = { job: job.id, resolution, perHost: [] }
  if (resolution.is === 'refused') return { ...base, is: 'refused', why: resolution.why, failure: failure(resolution.code, resolution.why) }
  if (resolution.is === 'bare') return { ...base, ...onHost(job.host, resolution.rule, farm.hosts) }
  // A warm VWN that ends while it is kept for a job tells of the job before, not of this one: only those that never ran any count.
  const failed = turn.over.filter((vwn) => vwn.job === job.id && vwn.jobsRun === 0)
  const attempts = failed.filter(({ pooled }) => !pooled)
  if (attempts.length >= attemptsMax) return { ...base, ...fallenBack(resolution.rule, { is: 'refused', ...spent(attempts) }) }
  const want = wantOf(job, resolution, failed.length - attempts.length < readyFailuresMax)
  const placement = place(want, farm.hosts, turn.vwns, turn.holds, nowMs)
  return { ...base, perHost: placement.perHost, ...take(job, want, fallenBack(resolution.rule, placement), turn, nowMs) }
}

/** Enters a placement into the working copy. */
function take(job: WaitingJob, want: PlacementWant, placement: Place, turn: Turn, nowMs: number) {
  const { why } = placement
  switch (placement.is) {
    case 'reuse':
      turn.vwns = turn.vwns.map((vwn) => (vwn.id === placement.vwn ? given(vwn, job) : vwn))
      return { is: 'reuse' as const, why, vwn: placement.vwn, made: placement.made }
    case 'boot': {
      const request = requestFor(job, want, placement)
      turn.vwns = [...turn.vwns, requestVwn(request, vwnId(`new-${job.id}`), { term: 0, epoch: 0 }, { nowMs, generation: 0 })]
      return { is: 'boot' as const, why, request }
    }
    case 'makeRoom': {
      const hold: Hold = { host: placement.host, amount: want.shape, vwns: [] }
      turn.vwns = turn.vwns.map((vwn) => (placement.evict.includes(vwn.id) ? { ...vwn, state: 'stopping' } : vwn))
      turn.holds = [...turn.holds, hold]
      return { is: 'wait' as const, why, evict: placement.evict, hold }
    }
    case 'wait':
      if (placement.hold !== null) turn.holds = [...turn.holds, placement.hold]
      return { is: 'wait' as const, why, evict: [], hold: placement.hold }
    case 'refused': return { is: 'refused' as const, why, failure: placement.failure }
    case 'bare': return { is: 'bare' as const, why }
    default: return placement satisfies never
  }
}

/** Where a job goes that needs no VWN: to its host itself, as soon as that takes jobs. */
function onHost(id: HostId | null, { name }: Rule, hosts: readonly Host[]) {
  const why = `rule ${name} runs it on the host itself`
  const host = hosts.find((each) => each.id === id)
  const closed = id === null ? null : host === undefined ? `its host ${id} is not known` : closedBecause(host)
  if (closed === null) return { is: 'bare' as const, why }
  if (host?.want === 'closed') return { is: 'refused' as const, why: `${host.id}: ${closed}`, failure: failure('HOST_CLOSED', `${host.id}: ${closed}`) }
  return { is: 'wait' as const, why: `${why}, but ${closed}`, evict: [], hold: null }
}

/** What says that no guest starts on this host, whoever asks. */
const hostFailures: ReadonlySet<string> = new Set<ErrorCode>(['ACCELERATOR_UNUSABLE', 'HYPERVISOR_MISSING', 'HYPERVISOR_FAILED'])

/** The same place, or what its rule makes of a refusal that the host alone is to blame for. */
function fallenBack<P extends Place>({ name, fallback }: Rule, place: P): P | Extract<Place, { is: 'bare' | 'refused' }> {
  if (place.is !== 'refused' || fallback === 'requeue' || !hostFailures.has(place.failure.code)) return place
  if (fallback === 'bare') return { is: 'bare', why: `${place.why}; rule ${name} then runs it on the host itself` }
  return { is: 'refused', why: place.why, failure: failure('FALLBACK_REFUSED', `rule=${name} ${place.failure.message}`) }
}

/** The VWN as it is once it is this job's. */
export const given = (vwn: Vwn, job: Pick<WaitingJob, 'id' | 'owner'>): Vwn =>
  ({ ...vwn, state: vwn.state === 'idle' ? 'busy' : vwn.state, job: job.id, owner: vwn.owner ?? job.owner })

function spent(failed: readonly Vwn[]): { readonly why: string; readonly failure: Failure } {
  const last = [...failed].sort((a, b) => compareIds(a.id, b.id)).at(-1)
  const names = failed.map(({ id }) => id).sort(compareIds).join(', ')
  return { why: `${names} did not come up`, failure: last?.cause ?? failure('JOB_ATTEMPTS_SPENT', names) }
}

const requestFor = (job: WaitingJob, { type }: PlacementWant, { host, image, shape }: Extract<Choice, { is: 'boot' }>): VwnRequest =>
  ({ ...makingOf(type, shape, host, image), owner: job.owner, job: job.id })

/** What a VWN of this type and size is made from on a host that has this image, whoever it is for. */
export const makingOf = (type: VwnType, shape: Amount, host: HostId, image: HostImage): Omit<VwnRequest, 'owner' | 'job'> => ({
  host, shape, type: type.name, image: image.digest, contact: image.contact, network: type.network, bootMs: type.bootMs,
  limits: { ...type.limits, reuse: policyIn(image.contact, type.limits.reuse) },
})

const whoOf = (job: Asking): Who =>
  ({ user: job.owner.user, groups: job.groups, queue: job.queue, project: job.owner.project, batchSystem: job.batchSystem, requestedType: job.type })

function wantOf(job: Asking & { readonly host: HostId | null }, { rule, type }: Extract<Resolution, { is: 'matched' }>, takesReady: boolean): PlacementWant {
  const { perUser } = rule.limits
  const types = allowedBy(rule)
  return { type, takesReady, shape: shapeOf(job, type.shape), owner: job.owner, pinnedHost: job.host, perUser: perUser === null ? null : { max: perUser, types } }
}

/** What a job must get of a type of this usual size. */
export const shapeOf = (job: WantedShape, usual: Amount): Amount =>
  ({ cpus: job.cpus ?? usual.cpus, memoryMib: job.memoryMib === null ? usual.memoryMib : withGuest(job.memoryMib), scratchGib: job.scratchGib ?? usual.scratchGib })

/** Kernel, agent, ssh server, and the pages of files that they and the job read again and again; with 128, a job that uses all of its own thrashes. */
const guestMib = 160
/** One in so many is for what grows with the memory: the kernel's tables of pages (one in 64), and what it never gives away. */
const guestShare = 32

/**
 * What a VM must have for a job to get the memory that it asked for, and no less: a kernel, which keeps a part of all memory for its tables,
 * and an agent with an ssh server are there too. The job's own bound, in the guest, is what it asked for.
 */
export const withGuest = (jobMib: number): number => jobMib + guestMib + Math.ceil(jobMib / guestShare)

/** Spare VWNs that should go although nobody needs their room: their host takes no more jobs. */
export function retired(vwns: readonly Vwn[], hosts: readonly Host[]): readonly VwnId[] {
  const leaving = new Set(hosts.filter(({ want }) => want !== 'open').map(({ id }) => id))
  return vwns.filter((vwn) => leaving.has(vwn.host) && isSpare(vwn)).map(({ id }) => id).sort(compareIds)
}
