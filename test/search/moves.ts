/** Everything that can happen next: the farm's own progress, freely; faults, as long as the scenario still has some to spend. */
import { failure } from '../../core/failure.ts'
import type { JobId, VwnId } from '../../core/ids.ts'
import { hasEnded, type Job } from '../../core/job.ts'
import { change, follow, hasNews, send, settle, stepJob, vmEnds } from './bait.ts'
import { deliver, mailMax, receive, turn } from './controller.ts'
import { copy, type Brain, type Scenario, type Site, type World } from './world.ts'

/** One thing that may happen. `fault` costs one of the scenario's faults. */
export interface Happening {
  readonly label: string
  readonly fault: boolean
  readonly apply: (world: World, site: Site) => void
}

/** The worlds that may come next, each with what led there. */
export function* nexts(world: World, brain: Brain, scenario: Scenario): Generator<readonly [label: string, next: World]> {
  for (const [index, site] of world.sites.entries()) {
    for (const happening of [...progress(world, site, brain, scenario), ...(world.faultsLeft > 0 ? faults(world, site, brain, scenario) : [])]) {
      const next = copy(world)
      const at = next.sites[index]
      if (at === undefined) continue
      if (happening.fault) next.faultsLeft -= 1
      happening.apply(next, at)
      yield [`${site.id}: ${happening.label}`, next]
    }
  }
}

function progress(world: World, site: Site, brain: Brain, scenario: Scenario): readonly Happening[] {
  const does = (label: string, apply: Happening['apply']): Happening => ({ label, fault: false, apply })
  return [
    ...arrivals(site, brain, scenario).filter(({ fault }) => !fault),
    ...(site.reports.length < mailMax(world) && hasNews(world, site) ? [does('reports', (_next, at) => send(at))] : []),
    ...[...site.locals.keys()].filter((id) => vmProgress(site, id) !== null)
      .map((id) => does(`${id} ${vmProgress(site, id)}`, (next, at) => advanceVm(next, brain, scenario, at, id))),
    ...[...site.jobs.values()].filter(canAdvance)
      .map((job) => does(`${job.id} goes on from ${job.state}`, (next, at) => advanceJob(next, brain, scenario, at, job.id))),
  ]
}

/** Mail arrives in order; what overtakes is a fault. */
function arrivals(site: Site, brain: Brain, scenario: Scenario): readonly Happening[] {
  return [
    ...site.reports.map((report, index): Happening => ({ label: `report ${index} arrives`, fault: index > 0, apply: (world, at) => {
      at.reports = without(at.reports, index)
      receive(world, brain, scenario, at, report)
    } })),
    ...site.mail.map((orders, index): Happening => ({ label: `orders ${index} arrive`, fault: index > 0, apply: (world, at) => {
      at.mail = without(at.mail, index)
      follow(world, brain, scenario, at, orders)
    } })),
  ]
}

const without = <T>(values: readonly T[], index: number): readonly T[] => values.filter((_value, other) => other !== index)

function vmProgress(site: Site, id: VwnId): string | null {
  const state = site.locals.get(id)?.state
  return state === 'preparing' ? 'is up' : state === 'cleaning' ? 'is clean' : state === 'stopping' ? 'has stopped' : null
}

/** What happens to a VM when all goes well. */
export function advanceVm(world: World, brain: Brain, scenario: Scenario, site: Site, id: VwnId): void {
  const doing = vmProgress(site, id)
  if (doing === null) return
  change(site, id, doing === 'has stopped' ? { state: 'dead' } : { state: 'idle', jobOver: false })
  settle(world, brain, scenario, site)
}

export const canAdvance = (job: Job): boolean => !hasEnded(job) && job.state !== 'waiting'

/** What happens to a job when all goes well: staged and started in one go, then ended and collected in one go. */
export function advanceJob(world: World, brain: Brain, scenario: Scenario, site: Site, id: JobId): void {
  const events = site.jobs.get(id)?.state === 'staging'
    ? [{ kind: 'staged' } as const, { kind: 'started' } as const]
    : [{ kind: 'exited', exit: { is: 'exited', code: 0 } } as const, { kind: 'collected' } as const]
  for (const event of events) stepJob(world, brain, site, id, event)
  settle(world, brain, scenario, site)
}

function faults(world: World, site: Site, brain: Brain, scenario: Scenario): readonly Happening[] {
  const fault = (label: string, apply: Happening['apply']): Happening => ({ label, fault: true, apply })
  const rows = world.rows.filter((row) => row.host === site.id)
  const busyAtAll = site.reports.length > 0 || [...site.locals.values()].some(({ state }) => state !== 'gone') || rows.some((row) => row.state !== 'gone')
  return [
    ...arrivals(site, brain, scenario).filter((arrival) => arrival.fault),
    ...site.reports.map((report, index) => fault(`report ${index} is doubled`, (next, at) => receive(next, brain, scenario, at, report))),
    ...site.reports.map((_report, index) => fault(`report ${index} is lost`, (_next, at) => void (at.reports = without(at.reports, index)))),
    ...site.mail.map((orders, index) => fault(`orders ${index} are doubled`, (next, at) => follow(next, brain, scenario, at, orders))),
    ...site.mail.map((_orders, index) => fault(`orders ${index} are lost`, (_next, at) => void (at.mail = without(at.mail, index)))),
    ...[...site.locals].filter(([, { state }]) => state !== 'gone' && state !== 'dead' && state !== 'stopping').map(([id]) => fault(`${id} dies`, (next, at) => {
      harm(next, at, id)
      vmEnds(next, brain, at, id, 'dead', failure('VWN_DIED'))
      settle(next, brain, scenario, at)
    })),
    ...[...site.jobs.values()].filter((job) => !hasEnded(job)).map((job) => fault(`${job.id} is cancelled`, (next, at) => {
      excuse(next, job.id)
      stepJob(next, brain, at, job.id, { kind: 'cancel', signal: null })
      settle(next, brain, scenario, at)
    })),
    fault('bait restarts', (next, at) => restartBait(next, brain, at, false)),
    ...(busyAtAll ? [
      fault('host boots', (next, at) => restartBait(next, brain, at, true)),
      fault('is silent for longer than the lease', (next, at) => {
        next.harmed = true
        at.host = { ...at.host, fact: 'silent' }
        for (const row of next.rows.filter(({ host }) => host === at.id)) deliver(next, brain, row, { kind: 'hostLost' })
      }),
    ] : []),
    ...(site.id === 'h1' ? [fault('controller restarts', (next) => restartController(next))] : []),
    ...rows.filter((row) => row.deadlineMs !== null).map((row) => fault(`${row.id} is late`, (next) => {
      next.harmed ||= row.state !== 'idle'
      deliver(next, brain, row, { kind: 'deadline' })
      turn(next, brain, scenario)
    })),
    ...rows.filter((row) => row.state !== 'gone').map((row) => fault(`${row.id} is killed`, (next, at) => {
      harm(next, at, row.id)
      deliver(next, brain, row, { kind: 'kill', cause: failure('VWN_REMOVED') })
      turn(next, brain, scenario)
    })),
  ]
}

const excuse = (world: World, job: JobId | null): void => void (job !== null && (world.excused = new Set([...world.excused, job])))

/** From now on a VWN may have a cause, and the jobs that it has or is meant for may suffer. */
function harm(world: World, site: Site, id: VwnId): void {
  world.harmed = true
  excuse(world, site.locals.get(id)?.job ?? null)
  excuse(world, site.orders?.says.vwns.find(({ vwn }) => vwn === id)?.job ?? null)
  excuse(world, world.rows.find((row) => row.id === id)?.job ?? null)
}

/** A new bait process: jobs of the old one end, VMs that ran are adopted, what was only being made is erased. It remembers no orders, but who is gone. */
function restartBait(world: World, brain: Brain, site: Site, rebooted: boolean): void {
  site.session += 1
  site.seq = 0
  site.orders = null
  site.mail = [] // its subscription has ended with it
  if (rebooted) site.bootId += 1
  for (const job of site.jobs.values()) {
    if (hasEnded(job)) continue
    excuse(world, job.id)
    const kind = job.state === 'waiting' ? 'refused' : job.state === 'staging' ? 'failed' : 'vwnLost'
    stepJob(world, brain, site, job.id, { kind, failure: failure('JOB_BAIT_RESTARTED') })
  }
  for (const [id, local] of site.locals) {
    if (local.state === 'gone' || local.state === 'preparing' || !rebooted) continue
    world.harmed = true
    change(site, id, { state: 'gone', job: null, cause: local.cause ?? failure('VWN_DIED') })
  }
  world.harmed ||= [...site.locals.values()].some(({ state }) => state === 'preparing')
  site.locals = new Map([...site.locals].filter(([, { state }]) => state !== 'preparing'))
}

/** Nothing but the database survives; its term is over. */
function restartController(world: World): void {
  world.term += 1
  for (const site of world.sites) {
    site.known = null
    site.host = { ...site.host, fact: 'silent' }
  }
}
