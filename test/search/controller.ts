/** The controller's shell, as thin as it can be: the one door, and a turn of the scheduler, and of the pool, after every report. */
import { closedBecause } from '../../core/host.ts'
import type { HostId, JobId } from '../../core/ids.ts'
import { noDemand, noPool, poolSettings } from '../../core/pool.ts'
import type { Hold } from '../../core/placement.ts'
import type { WaitingJob } from '../../core/schedule.ts'
import { requestVwn, wantedOf, type Owner, type Vwn, type VwnEvent, type VwnRequest } from '../../core/vwn.ts'
import { el9, image, keepsReady, needsProof, promise, sharerIn, vwn as vwnNumber, text, type Brain, type Demand, type Report, type Scenario, type Site, type World } from './world.ts'

const nowMs = 0

/** The one door: read, decide, write. */
export function deliver(world: World, brain: Brain, row: Vwn, event: VwnEvent): void {
  const site = siteOf(world, row.host)
  const verdict = brain.step(row, event, row.token, { nowMs, generation: site.generation + 1 })
  if (verdict.is !== 'moved') return
  const { next } = verdict
  promise(world, next.generation > row.generation, 'generations only rise')
  promise(world, row.state !== 'gone', 'gone absorbs')
  promise(world, next.state !== 'busy' || next.job !== null, 'busy implies a job')
  promise(world, row.owner === null || next.owner?.uid === row.owner.uid, 'an owner is for life')
  promise(world, next.cause === null || world.harmed, `no VWN is given up without cause: ${row.state} on ${event.kind}`)
  site.generation = Math.max(site.generation, next.generation)
  world.rows = world.rows.map((each) => (each.id === row.id ? next : each))
}

/** A report arrives: rows follow it, ended jobs enter the history, waiting jobs are placed, orders go out. */
export function receive(world: World, brain: Brain, scenario: Scenario, site: Site, report: Report): void {
  const heard = brain.hear(site.host, { ...report.beat, capacity: scenario.capacity, images: [{ digest: image, name: 'el9', contact: 'agent' }], broken: brokenOn(scenario, site.id) }, nowMs)
  if (heard.is === 'ignored') return
  site.host = heard.next
  const { vwns, live, ended } = report.tells
  site.known = report.tells
  for (const { job, outcome } of ended) {
    promise(world, (world.history.get(job) ?? outcome) === outcome, 'a job ends once')
    world.history = new Map(world.history).set(job, outcome)
  }
  const sight = {
    vwns: new Map(vwns.map((each) => [each.vwn, each])),
    jobs: { live: new Map(live.map((each) => [each.job, each])), ended: new Map(ended.map((each) => [each.job, each])) },
    ordersSeen: report.beat.ordersSeen,
    rebooted: heard.rebooted,
  }
  for (const { id } of world.rows.filter((row) => row.host === site.id)) {
    for (const event of brain.eventsFrom(rowOf(world, id), sight)) deliver(world, brain, rowOf(world, id), event)
  }
  turn(world, brain, scenario)
}

/** The scheduler's turn, and the mail that follows from it. */
export function turn(world: World, brain: Brain, scenario: Scenario): void {
  const waiting = scenario.jobs.filter(({ id, host }) => siteOf(world, host).known?.live.some(({ job, state }) => job === id && state === 'waiting'))
  const refused = new Map<JobId, Demand['refused'][number]>()
  const bare: JobId[] = []
  const hosts = world.sites.map((site) => site.host)
  const holds: Hold[] = []
  for (const decision of waiting.length === 0 ? [] : brain.plan(waiting.map(({ id, host }) => asWaiting(scenario, id, host)), { hosts, vwns: world.rows, mapping: scenario.mapping }, nowMs)) {
    const job = scenario.jobs.find(({ id }) => id === decision.job)
    if (job === undefined) continue
    if (decision.is === 'refused') refused.set(job.id, { job: job.id, failure: decision.failure })
    if (decision.is === 'bare') bare.push(job.id)
    if (decision.is === 'reuse') deliver(world, brain, rowOf(world, decision.vwn), { kind: 'assigned', job: job.id, owner: ownerOf(scenario, job.id) })
    if (decision.is === 'wait') {
      for (const id of decision.evict) deliver(world, brain, rowOf(world, id), { kind: 'stop', cause: null })
      if (decision.hold !== null) holds.push(decision.hold)
    }
    if (decision.is === 'boot') request(world, scenario, decision.request)
  }
  keepReady(world, brain, scenario, holds)
  checkRows(world, scenario)
  for (const site of world.sites) {
    const isHere = (job: JobId): boolean => scenario.jobs.some(({ id, host }) => id === job && host === site.id)
    post(world, site, { refused: [...refused.values()].filter(({ job }) => isHere(job)), bare: bare.filter(isHere) })
  }
}

function request(world: World, scenario: Scenario, wanted: VwnRequest): void {
  if (world.rows.length >= scenario.vwnsMax) return
  const site = siteOf(world, wanted.host)
  site.generation += 1
  world.rows = [...world.rows, requestVwn(wanted, vwnNumber(world.rows.length + 1), { term: 1, epoch: 1 }, { nowMs, generation: site.generation })]
}

/** The pool's turn. Nobody learns here what does not come up: whatever is wanted is tried again at once. */
function keepReady(world: World, brain: Brain, scenario: Scenario, holds: readonly Hold[]): void {
  if (!keepsReady(scenario)) return
  const types = scenario.mapping.types.map((type) => (world.poolOver ? { ...type, pool: noPool } : type))
  const pools = brain.planPools({
    hosts: world.sites.map((site) => site.host), vwns: world.rows.filter(({ state }) => state !== 'gone'), mapping: { ...scenario.mapping, types }, holds,
    handOversOn: () => 0, demandFor: () => noDemand, pendingFor: () => noDemand, makingWith: () => ({ makeMs: 1, failing: null, booted: null }),
  }, poolSettings, nowMs)
  for (const { requests, stops } of pools) {
    for (const { vwn } of stops) {
      const row = rowOf(world, vwn)
      promise(world, row.owner === null && row.job === null, 'the pool gives back only what is nobody\'s')
      deliver(world, brain, row, { kind: 'stop', cause: null })
    }
    for (const wanted of requests) request(world, scenario, wanted)
  }
}

/** Sends the host its orders, under a new number if they are new; what would change nothing and prove nothing is not sent. */
function post(world: World, site: Site, answers: Pick<Demand, 'refused' | 'bare'>): void {
  if (closedBecause(site.host) !== null || site.known === null) return
  const rows = world.rows.filter((row) => row.host === site.id && row.state !== 'gone')
  const content: Demand = {
    vwns: rows.map((row) => ({ vwn: row.id, token: row.token, owner: row.owner, ...wantedOf(row) })),
    ...answers,
    acknowledged: site.known.ended.map(({ job }) => job),
  }
  const last = site.mail.at(-1) ?? site.orders
  const isNews = text(content) !== text(last?.says ?? nothingWanted)
  const proves = last !== null && rows.some((row) => needsProof(row) && row.generation > last.generation)
  const asked = site.orders === null && site.locals.size > 0 && site.mail.length === 0
  if (!isNews && !proves && !asked) return
  if (last !== null && site.generation <= last.generation) site.generation = last.generation + 1
  if (last === null) site.generation = Math.max(1, site.generation)
  site.posted = site.generation
  site.mail = [...site.mail, { session: site.host.session, term: world.term, generation: site.generation, says: content }].slice(-mailMax(world))
}

const nothingWanted: Demand = { vwns: [], refused: [], bare: [], acknowledged: [] }

/** Messages under way in one direction; a full channel loses the oldest. Where nothing can be doubled or overtaken any more, one is enough. */
export const mailMax = (world: World): number => (world.faultsLeft > 0 ? 2 : 1)

function checkRows(world: World, scenario: Scenario): void {
  for (const site of world.sites) {
    const here = world.rows.filter((row) => row.host === site.id && row.state !== 'gone')
    const memoryMib = here.reduce((sum, { shape }) => sum + shape.memoryMib, 0)
    const cpus = here.reduce((sum, { shape, job: theirs }) => (theirs === null ? sum : sum + shape.cpus), 0)
    promise(world, memoryMib <= scenario.capacity.memoryMib && cpus <= scenario.capacity.cpus, 'the controller never promises more than a host has')
  }
  const limit = scenario.mapping.types[0]?.limit ?? Infinity
  promise(world, world.rows.filter((row) => row.state !== 'gone').length <= limit, 'the limit of a type holds')
  const perUser = scenario.mapping.default?.limits.perUser ?? Infinity
  for (const { uid } of scenario.jobs) promise(world, world.rows.filter((row) => row.state !== 'gone' && row.owner?.uid === uid).length <= perUser, 'the limit of a user holds')
}

/** Only the first host of a scenario may be so. */
const brokenOn = ({ broken }: Scenario, host: HostId): string | null => (host === 'h1' && broken !== undefined ? broken : null)

const asWaiting = (scenario: Scenario, id: JobId, host: HostId): WaitingJob => ({
  id, host, owner: ownerOf(scenario, id), groups: [], queue: null, batchSystem: null, type: null, cpus: null, memoryMib: null, scratchGib: null, submittedAtMs: 0,
})

const ownerOf = (scenario: Scenario, id: JobId): Owner => {
  const who = sharerIn(scenario, id)
  return { ...who, user: `u${who.uid}`, group: `g${who.gid}` }
}

export function siteOf(world: World, host: HostId): Site {
  const site = world.sites.find(({ id }) => id === host)
  if (site === undefined) throw new Error(`no host ${host}`)
  return site
}

function rowOf(world: World, id: Vwn['id']): Vwn {
  const row = world.rows.find((each) => each.id === id)
  if (row === undefined) throw new Error(`no row ${id} of type ${el9}`)
  return row
}
