/**
 * Explicit-state search: every world that can be reached from the beginning, breadth first, each once. A promise that does not hold is found
 * with the shortest way to it. From every world reached, a network that works again and time that passes must lead to the end: every
 * job ended and on record, nothing left over anywhere.
 */
import { createHash } from 'node:crypto'
import { follow } from './bait.ts'
import { deliver, receive } from './controller.ts'
import { advanceJob, advanceVm, canAdvance, nexts } from './moves.ts'
import { beginning, copy, keyOf, normal, type Brain, type Scenario, type World } from './world.ts'
import { send } from './bait.ts'

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

/** Searches until nothing is new, a promise is broken, or `statesMax` worlds are known. */
export function search(scenario: Scenario, brain: Brain, statesMax: number): Found {
  const startedAtMs = performance.now()
  const seen = new Map<string, { readonly from: string | null; readonly label: string }>()
  const quiet = new Map<string, boolean>()
  let transitions = 0
  const found = (violation: Found['violation'], complete: boolean): Found =>
    ({ states: seen.size, transitions, quietStates: quiet.size, tookMs: Math.round(performance.now() - startedAtMs), complete, violation })
  const wayTo = (key: string | null): string[] => {
    const step = key === null ? undefined : seen.get(key)
    return step === undefined ? [] : [...wayTo(step.from), ...(step.label === '' ? [] : [step.label])]
  }

  const first = normal(beginning(scenario))
  seen.set(digest(first), { from: null, label: '' })
  let frontier: (readonly [string, World])[] = [[digest(first), first]]
  while (frontier.length > 0) {
    const next: (readonly [string, World])[] = []
    for (const [key, world] of frontier) {
      const unquiet = leadsToEnd(world, brain, scenario, quiet)
      if (unquiet !== null) return found({ promise: unquiet, way: wayTo(key) }, false)
      for (const [label, raw] of nexts(world, brain, scenario)) {
        transitions += 1
        if (raw.broken !== null) return found({ promise: raw.broken, way: [...wayTo(key), label] }, false)
        const reached = normal(raw)
        const reachedKey = digest(reached)
        if (seen.has(reachedKey)) continue
        seen.set(reachedKey, { from: key, label })
        next.push([reachedKey, reached])
      }
      if (seen.size >= statesMax) return found(null, false)
    }
    frontier = next
  }
  return found(null, true)
}

const digest = (world: World): string => createHash('md5').update(keyOf(world)).digest('base64')

/** Longer than any quiet way: whoever needs more goes round in circles. */
const roundsMax = 60

/** What is wrong with the quiet way from here to the end, or null. `known` remembers worlds from which it is known to end well. */
function leadsToEnd(start: World, brain: Brain, scenario: Scenario, known: Map<string, boolean>): string | null {
  const roomy: Scenario = { ...scenario, vwnsMax: 99 }
  const passed: string[] = []
  let world = start
  for (let round = 0; round < roundsMax; round += 1) {
    const key = digest(world)
    if (known.has(key)) break
    passed.push(key)
    let next = quietRound(world, brain, roomy)
    if (digest(next) === key) next = idleTimePasses(world, brain)
    if (next.broken !== null) return `${next.broken} (on the quiet way)`
    if (digest(next) === key) {
      const left = leftOver(world, scenario)
      if (left !== null) return `a quiet network leads to the end: ${left}`
      break
    }
    if (round === roundsMax - 1) return `a quiet network leads to the end: after ${roundsMax} rounds things still change`
    world = next
  }
  for (const key of passed) known.set(key, true)
  return null
}

/** What was in the mail is lost; every bait reports and gets its orders; everything under way comes one step further. */
function quietRound(world: World, brain: Brain, scenario: Scenario): World {
  const next = copy(world)
  for (const site of next.sites) Object.assign(site, { reports: [], mail: [] })
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

/** Nobody needs the warm VWNs any more. No other deadline is needed when the network works. */
function idleTimePasses(world: World, brain: Brain): World {
  const next = copy(world)
  for (const row of next.rows.filter(({ state }) => state === 'idle')) deliver(next, brain, row, { kind: 'deadline' })
  return normal(next)
}

function leftOver(world: World, scenario: Scenario): string | null {
  for (const { id } of scenario.jobs) if (!world.history.has(id)) return `${id} never ended`
  for (const row of world.rows) if (row.state !== 'gone') return `${row.id} is still ${row.state}`
  for (const site of world.sites) {
    for (const [id, local] of site.locals) return `${id} is still ${local.state} on ${site.id}`
    for (const id of site.jobs.keys()) return `${site.id} still keeps ${id}`
  }
  return null
}
