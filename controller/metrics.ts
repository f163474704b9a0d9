/**
 * What the controller says of the farm to Prometheus: counts of what came about, from the one door, and the state as it is at the moment when
 * somebody asks. A host is a label where a line for each host helps an operator; a type comes from the mapping.
 */
import type { Amount } from '../core/amount.ts'
import { outcomeKinds } from '../core/failure.ts'
import { hostFactStates, hostWants } from '../core/host.ts'
import type { TypeName } from '../core/ids.ts'
import type { PoolPlan } from '../core/pool.ts'
import { vwnStates, type Vwn } from '../core/vwn.ts'
import { hostsSeen } from '../db/queries/farm.ts'
import { liveJobs } from '../db/queries/job.ts'
import { countRows, databaseBytes } from '../db/queries/past.ts'
import { presentVwns } from '../db/queries/vwn.ts'
import { flag, jobSeconds, one, sums, workSeconds, zeros, type Labels, type Metrics, type ReadFamily, type Sample } from '../kit/metrics.ts'
import { liveJobStates, templateStates, type TemplateFact } from '../wire/bait.ts'
import type { Parts } from './controller.ts'
import type { KnownHost } from './hosts.ts'
import type { News } from './lifecycle.ts'

/** Who counts what leaves no state behind. */
export interface Counts {
  news(news: News): void
  turn(tookMs: number): void
  request(labels: { readonly route: string; readonly method: string; readonly status: string }, tookMs: number): void
}

/** The families that are counted as things come about. */
export function newsFamilies(metrics: Metrics): Counts {
  const placed = metrics.counter({ name: 'wnod_placements_total', help: 'Jobs decided, by how they came by their VWN.', labels: ['by', 'type'] })
  const missed = metrics.counter({ name: 'wnod_pool_misses_total', help: 'Jobs that found no ready VWN of a type that keeps some.', labels: ['type'] })
  const waited = metrics.seconds({ name: 'wnod_placement_wait_seconds', help: 'From a job being handed over to the decision about it.', labels: ['by'], buckets: jobSeconds })
  const ended = metrics.counter({ name: 'wnod_jobs_ended_total', help: 'Jobs that ended, by how.', labels: ['outcome'], from: outcomeKinds.map((outcome) => ({ outcome })) })
  const jobFailed = metrics.counter({ name: 'wnod_job_failures_total', help: 'Jobs that never ran or are lost, by error code.', labels: ['outcome', 'code'] })
  const phase = metrics.seconds({ name: 'wnod_job_phase_seconds', help: 'Where the time of ended jobs went.', labels: ['phase'], buckets: jobSeconds })
  const state = metrics.seconds({ name: 'wnod_vwn_state_seconds', help: 'How long VWNs were in a state that they left.', labels: ['state'], buckets: jobSeconds })
  const gone = metrics.counter({ name: 'wnod_vwns_gone_total', help: 'VWNs that are gone: as it was wanted, or because something failed.', labels: ['end'], from: [{ end: 'wanted' }, { end: 'failed' }] })
  const vwnFailed = metrics.counter({ name: 'wnod_vwn_failures_total', help: 'VWNs that are gone because something failed, by error code.', labels: ['type', 'code'] })
  const turn = metrics.seconds({ name: 'wnod_scheduler_turn_seconds', help: 'How long turns of the scheduler took.', buckets: workSeconds })
  const request = metrics.seconds({ name: 'wnod_http_request_seconds', help: 'How long HTTP requests took, by route.', labels: ['route', 'method', 'status'], buckets: workSeconds })

  const moved = (before: Vwn, vwn: Vwn): void => {
    if (before.state === vwn.state) return
    state({ state: before.state }, Math.max(0, vwn.stateSinceMs - before.stateSinceMs) / 1000)
    if (vwn.state !== 'gone') return
    const code = vwn.cause === null || vwn.cause.code === 'VWN_REMOVED' ? null : vwn.cause.code
    gone({ end: code === null ? 'wanted' : 'failed' })
    if (code !== null) vwnFailed({ type: vwn.type, code })
  }
  return {
    news(news) {
      switch (news.is) {
        case 'moved': return moved(news.before, news.vwn)
        case 'placed':
          placed({ by: news.by, type: news.type ?? '' })
          waited({ by: news.by }, news.waitedMs / 1000)
          if (news.missedPool) missed({ type: news.type ?? '' })
          return
        case 'ended': {
          const { outcome } = news
          ended({ outcome: outcome.is })
          if ('failure' in outcome) jobFailed({ outcome: outcome.is, code: outcome.failure.code })
          for (const [name, ms] of Object.entries(news.phases)) phase({ phase: name }, ms / 1000)
          return
        }
        default: return news satisfies never
      }
    },
    turn: (tookMs) => turn({}, tookMs / 1000),
    request: (labels, tookMs) => request(labels, tookMs / 1000),
  }
}

const bytesPer = { mib: 1024 ** 2, gib: 1024 ** 3 } as const

/** The families that are read from the farm as it is. */
export function stateFamilies(parts: Parts): readonly ReadFamily[] {
  return [...ownFamilies(parts), ...workFamilies(parts), ...hostFamilies(parts), ...poolFamilies(parts)]
}

function ownFamilies({ db, bus, lifecycle, reports, beats, mapping }: Parts): readonly ReadFamily[] {
  return [
    { name: 'wnod_bus_connected', help: '1 while the NATS server is connected.', read: () => one(flag(bus.connected)) },
    { name: 'wnod_bus_dropped_total', help: 'Messages over the bus that nobody could read.', counts: true, read: () => one(bus.dropped) },
    {
      name: 'wnod_reports_total', help: 'Reports of baits: taken in, the same as the one before, or come late or twice.', labels: ['is'], counts: true,
      read: () => [[{ is: 'taken' }, reports.taken], [{ is: 'same' }, beats.count], [{ is: 'stale' }, reports.stale]],
    },
    { name: 'wnod_controller_term', help: 'Raised by every controller that starts on this database.', read: () => one(lifecycle.term) },
    { name: 'wnod_mapping_in_force', help: '1 when there is a mapping to place jobs by.', read: () => one(flag(mapping.state.mapping !== null)) },
    { name: 'wnod_mapping_refused', help: '1 when the mapping file as it is was refused, and what was before stays in force.', read: () => one(flag(mapping.state.problem !== null)) },
    { name: 'wnod_history_rows', help: 'Rows of the database, of what lives and of what is history.', labels: ['table'], read: () => Object.entries(countRows(db)).map(([table, rows]) => [{ table }, rows]) },
    { name: 'wnod_database_bytes', help: 'Size of the database.', read: () => one(databaseBytes(db)) },
  ]
}

function workFamilies({ db, kit, mapping }: Parts): readonly ReadFamily[] {
  const liveStates = vwnStates.filter((state) => state !== 'gone')
  const kinds = (): readonly Labels[] => typeLabels(mapping).flatMap((type) => liveStates.map((state) => ({ state, ...type })))
  const oldestMs = (): number => {
    const nowMs = kit.clock.nowMs()
    return liveJobs(db).reduce((most, { state, submittedAtMs }) => (state === 'waiting' ? Math.max(most, nowMs - submittedAtMs) : most), 0)
  }
  return [
    { name: 'wnod_vwns', help: 'VWNs that are there.', labels: ['state', 'type'], read: () => sums([...zeros(kinds()), ...presentVwns(db).map(({ state, type }): Sample => [{ state, type }, 1])]) },
    { name: 'wnod_jobs', help: 'Jobs that have not ended.', labels: ['state'], read: () => sums([...zeros(liveJobStates.map((state) => ({ state }))), ...liveJobs(db).map(({ state }): Sample => [{ state }, 1])]) },
    { name: 'wnod_job_oldest_wait_seconds', help: 'How long the job has waited that has waited longest; 0 while none waits.', read: () => one(oldestMs() / 1000) },
  ]
}

function hostFamilies({ db, book }: Parts): readonly ReadFamily[] {
  const perHost = (valueOf: (known: KnownHost) => number): readonly Sample[] => book.all.map((known) => [{ host: known.host.id }, valueOf(known)])
  const used = (valueOf: (amount: Amount) => number): readonly Sample[] => hostsSeen(db).map(({ host, used: amount }) => [{ host }, valueOf(amount)])
  const templates = (): readonly TemplateFact[] => book.all.flatMap(({ facts }) => facts.templates)
  return [
    { name: 'wnod_hosts', help: 'Hosts, by what is heard of them and by what an operator wants of them.', labels: ['fact', 'want'], read: () => sums([...zeros(hostFactStates.flatMap((fact) => hostWants.map((want) => ({ fact, want })))), ...book.hosts.map(({ fact, want }): Sample => [{ fact, want }, 1])]) },
    { name: 'wnod_host_alive', help: '1 while the bait of the host reports.', labels: ['host'], read: () => perHost(({ host }) => flag(host.fact === 'alive')) },
    { name: 'wnod_host_broken', help: '1 when no guest can be started on the host.', labels: ['host'], read: () => perHost(({ facts }) => flag(facts.broken !== null)) },
    { name: 'wnod_host_cpus', help: 'Processors that the host gives to jobs in VWNs.', labels: ['host'], read: () => perHost(({ facts }) => facts.capacity.cpus) },
    { name: 'wnod_host_memory_bytes', help: 'Memory that the host gives to VWNs.', labels: ['host'], read: () => perHost(({ facts }) => facts.capacity.memoryMib * bytesPer.mib) },
    { name: 'wnod_host_scratch_bytes', help: 'Disk that the host gives to VWNs.', labels: ['host'], read: () => perHost(({ facts }) => facts.capacity.scratchGib * bytesPer.gib) },
    { name: 'wnod_host_used_cpus', help: 'Processors that jobs in VWNs have.', labels: ['host'], read: () => used(({ cpus }) => cpus) },
    { name: 'wnod_host_used_memory_bytes', help: 'Memory that VWNs have.', labels: ['host'], read: () => used(({ memoryMib }) => memoryMib * bytesPer.mib) },
    { name: 'wnod_host_used_scratch_bytes', help: 'Disk that VWNs may fill.', labels: ['host'], read: () => used(({ scratchGib }) => scratchGib * bytesPer.gib) },
    { name: 'wnod_templates', help: 'Templates of all hosts.', labels: ['state'], read: () => sums([...zeros(templateStates.map((state) => ({ state }))), ...templates().map(({ state }): Sample => [{ state }, 1])]) },
    { name: 'wnod_templates_disk_bytes', help: 'Disk that the templates of all hosts take.', read: () => one(templates().reduce((sum, { diskMib }) => sum + diskMib, 0) * bytesPer.mib) },
  ]
}

function poolFamilies({ pool, mapping }: Parts): readonly ReadFamily[] {
  const stages = ['making', 'ready', 'going'] as const
  const plans = (): readonly PoolPlan[] => [...pool.plans.values()].flat()
  const perType = (samples: readonly Sample[]): readonly Sample[] => sums([...zeros(typeLabels(mapping)), ...samples])
  // Users choose the names of types that pend: those that the mapping does not have are no label.
  const pending = (): readonly Sample[] => pool.pending().flatMap(({ jobs }) => typeLabels(mapping).map((labels): Sample => [labels, jobs.get(labels.type) ?? 0]))
  return [
    { name: 'wnod_pool_vwns', help: 'VWNs of the warm pool.', labels: ['stage', 'type'], read: () => sums(plans().flatMap((plan) => stages.map((stage): Sample => [{ stage, type: plan.type }, plan[stage]]))) },
    { name: 'wnod_pool_target_vwns', help: 'How many there will be in the end, as room is now.', labels: ['type'], read: () => perType(plans().map(({ type, target }): Sample => [{ type }, target])) },
    { name: 'wnod_pool_wanted_vwns', help: 'How many are wanted, whether there is room or not.', labels: ['type'], read: () => perType(plans().map(({ type, wanted }): Sample => [{ type }, wanted])) },
    { name: 'wnod_pending_jobs', help: 'Jobs that batch systems say pend with them.', labels: ['type'], read: () => perType(pending()) },
  ]
}

const typeLabels = ({ state }: Parts['mapping']): readonly { readonly type: TypeName }[] => (state.mapping?.types ?? []).map(({ name }) => ({ type: name }))
