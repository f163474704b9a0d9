/**
 * Where one job runs: a warm VWN, a new one on some host, not yet, or never; with one sentence for each host that it may run on. Same snapshot, same
 * answer, whatever the order of hosts and VWNs: ties end in ids.
 *
 *   feasible hosts → a warm VWN that the job may share, else a ready one that is nobody's (fewest jobs, then id)
 *                  → one that soon is, what it may share first
 *                  → a host with room (tightest hole, then id)
 *                  → a host where stopping spare VWNs makes room: nobody's first, then idle ones of others (fewest, then tightest, then id)
 *                  → wait, or refuse when waiting cannot help
 */
import { add, fits, noAmount, sameAmount, shortOf, subtract, withoutCpus, type Amount } from './amount.ts'
import { failure, type Failure } from './failure.ts'
import { closedBecause, type Host, type HostImage } from './host.ts'
import { compareIds, type HostId, type ImageDigest, type TypeName, type VwnId } from './ids.ts'
import type { VwnType } from './mapping.ts'
import { mismatch } from './reuse.ts'
import { isNobodys, isSpare, isUnclaimed, type Owner, type Vwn, type VwnState } from './vwn.ts'

/** What one job asks for, once the mapping has spoken. */
export interface PlacementWant {
  readonly type: VwnType
  /** What the job asked for, else what its type gives: no VWN that it gets has less, nor other processors. */
  readonly shape: Amount
  readonly owner: Owner
  /** Where the batch system has dispatched it; null for a question without a job. */
  readonly pinnedHost: HostId | null
  /** VWNs of this user over these types at a time; null is no limit. */
  readonly perUser: { readonly max: number; readonly types: readonly TypeName[] } | null
  /** False: those that stood ready have failed it, so it gets one that is made for it. */
  readonly takesReady: boolean
}

/** How a job came by its VWN: made for it, or ready before it came and fresh, or used by its user before. */
export const mades = ['new', 'ready', 'reused'] as const
export type Made = (typeof mades)[number]

export interface HostSentence {
  readonly host: HostId
  readonly why: string
}

/** `makeRoom`: stop these spare VWNs, and ask again when they are gone. */
export type Choice = { readonly why: string } & (
  | { readonly is: 'reuse'; readonly vwn: VwnId; readonly host: HostId; readonly made: Made }
  | { readonly is: 'boot'; readonly host: HostId; readonly image: HostImage; readonly shape: Amount }
  | { readonly is: 'makeRoom'; readonly host: HostId; readonly evict: readonly VwnId[] }
  | { readonly is: 'wait'; readonly hold: Hold | null }
  | { readonly is: 'refused'; readonly failure: Failure }
)
export type Placement = Choice & { readonly perHost: readonly HostSentence[] }

/** What is kept for a job that waits for room: an amount of a host, and spare VWNs that nobody may take up. */
export interface Hold {
  readonly host: HostId
  readonly amount: Amount
  readonly vwns: readonly VwnId[]
}

interface Snapshot {
  readonly want: PlacementWant
  readonly hosts: readonly Host[]
  readonly vwns: readonly Vwn[]
  readonly holds: readonly Hold[]
  readonly nowMs: number
}

/** One host's answer. `rank` orders equals: lower is better, id breaks ties. */
type Answer = { readonly host: HostId; readonly why: string } & (
  | { readonly is: 'warm'; readonly vwn: Vwn }
  | { readonly is: 'room'; readonly image: HostImage; readonly shape: Amount; readonly left: Amount }
  | { readonly is: 'evict'; readonly evict: readonly VwnId[]; readonly left: Amount }
  | { readonly is: 'later'; readonly hold: Hold | null }
  | { readonly is: 'never'; readonly failure: Failure }
)

/** The place for one job among these hosts and VWNs. */
export function place(want: PlacementWant, hosts: readonly Host[], vwns: readonly Vwn[], holds: readonly Hold[], nowMs: number): Placement {
  const looked = want.pinnedHost === null ? [...hosts].sort((a, b) => compareIds(a.id, b.id)) : hosts.filter(({ id }) => id === want.pinnedHost)
  const counts = (vwn: Vwn): boolean => vwn.state !== 'gone' && (want.pinnedHost === null || matters(vwn, want.pinnedHost, want))
  const snapshot: Snapshot = { want, hosts, vwns: vwns.filter(counts), holds, nowMs }
  const answers = looked.map((host) => answerOf(host, snapshot))
  const perHost = answers.map(({ host, why }) => ({ host, why }))
  return { ...choose(want, answers), perHost }
}

function choose(want: PlacementWant, answers: readonly Answer[]): Choice {
  const warm = least(answers.filter((answer) => answer.is === 'warm'), (a, b) => byUse(a.vwn, b.vwn))
  if (warm !== null) return { is: 'reuse', vwn: warm.vwn.id, host: warm.host, made: madeOf(warm.vwn), why: warm.why }
  const room = least(answers.filter((answer) => answer.is === 'room'), byHole)
  if (room !== null) return { is: 'boot', host: room.host, image: room.image, shape: room.shape, why: room.why }
  const evict = least(answers.filter((answer) => answer.is === 'evict'), (a, b) => a.evict.length - b.evict.length || byHole(a, b))
  if (evict !== null) return { is: 'makeRoom', host: evict.host, evict: evict.evict, why: evict.why }
  const later = answers.filter((answer) => answer.is === 'later')
  const hold = later.find((answer) => answer.hold !== null)?.hold ?? null
  const [only] = later
  if (only !== undefined) return { is: 'wait', hold, why: later.length === 1 ? `${only.host}: ${only.why}` : `none of ${later.length} hosts can take it now` }
  const never = answers.find((answer) => answer.is === 'never')
  if (never === undefined) return { is: 'wait', hold: null, why: want.pinnedHost === null ? 'there is no host' : `its host ${want.pinnedHost} is not known` }
  return { is: 'refused', failure: never.failure, why: `${never.host}: ${never.why}` }
}

/** States in which a VWN may be given to a job, the soonest available first. */
const available: readonly VwnState[] = ['idle', 'cleaning', 'booting', 'preparing', 'requested']
const byUse = (a: Vwn, b: Vwn): number =>
  turnOf(a) - turnOf(b) || available.indexOf(a.state) - available.indexOf(b.state) || a.jobsRun - b.jobsRun || compareIds(a.id, b.id)
const turnOf = ({ state, owner }: Vwn): number => (state === 'idle' ? 0 : 2) + (owner === null ? 1 : 0)
const madeOf = ({ jobsRun, state }: Vwn): Made => (jobsRun > 0 ? 'reused' : state === 'idle' ? 'ready' : 'new')
const byHole = (a: { readonly left: Amount; readonly host: HostId }, b: { readonly left: Amount; readonly host: HostId }): number =>
  a.left.cpus - b.left.cpus || a.left.memoryMib - b.left.memoryMib || a.left.scratchGib - b.left.scratchGib || compareIds(a.host, b.host)
const least = <T>(values: readonly T[], compare: (a: T, b: T) => number): T | null => [...values].sort(compare)[0] ?? null

function answerOf(host: Host, snapshot: Snapshot): Answer {
  const { want } = snapshot
  const never = (code: Parameters<typeof failure>[0], why: string): Answer => ({ is: 'never', host: host.id, why, failure: failure(code, `${host.id}: ${why}`) })
  if (host.want === 'closed') return never('HOST_CLOSED', 'an operator has closed it')
  const closed = closedBecause(host)
  if (closed !== null) return { is: 'later', host: host.id, why: closed, hold: null }
  const image = imageOn(host, want.type.image)
  if (image === null) return never('IMAGE_NOT_ON_HOST', `it does not have image ${want.type.image}`)
  const short = shortOf(want.shape, host.capacity)
  if (short.length > 0) return never('HOST_TOO_SMALL', short.map((name) => `${want.shape[name]} ${words[name]} wanted, ${host.capacity[name]} there`).join(', '))
  if (want.type.limit === 0) return never('LIMIT_IS_ZERO', `type ${want.type.name} has limit 0`)
  if (want.perUser?.max === 0) return never('LIMIT_IS_ZERO', `${want.owner.user} may have no VWN`)
  const most = mostOn(host, image, snapshot)
  // What is warm there already runs on; nothing new would.
  return warmOn(host, image, most, snapshot) ?? (host.broken === null ? roomOn(host, image, most, snapshot) : never('ACCELERATOR_UNUSABLE', host.broken))
}

const words = { cpus: 'cpus', memoryMib: 'MiB of memory', scratchGib: 'GiB of scratch' } as const

/** The image that a host has under this name or digest, or null. */
export const imageOn = (host: Pick<Host, 'images'>, image: string): HostImage | null =>
  least(host.images.filter(({ name, digest }) => name === image || digest === image), (a, b) => compareIds(a.digest, b.digest))

/**
 * The largest VWN that this job may have here. Ready ones and templates have their type's size, so a job that asks for less of memory and scratch
 * has the type's too, as long as that costs nobody anything: each processor that is then left must still find what the type gives with one. Where
 * they are what the host is short of, everybody gets what he asked for. So does a job in a guest without an agent: there the size is all that bounds it.
 */
function mostOn(host: Host, { contact }: HostImage, { want, vwns, holds }: Snapshot): Amount {
  const { shape, type: { shape: usual } } = want
  const roomy = { cpus: shape.cpus, memoryMib: Math.max(shape.memoryMib, usual.memoryMib), scratchGib: Math.max(shape.scratchGib, usual.scratchGib) }
  if (contact !== 'agent' || sameAmount(roomy, shape)) return shape
  const left = subtract(freeOn(host, vwns.filter((vwn) => !isSpare(vwn)), holds), roomy)
  const isPlenty = (name: 'memoryMib' | 'scratchGib'): boolean => left[name] * usual.cpus >= usual[name] * Math.max(0, left.cpus)
  return isPlenty('memoryMib') && isPlenty('scratchGib') ? roomy : shape
}

/**
 * A VWN that waits for the next job of those who share it, or soon will: it is being cleaned, or made for a job that was cancelled meanwhile.
 * Or one that is nobody's. Nothing has to go for its processors: those that none of the host's jobs has are free.
 */
function warmOn(host: Host, image: HostImage, most: Amount, { want, vwns, holds, nowMs }: Snapshot): Answer | null {
  const jobless = vwns.filter((vwn) => vwn.host === host.id && vwn.job === null && !holds.some((hold) => hold.vwns.includes(vwn.id)))
  const fit = jobless.filter((vwn) => available.includes(vwn.state) && mismatch(vwn, madeLike(want, image.digest, most), nowMs) === null)
  const vwn = least(fit.filter(({ owner }) => owner !== null || mayClaim(want, vwns)), byUse)
  if (vwn === null) return null
  const why = whyTaken(vwn, want)
  const { cpus } = want.shape
  const free = freeOn(host, vwns, holds).cpus
  if (cpus <= free) return { is: 'warm', host: host.id, vwn, why }
  const hold: Hold = { host: host.id, amount: { ...noAmount, cpus }, vwns: [vwn.id] }
  return { is: 'later', host: host.id, hold, why: `${why}, but ${cpus} cpus wanted, ${Math.max(0, free)} free` }
}

/** What was nobody's becomes the user's own, and counts as such. */
const mayClaim = (want: PlacementWant, vwns: readonly Vwn[]): boolean =>
  want.takesReady && (want.perUser === null || vwns.filter((vwn) => countsForUser(vwn, want)).length < want.perUser.max)

function whyTaken({ id, state, owner }: Vwn, want: PlacementWant): string {
  if (owner === null) return `${id} is ${state === 'idle' ? 'ready' : state}, nobody's yet`
  return state === 'idle' ? `${id} is warm` : `${id} is ${state}, and ${want.owner.user}'s next`
}

const madeLike = ({ type, shape, owner }: PlacementWant, image: ImageDigest, most: Amount) =>
  ({ type: type.name, image, network: type.network, shape, most, reuse: type.limits.reuse, owner })

/**
 * Room for a new VWN. All that stands in its way is counted alike: amounts of the host, places under the type's limit, places under the
 * user's. Spare VWNs never block anybody: they are stopped, nobody's before somebody's and the oldest first, as soon as that is all that is
 * needed. Room on its way (VWNs that are going) is waited for before a warm VWN is given up, but not where without a pool there were no wait.
 */
function roomOn(host: Host, image: HostImage, most: Amount, { want, hosts, vwns, holds }: Snapshot): Answer {
  const here = host.id
  const alive = new Set(hosts.filter(({ fact }) => fact === 'alive').map(({ id }) => id))
  const base: Room = { free: freeOn(host, [], holds), typePlaces: want.type.limit, userPlaces: want.perUser?.max ?? null }
  const left = (staying: readonly Vwn[], shape = want.shape): Amount => subtract(subtract(base.free, held(staying, here)), shape)
  const hold = (kept: readonly Vwn[]): Hold => ({ host: here, amount: want.shape, vwns: kept.map(({ id }) => id) })
  const evictSome = (spare: readonly Vwn[], rest: readonly Vwn[]): Extract<Answer, { is: 'evict' }> => {
    const kept = [...spare].reverse().filter(keepWhileItFits(base, rest, here, want))
    const evict = spare.filter((vwn) => !kept.includes(vwn))
    return { is: 'evict', host: here, evict: evict.map(({ id }) => id), left: left([...rest, ...kept]), why: `${listSpare(evict)} must go first` }
  }
  for (const shape of new Set([most, want.shape])) {
    if (gap(base, vwns, here, { ...want, shape }) === null) return { is: 'room', host: here, image, shape, left: left(vwns, shape), why: 'it has room' }
  }

  const spare = vwns.filter((vwn) => isSpare(vwn) && alive.has(vwn.host) && matters(vwn, here, want)).sort(byWorth)
  const going = vwns.filter((vwn) => isGoing(vwn) && alive.has(vwn.host))
  const nobodys = spare.filter(isUnclaimed)
  const somebodys = vwns.filter((vwn) => !nobodys.includes(vwn))
  // What is nobody's and going already may go for another job: this one needs more of them, if it can have them.
  for (const rest of [somebodys, somebodys.filter((vwn) => !(going.includes(vwn) && isNobodys(vwn)))]) {
    const evict = gap(base, rest, here, want) === null ? evictSome(nobodys, rest) : null
    if (evict !== null && evict.evict.length > 0) return evict
  }

  const staying = vwns.filter((vwn) => !going.includes(vwn))
  if (gap(base, staying, here, want) === null) {
    const awaited = list(going.filter((vwn) => matters(vwn, here, want)))
    return { is: 'later', host: here, hold: hold([]), why: `room is on its way: ${awaited} must be gone first` }
  }
  const rest = staying.filter((vwn) => !spare.includes(vwn))
  const stuck = gap(base, rest, here, want)
  // Spare VWNs alone do not suffice yet: nobody may take them up, or a stream of small jobs would starve this one.
  if (stuck !== null) return { is: 'later', host: here, hold: stuck.is === 'amount' ? hold(spare.filter((vwn) => vwn.host === here)) : null, why: stuck.why }
  return evictSome(spare, rest)
}

/** Puts spare VWNs back, the worthiest first, for as long as there is room beside them. */
function keepWhileItFits(base: Room, rest: readonly Vwn[], here: HostId, want: PlacementWant): (vwn: Vwn) => boolean {
  const staying = [...rest]
  return (vwn) => {
    if (gap(base, [...staying, vwn], here, want) !== null) return false
    staying.push(vwn)
    return true
  }
}

interface Room {
  readonly free: Amount
  readonly typePlaces: number | null
  readonly userPlaces: number | null
}

/** What is missing for one more VWN beside these, or null. */
function gap(room: Room, vwns: readonly Vwn[], here: HostId, want: PlacementWant): { readonly is: 'amount' | 'limit'; readonly why: string } | null {
  const ofType = vwns.filter((vwn) => vwn.type === want.type.name).length
  if (room.typePlaces !== null && ofType >= room.typePlaces) return { is: 'limit', why: `${ofType} of ${room.typePlaces} VWNs of type ${want.type.name} exist` }
  const ofUser = vwns.filter((vwn) => countsForUser(vwn, want)).length
  if (room.userPlaces !== null && ofUser >= room.userPlaces) return { is: 'limit', why: `${want.owner.user} has ${ofUser} of ${room.userPlaces} VWNs` }
  const free = subtract(room.free, held(vwns, here))
  const short = shortOf(want.shape, free)
  if (fits(want.shape, free)) return null
  return { is: 'amount', why: short.map((name) => `${want.shape[name]} ${words[name]} wanted, ${Math.max(0, free[name])} free`).join(', ') }
}

const countsForUser = (vwn: Vwn, want: PlacementWant): boolean => vwn.owner?.uid === want.owner.uid && (want.perUser?.types.includes(vwn.type) ?? false)
/** It takes room of this host, or a place under a limit. */
const matters = (vwn: Vwn, here: HostId, want: PlacementWant): boolean =>
  vwn.host === here || (want.type.limit !== null && vwn.type === want.type.name) || countsForUser(vwn, want)
/** A fenced VWN goes when its job ends, and nobody knows when that will be. */
const isGoing = (vwn: Vwn): boolean => vwn.state === 'stopping' || (vwn.state === 'fencing' && (vwn.job === null || vwn.insist))
const byWorth = (a: Vwn, b: Vwn): number => worthOf(a) - worthOf(b) || a.stateSinceMs - b.stateSinceMs || compareIds(a.id, b.id)
const worths = ['half-made', 'ready', 'idle'] as const
const worthOf = ({ owner, state }: Vwn): number => worths.indexOf(owner !== null ? 'idle' : state === 'idle' ? 'ready' : 'half-made')
const listSpare = (vwns: readonly Vwn[]): string =>
  worths.flatMap((word, worth) => {
    const some = vwns.filter((vwn) => worthOf(vwn) === worth)
    return some.length === 0 ? [] : [`${word} ${list(some)}`]
  }).join(' and ')
const list = (vwns: readonly Vwn[]): string =>
  [...vwns].sort((a, b) => compareIds(a.id, b.id)).map(({ id, owner }) => (owner === null ? id : `${id} of ${owner.user}`)).join(', ')

/** What nobody holds of a host, beside these VWNs and what jobs wait for. */
const freeOn = (host: Host, vwns: readonly Vwn[], holds: readonly Hold[]): Amount =>
  holds.reduce((left, hold) => (hold.host === host.id ? subtract(left, hold.amount) : left), subtract(host.capacity, held(vwns, host.id)))

/**
 * What the VWNs of a host hold of it: memory and scratch all that are not gone, processors those that have a job or are made for one. What is
 * merely warm or ready computes nothing (decision 0015).
 */
export const held = (vwns: readonly Vwn[], host: HostId): Amount =>
  vwns.reduce((sum, vwn) => (vwn.host === host && vwn.state !== 'gone' ? add(sum, vwn.job === null ? withoutCpus(vwn.shape) : vwn.shape) : sum), noAmount)
