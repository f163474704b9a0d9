/**
 * Explicit-state search: every world that can be reached from the beginning, breadth first, each once. A promise that does not hold is found
 * with the shortest way to it. From every world reached, a network that works again and time that passes must lead to the end: every
 * job ended and on record, nothing left over anywhere.
 */
import { createHash } from 'node:crypto'
import { follow, send } from './bait.ts'
import { deliver, receive } from './controller.ts'
import { advanceJob, advanceVm, canAdvance, nexts } from './moves.ts'
import { isSpare } from '../../core/vwn.ts'
import { beginning, copy, covers, keepsReady, keyOf, normal, type Brain, type Freedom, type Scenario, type World } from './world.ts'

export interface Found {
  readonly states: number
  readonly transitions: number
  /** Worlds met on quiet ways to the end, beyond those reached otherwise. */
  readonly quietStates: number
  readonly tookMs: number
  /** False when the search was cut off by its bound. */
  readonly complete: boolean
  readonly violation: { readonly promise: string; readonly way: readonly string[] } | null
}

/** Where a search ends though it has not seen everything. */
export interface Bounds {
  readonly statesMax: number
  readonly ms: number
}

/** Searches until nothing is new, a promise is broken, or a bound is reached. */
export function search(scenario: Scenario, brain: Brain, bounds: Bounds): Found {
  const startedAtMs = performance.now()
  const tookMs = (): number => Math.round(performance.now() - startedAtMs)
  const steps: { readonly from: number; readonly label: string }[] = []
  const seen = new Map<string, Freedom[]>()
  const quiet = new Set<string>()
  let transitions = 0
  const found = (violation: Found['violation'], complete: boolean): Found =>
    ({ states: steps.length, transitions, quietStates: quiet.size, tookMs: tookMs(), complete, violation })
  const wayTo = (index: number): string[] => {
    const step = steps[index]
    return step === undefined || step.label === '' ? [] : [...wayTo(step.from), step.label]
  }
  let next: (readonly [number, World])[] = []
  const reach = (raw: World, from: number, label: string): void => {
    const world = normal(raw)
    const key = digest(world)
    const before = seen.get(key) ?? []
    if (before.some((freedom) => covers(freedom, world))) return
    seen.set(key, [...before, { faultsLeft: world.faultsLeft, harmed: world.harmed, excused: world.excused }])
    next.push([steps.push({ from, label }) - 1, world])
  }

  reach(beginning(scenario), -1, '')
  while (next.length > 0) {
    const frontier = next
    next = []
    for (const [index, world] of frontier) {
      const unquiet = leadsToEnd(world, brain, scenario, quiet)
      if (unquiet !== null) return found({ promise: unquiet, way: wayTo(index) }, false)
      for (const [label, raw] of nexts(world, brain, scenario)) {
        transitions += 1
        if (raw.broken !== null) return found({ promise: raw.broken, way: [...wayTo(index), label] }, false)
        reach(raw, index, label)
      }
      if (steps.length >= bounds.statesMax || tookMs() > bounds.ms) return found(null, false)
    }
  }
  return found(null, true)
}

/** Numbers in [0, 1), the same ones for the same seed. */
export function draws(seed: number): () => number {
  let state = seed % 2 ** 32
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32
    return state / 2 ** 32
  }
}

/** One long way with many faults, drawn by `draw` (in [0, 1)): what lies too deep for a search of everything. */
export function wander(scenario: Scenario, brain: Brain, steps: number, draw: () => number): Found['violation'] {
  const way: string[] = []
  const quiet = new Set<string>()
  let world = normal(beginning(scenario))
  for (let step = 0; step < steps; step += 1) {
    const all = [...nexts(world, brain, scenario)]
    // Faults are many: half of the steps are the farm's own, or it would never get anywhere.
    const own = all.filter(([, next]) => next.faultsLeft === world.faultsLeft)
    const among = own.length > 0 && draw() < 0.75 ? own : all
    const chosen = among[Math.floor(draw() * among.length)]
    if (chosen === undefined) break
    const [label, next] = chosen
    way.push(label)
    if (next.broken !== null) return { promise: next.broken, way }
    world = normal(next)
    const unquiet = leadsToEnd(world, brain, scenario, quiet)
    if (unquiet !== null) return { promise: unquiet, way }
  }
  return null
}

const digest = (world: World): string => createHash('md5').update(keyOf(world)).digest('base64')

/** Longer than any quiet way: whoever needs more goes round in circles. */
const roundsMax = 60

/** What is wrong with the quiet way from here to the end, or null. `known` remembers worlds from which it is known to end well. */
function leadsToEnd(start: World, brain: Brain, scenario: Scenario, known: Set<string>): string | null {
  const roomy: Scenario = { ...scenario, vwnsMax: 99 }
  const passed: string[] = []
  let world = normal(withoutMail(start))
  let mark = digest(world)
  for (let round = 0; round < roundsMax; round += 1) {
    const key = `${mark}${world.harmed}${[...world.excused].sort().join()}`
    if (known.has(key)) break
    passed.push(key)
    const next = quietRound(world, brain, roomy)
    if (next.broken !== null) return `${next.broken} (on the quiet way)`
    const after = digest(next)
    if (after !== mark) {
      [world, mark] = [next, after]
      continue
    }
    // Nothing moves any more. Time may pass for VWNs that nobody needs, but no job may have to wait for that.
    const waiting = scenario.jobs.find(({ id }) => !world.history.has(id))
    if (waiting !== undefined) return `a quiet network leads to the end: ${waiting.id} never ended`
    if (!world.rows.some(isSpare) && (world.poolOver || !keepsReady(scenario))) {
      const left = leftOver(world)
      if (left !== null) return `a quiet network leads to the end: ${left}`
      for (const each of passed) known.add(each)
      return null
    }
    world = idleTimePasses(world, brain, scenario)
    mark = digest(world)
  }
  if (passed.length === roundsMax) return `a quiet network leads to the end: after ${roundsMax} rounds things still change`
  for (const key of passed) known.add(key)
  return null
}

/** Whatever is in the mail is lost: so worlds that differ in nothing else have one quiet way. */
function withoutMail(world: World): World {
  const next = copy(world)
  for (const site of next.sites) Object.assign(site, { reports: [], mail: [] })
  return next
}

/** Every bait reports and gets its orders; everything under way comes one step further. */
function quietRound(world: World, brain: Brain, scenario: Scenario): World {
  const next = withoutMail(world)
  for (const site of next.sites) {
    send(site)
    const [report] = site.reports
    site.reports = []
    if (report !== undefined) receive(next, brain, scenario, site, report)
  }
  for (const site of next.sites) {
    const { mail } = site
    site.mail = []
    for (const orders of mail) follow(next, brain, scenario, site, orders)
    for (const id of site.locals.keys()) advanceVm(next, brain, scenario, site, id)
    for (const job of site.jobs.values()) if (canAdvance(job)) advanceJob(next, brain, scenario, site, job.id)
  }
  return normal(next)
}

/** Nobody needs the warm VWNs any more, nor shall any be kept ready. No other deadline is needed when the network works. */
function idleTimePasses(world: World, brain: Brain, scenario: Scenario): World {
  const next = copy(world)
  next.poolOver = keepsReady(scenario)
  for (const row of next.rows.filter(({ state }) => state === 'idle')) deliver(next, brain, row, { kind: 'deadline' })
  return normal(next)
}

function leftOver(world: World): string | null {
  for (const row of world.rows) if (row.state !== 'gone') return `${row.id} is still ${row.state}`
  for (const site of world.sites) {
    for (const [id, local] of site.locals) return `${id} is still ${local.state} on ${site.id}`
    for (const id of site.jobs.keys()) return `${site.id} still keeps ${id}`
  }
  return null
}
