/** A bait's shell, as thin as it can be: it follows the newest orders, keeps VMs and jobs, and tells what is there. */
import { failure, type Failure } from '../../core/failure.ts'
import type { JobId, VwnId } from '../../core/ids.ts'
import { hasEnded, type Job, type JobEvent } from '../../core/job.ts'
import { sharersOf } from '../../core/reuse.ts'
import { needsProof, promise, sharerIn, text, type Brain, type LocalVwn, type Orders, type Report, type Sighting, type Scenario, type Site, type World } from './world.ts'

/** Orders arrive; older ones than those it follows are ignored. */
export function follow(world: World, brain: Brain, scenario: Scenario, site: Site, orders: Orders): void {
  if (!brain.isNews(orders, `s${site.session}`, site.orders)) return
  site.orders = orders
  for (const { job, failure: why } of orders.says.refused) stepJob(world, brain, site, job, { kind: 'refused', failure: why })
  for (const job of orders.says.bare) stepJob(world, brain, site, job, { kind: 'bare' })
  for (const job of orders.says.acknowledged) {
    const known = site.jobs.get(job)
    if (known === undefined || !hasEnded(known)) continue
    promise(world, world.history.get(job) === known.outcome?.is, 'no record is forgotten before it is in the history')
    site.jobs = new Map([...site.jobs].filter(([id]) => id !== job))
  }
  settle(world, brain, scenario, site)
}

/** Does what the orders ask for, until there is nothing to do but wait. */
export function settle(world: World, brain: Brain, scenario: Scenario, site: Site): void {
  const waits = (job: JobId): boolean => site.jobs.get(job)?.state === 'waiting'
  for (let round = 0; round < 16; round += 1) {
    let changed = false
    for (const id of [...new Set([...(site.orders?.says.vwns ?? []).map(({ vwn }) => vwn), ...site.locals.keys()])].sort()) {
      const wanted = site.orders?.says.vwns.find(({ vwn }) => vwn === id) ?? null
      const local = site.locals.get(id) ?? null
      const action = site.orders === null ? { do: 'wait' as const } : brain.reconcile(wanted, local, waits)
      switch (action.do) {
        case 'prepare': if (wanted !== null) put(site, id, { token: wanted.token, state: 'preparing', job: null, jobOver: false, cause: null, served: null }); break
        case 'attach': attach(world, brain, scenario, site, id, action.job); break
        case 'clean': change(site, id, { state: 'cleaning', job: null, jobOver: false }); break
        case 'shutdown': change(site, id, { state: 'stopping', job: null }); break
        case 'kill':
          if (local !== null && local.state === 'stopping') continue
          vmEnds(world, brain, site, id, 'stopping', null)
          break
        case 'reclaim': change(site, id, { state: 'gone', job: null }); break
        case 'forget': site.locals = new Map([...site.locals].filter(([other]) => other !== id)); break
        case 'report':
          if (local !== null || wanted === null) continue
          put(site, id, { token: wanted.token, state: 'gone', job: null, jobOver: false, cause: null, served: null })
          break
        case 'rest': case 'wait': continue
        default: throw new Error(`nobody knows how to ${JSON.stringify(action satisfies never)}`)
      }
      changed = true
    }
    if (!changed) break
  }
  const vms = [...site.locals.values()].filter(({ state }) => state !== 'gone' && state !== 'dead')
  promise(world, vms.length <= scenario.capacity.memoryMib, 'a host never runs more VMs than it has room for')
  promise(world, vms.filter(({ state }) => state === 'busy').length <= scenario.capacity.cpus, 'a host never runs more jobs than it has processors')
}

function attach(world: World, brain: Brain, scenario: Scenario, site: Site, id: VwnId, job: JobId): void {
  const local = site.locals.get(id)
  const { reuse } = scenario.mapping.types[0]?.limits ?? { reuse: 'never' }
  const sharers = sharersOf(reuse, sharerIn(scenario, job))
  promise(world, local?.served === null || (reuse !== 'never' && local?.served === sharers), 'no VWN serves jobs that may not share')
  if (!stepJob(world, brain, site, job, { kind: 'assigned', vwn: id })) return
  change(site, id, { state: 'busy', job, jobOver: false, served: sharers })
}

/** The VM is no more, or is about to be; whatever it served has lost it. */
export function vmEnds(world: World, brain: Brain, site: Site, id: VwnId, state: 'dead' | 'stopping', cause: Failure | null): void {
  const job = site.locals.get(id)?.job ?? null
  change(site, id, { state, cause, job: null })
  if (job !== null) stepJob(world, brain, site, job, { kind: 'vwnLost', failure: cause ?? failure('VWN_REMOVED') })
}

/** Drives one job; true when it moved. */
export function stepJob(world: World, brain: Brain, site: Site, id: JobId, event: JobEvent): boolean {
  const job = site.jobs.get(id)
  if (job === undefined) return false
  const verdict = brain.stepJob(job, event, 0)
  if (verdict.is !== 'moved') return false
  const { next, effects } = verdict
  // What is told to run on the host runs there from that moment.
  if (effects.some((effect) => effect.do === 'run' || (effect.do === 'end' && effect.outcome.is === 'bare')) && job.state !== next.state) world.starts = new Map(world.starts).set(id, (world.starts.get(id) ?? 0) + 1)
  promise(world, (world.starts.get(id) ?? 0) <= 1, 'no job is started twice')
  promise(world, !hasEnded(job), 'an ended job stays ended')
  checkOutcome(world, next)
  site.jobs = new Map(site.jobs).set(id, next)
  if (hasEnded(next) && next.vwn !== null && site.locals.get(next.vwn)?.job === id) change(site, next.vwn, { jobOver: true })
  return true
}

function checkOutcome(world: World, job: Job): void {
  if (job.outcome === null || job.outcome.is === 'exited' || job.outcome.is === 'bare') return
  const excused = world.excused.has(job.id) || (job.outcome.is === 'refused' && world.harmed) // several VWNs may have failed for it
  promise(world, excused, `no job is ${job.outcome.is} without cause`)
  promise(world, job.outcome.is !== 'lost' || world.starts.has(job.id), 'no job is lost before it was started')
  promise(world, job.outcome.is !== 'refused' || !world.starts.has(job.id), 'no job is refused after it was started')
}

const sightings = new WeakMap<Site['locals'], WeakMap<Site['jobs'], Sighting>>()

/** What the bait would report now; the same value as long as nothing changes. */
export function sightingOf(site: Site): Sighting {
  const ofLocals = sightings.get(site.locals) ?? new WeakMap<Site['jobs'], Sighting>()
  sightings.set(site.locals, ofLocals)
  const sighting = ofLocals.get(site.jobs) ?? lookAround(site)
  ofLocals.set(site.jobs, sighting)
  return sighting
}

function lookAround(site: Site): Sighting {
  const all = [...site.jobs.values()]
  return {
    vwns: [...site.locals].map(([vwn, { token, state, job, cause }]) => ({ vwn, token, state: state === 'dead' ? 'stopping' : state, job, cause })),
    live: all.filter((job) => !hasEnded(job)).map((job) => ({ job: job.id, state: job.state, vwn: job.vwn })),
    ended: all.filter(hasEnded).map((job) => ({ job: job.id, vwn: job.vwn, outcome: job.outcome?.is ?? '' })),
  }
}

/** Sends a report. */
export function send(site: Site): void {
  site.seq += 1
  site.reports = [...site.reports, { beat: beatOf(site), tells: sightingOf(site) }]
}

const beatOf = (site: Site): Report['beat'] => ({
  bootId: `b${site.bootId}`, session: `s${site.session}`, startedAtMs: site.session, seq: site.seq,
  ordersSeen: { term: site.orders?.term ?? 0, generation: site.orders?.generation ?? 0 },
})

/** True when a report would tell the controller something, prove something, or bring orders that were lost. */
export function hasNews(world: World, site: Site): boolean {
  const last = site.reports.at(-1)
  if (last === undefined) {
    if (site.host.session !== `s${site.session}` || site.host.fact !== 'alive' || site.known === null) return true
    if (site.mail.length === 0 && (site.orders?.generation ?? 0) < site.posted) return true
  }
  const seen = last?.beat.ordersSeen.generation ?? 0
  const follows = site.orders?.generation ?? 0
  if (world.rows.some((row) => row.host === site.id && needsProof(row) && row.generation > seen && row.generation <= follows)) return true
  if (last !== undefined && last.beat.session !== `s${site.session}`) return true
  const told = last?.tells ?? site.known
  return told === null || text(sightingOf(site)) !== text(told)
}

/** Changes one local VWN. */
export function change(site: Site, id: VwnId, facts: Partial<LocalVwn>): void {
  const local = site.locals.get(id)
  if (local !== undefined) put(site, id, { ...local, ...facts })
}

const put = (site: Site, id: VwnId, local: LocalVwn): void => void (site.locals = new Map(site.locals).set(id, local))
