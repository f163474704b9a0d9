/**
 * How many clones of each VWN type one host keeps ready: booted, paused, nobody's yet. Decided anew on every turn from levels alone: what
 * was asked for lately, what is there, what room is free beside jobs. Same levels, same answer, whatever the order of types and clones.
 *
 *   clones of a type   0 ───── floor ───── wanted ─────── kept ─────── ceiling ─────
 *   fewer than that         made first    made       │             │
 *   more than that                        left alone ┘  given back ┘   not allowed, given back
 *
 * No flapping: `kept` is what would be wanted at twice the demand, as it was one half-life ago if nobody has come since. So but for room
 * nothing goes within a half-life of being wanted, and between giving one back and making the next, demand has more than doubled. Demand
 * fades until it asks for nothing, so what is not used goes, in the end down to `min`.
 *
 * Room goes to jobs first, then to what `min` asks for, then to what is there, and only what is left to new ones: a type never takes from
 * another what that may still use. Each type gets its first before any gets its second. Clones that go hold their room until they are
 * gone, so no turn promises any twice.
 */
import { add, fits, noAmount, subtract, times, type Amount } from './amount.ts'
import { compareIds, type TypeName } from './ids.ts'

/** What the administrator wants of one type on each host. */
export interface PoolPolicy {
  /** Kept ready though nobody asks, where memory allows it. */
  readonly min: number
  readonly max: number
  /** Part of the host's memory, 0 to 1, that ready ones of this type may hold. */
  readonly memoryShare: number
}

/** Of a type that is never kept ready. */
export const noPool: PoolPolicy = { min: 0, max: 0, memoryShare: 0 }

/** How the pool of a host behaves, whatever the type. */
export interface PoolSettings {
  /** In this time demand counts for half, and what is not used begins to go. */
  readonly halfLifeMs: number
  /** For so long the ready ones should last without a new one: a burst of hand-overs, during which nothing is made. */
  readonly coverMs: number
  /** Clones that are made at once, over all types. */
  readonly makingsMax: number
}

/** A lonely job keeps one clone for some twenty minutes; a job every ten seconds keeps eight. */
export const poolSettings: PoolSettings = { halfLifeMs: 300_000, coverMs: 30_000, makingsMax: 2 }

/** More of one type than this are never kept on one host. */
export const readyMax = 500

/** Share of the moments of steady demand at which one should be ready. */
const coverage = 0.99

/** How much a type was asked for, fading by half in each half-life. */
export interface Demand {
  /** Jobs that came for this type, each counted by what is left of it. */
  readonly arrived: number
  /** Jobs that the batch system said were pending, when it spoke last. */
  readonly pending: number
  /** The most that it said. */
  readonly pendingPeak: number
  readonly asOfMs: number
}

/** What is known of a type that nobody has asked for. */
export const noDemand: Demand = { arrived: 0, pending: 0, pendingPeak: 0, asOfMs: 0 }

/** The same demand at a later moment; an earlier one changes nothing. */
export function aged(demand: Demand, nowMs: number, halfLifeMs: number): Demand {
  if (nowMs <= demand.asOfMs) return demand
  const left = leftAfter(nowMs - demand.asOfMs, halfLifeMs)
  return { arrived: demand.arrived * left, pending: demand.pending * left, pendingPeak: demand.pendingPeak * left, asOfMs: nowMs }
}

/** The demand with one more job. One that is told late counts for what would be left of it. */
export function arrived(demand: Demand, atMs: number, halfLifeMs: number): Demand {
  const now = aged(demand, atMs, halfLifeMs)
  return { ...now, arrived: now.arrived + leftAfter(now.asOfMs - atMs, halfLifeMs) }
}

/** The demand with what the batch system says now. It fades too, so a hook that has fallen silent keeps nothing for ever. */
export function reported(demand: Demand, pending: number, nowMs: number, halfLifeMs: number): Demand {
  const now = aged(demand, nowMs, halfLifeMs)
  return { ...now, pending, pendingPeak: Math.max(now.pendingPeak, pending) }
}

const leftAfter = (ms: number, halfLifeMs: number): number => 2 ** (-ms / halfLifeMs)

/** `going`: given back, but its room is not free yet. */
export interface Clone {
  readonly id: string
  readonly state: 'making' | 'ready' | 'going'
  readonly sinceMs: number
}

/** One type on this host; each is given once. */
export interface PoolType {
  readonly type: TypeName
  readonly policy: PoolPolicy
  readonly demand: Demand
  readonly clones: readonly Clone[]
  /** What one of them holds of the host. */
  readonly holds: Amount
  /** How long making one takes. */
  readonly makeMs: number
  /** Why each is booted; null where they are clones. A boot keeps a processor busy for as long as many clones, so it is begun alone. */
  readonly booted: string | null
  /** How many more may be made, though those that are there are good, and why not more than that. */
  readonly places: { readonly left: number; readonly why: string }
}

/** The host as far as the pool goes. */
export interface PoolHost {
  readonly capacity: Amount
  /** Held by everything but the pool. */
  readonly used: Amount
  /** Wanted by jobs that could run here if it were free; not by those that take a ready clone. */
  readonly waiting: Amount
  /** Hand-overs that wait for the processor. */
  readonly handOversWaiting: number
  /** Why it takes no more jobs; null while it does. */
  readonly closed: string | null
}

export interface GiveBack {
  readonly clone: string
  readonly why: string
}

/** What to do about one type, and the counts that it comes from. */
export interface PoolPlan {
  readonly type: TypeName
  readonly making: number
  readonly ready: number
  readonly going: number
  /** Fewer are filled up to this. */
  readonly wanted: number
  /** More are given back down to this. */
  readonly kept: number
  /** How many there will be in the end, as room is now. */
  readonly target: number
  readonly make: number
  readonly giveBack: readonly GiveBack[]
  /** How many are wanted for what reason, and why no more are made. */
  readonly why: string
}

/** What the pool of this host does now, for each type by name. */
export function planPool(types: readonly PoolType[], host: PoolHost, settings: PoolSettings, nowMs: number): readonly PoolPlan[] {
  const lines = [...types].sort((a, b) => compareIds(a.type, b.type)).map((each) => lineOf(each, host, settings, nowMs))
  const room = subtract(subtract(host.capacity, host.used), host.waiting)
  const granted = grant(lines.flatMap(slotsOf), room)
  const started = start(granted.filter(({ isNew }) => isNew), lines, host, settings.makingsMax, room)
  const forJobs = !fits(heldBy(lines, staying), room)
  return lines.map((line) => {
    const mine = granted.filter(({ type }) => type === line.it.type)
    const stay = mine.filter(({ isNew }) => !isNew).length
    const { made, held } = started.get(line.it.type) ?? { made: 0, held: null }
    return {
      type: line.it.type,
      making: count(line.it, 'making'),
      ready: count(line.it, 'ready'),
      going: count(line.it, 'going'),
      wanted: line.wanted,
      kept: line.kept,
      target: mine.length,
      make: made,
      giveBack: line.here.slice(stay).map(({ id }, index) => ({ clone: id, why: whyBack(line, stay + index, forJobs) })),
      why: `${line.wanted} wanted, ${line.because}: ${whyNotMore(line, made, held)}${line.wanted > 0 && line.it.booted !== null ? `; each is booted, for ${line.it.booted}` : ''}`,
    }
  })
}

/** The marks of one type on the scale above, and its clones: those that stay longest first. */
interface Line {
  readonly it: PoolType
  readonly here: readonly Clone[]
  readonly floor: number
  readonly wanted: number
  readonly kept: number
  readonly ceiling: number
  /** What sets the ceiling. */
  readonly limit: string
  /** What asks for as many as are wanted. */
  readonly because: string
}

/** The larger of recent arrivals and pending jobs counts, not their sum: jobs that pend now are the arrivals of the next minutes. */
function lineOf(it: PoolType, host: PoolHost, settings: PoolSettings, nowMs: number): Line {
  const { min } = it.policy
  const { ceiling, limit } = ceilingOf(it, host)
  const demand = aged(it.demand, nowMs, settings.halfLifeMs)
  const expected = demand.arrived * (Math.LN2 / settings.halfLifeMs) * (settings.coverMs + it.makeMs)
  const forArrivals = cover(expected)
  const pending = Math.round(demand.pending)
  const asked = Math.max(min, forArrivals, pending)
  const twice = Math.max(min, cover(2 * expected), Math.round(2 * demand.pendingPeak))
  return {
    it,
    here: it.clones.filter(({ state }) => state !== 'going').sort(byStay),
    floor: Math.min(min, ceiling),
    wanted: Math.min(asked, ceiling),
    kept: Math.min(twice, ceiling),
    ceiling,
    limit,
    because: whyAsked(min, forArrivals, pending) + (asked > ceiling ? `, but ${limit}` : ''),
  }
}

function whyAsked(min: number, forArrivals: number, pending: number): string {
  if (Math.max(min, forArrivals, pending) === 0) return 'nobody asks for it'
  if (min >= Math.max(forArrivals, pending)) return `min is ${min}`
  return forArrivals >= pending ? `${forArrivals} cover its arrivals` : `jobs pending: ${pending}`
}

function ceilingOf({ policy, holds }: PoolType, host: PoolHost): { readonly ceiling: number; readonly limit: string } {
  if (host.closed !== null) return { ceiling: 0, limit: host.closed }
  const shareMib = Math.floor(policy.memoryShare * host.capacity.memoryMib + 1e-6) // 0.29 × 100 is a hair under 29
  const shared = Math.floor(shareMib / Math.max(1, holds.memoryMib))
  const max = Math.min(policy.max, readyMax)
  return shared < max ? { ceiling: shared, limit: `its share of the memory holds ${shared}` } : { ceiling: max, limit: `${max} is the most` }
}

/** The fewest that suffice for a moment's arrivals, at independent moments and `mean` on average, in `coverage` of all cases. */
export function cover(mean: number): number {
  let chance = Math.exp(-mean) // of exactly `few` arrivals; 0 for a mean far above readyMax
  let sum = chance
  let few = 0
  while (!(sum >= coverage) && few < readyMax) {
    few += 1
    chance *= mean / few
    sum += chance
  }
  return few
}

/** Those that stay longest first. What is half made goes before what is ready, the newest of it first; of the ready the oldest goes first. */
function byStay(a: Clone, b: Clone): number {
  if (a.state !== b.state) return a.state === 'ready' ? -1 : 1
  return (a.state === 'ready' ? b.sinceMs - a.sinceMs : a.sinceMs - b.sinceMs) || compareIds(a.id, b.id)
}

/** A claim to room for one clone, there or still to be made. */
interface Slot {
  readonly type: TypeName
  readonly nth: number
  readonly isNew: boolean
  readonly rank: number
  readonly holds: Amount
  readonly booted: string | null
}

const ranks = { floor: 0, wantedThere: 1, unusedThere: 2, wantedNew: 3 } as const

function slotsOf(line: Line): Slot[] {
  const { type, holds, booted, places } = line.it
  const there = line.here.length
  const slots = Math.max(Math.min(there, line.kept), Math.min(line.wanted, there + places.left))
  const rank = (nth: number): number => {
    if (nth <= line.floor) return ranks.floor
    if (nth > there) return ranks.wantedNew
    return nth <= line.wanted ? ranks.wantedThere : ranks.unusedThere
  }
  return Array.from({ length: slots }, (_, index) => ({ type, nth: index + 1, isNew: index >= there, rank: rank(index + 1), holds, booted }))
}

/** The slots for which there is room, the most urgent first. What does not fit leaves its room to smaller ones of other types. */
function grant(slots: readonly Slot[], room: Amount): readonly Slot[] {
  let left = room
  return [...slots].sort(byUrgency).filter(({ holds }) => {
    if (!fits(holds, left)) return false
    left = subtract(left, holds)
    return true
  })
}

/** Equals stay in the order in which they come: by the names of their types. */
const byUrgency = (a: Slot, b: Slot): number => a.rank - b.rank || a.nth - b.nth

/** Of one type: how many are begun now, and why the next one is not. */
interface Started {
  readonly made: number
  readonly held: string | null
}

/** Begins what may be begun of these slots; room counts as it is, not as it will be when all that goes is gone. */
function start(slots: readonly Slot[], lines: readonly Line[], host: PoolHost, makingsMax: number, room: Amount): ReadonlyMap<TypeName, Started> {
  const started = new Map<TypeName, Started>()
  const handsFor = (booted: string | null): number => (booted === null ? 1 : makingsMax)
  let handsFree = makingsMax - lines.reduce((sum, { it }) => sum + count(it, 'making') * handsFor(it.booted), 0)
  let free = subtract(room, heldBy(lines, all))
  for (const { type, holds, booted } of slots) {
    const { made, held } = started.get(type) ?? { made: 0, held: null }
    const why = held ?? whyNotNow(holds, booted)
    started.set(type, { made: why === null ? made + 1 : made, held: why })
    if (why !== null) continue
    handsFree -= handsFor(booted)
    free = subtract(free, holds)
  }
  return started

  function whyNotNow(holds: Amount, booted: string | null): string | null {
    if (host.handOversWaiting > 0) return 'a hand-over waits for the processor'
    if (handsFree < handsFor(booted)) return booted === null ? `no more than ${makingsMax} are made at once` : 'one that is booted is made alone'
    return fits(holds, free) ? null : 'what is given back is not free yet'
  }
}

const count = (it: PoolType, state: Clone['state']): number => it.clones.filter((clone) => clone.state === state).length
const staying = ({ here, kept }: Line): number => Math.min(here.length, kept)
const all = ({ it }: Line): number => it.clones.length
const heldBy = (lines: readonly Line[], how: (line: Line) => number): Amount => lines.reduce((sum, line) => add(sum, times(line.it.holds, how(line))), noAmount)

function whyNotMore(line: Line, made: number, held: string | null): string {
  const missing = line.wanted - line.here.length
  if (missing <= 0) return `${line.here.length} there`
  if (made === missing) return `makes ${made}`
  const { holds, places } = line.it
  const reason = made === places.left ? places.why : (held ?? `no more of ${holds.memoryMib} MiB of memory, ${holds.scratchGib} GiB of scratch fit beside jobs and other clones`)
  return `makes ${made} of ${missing}, for ${reason}`
}

function whyBack(line: Line, index: number, forJobs: boolean): string {
  if (index >= line.ceiling) return line.limit
  if (index >= line.kept) return `${line.kept} are enough for what is asked now`
  return forJobs ? 'jobs need its room' : 'the min of another type needs its room'
}
