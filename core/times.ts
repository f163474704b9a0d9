/** How long jobs have waited of late, and what went wrong: ended jobs, added one after the other, as a few numbers per type and per host. */
import type { HostId, TypeName } from './ids.ts'
import type { Made } from './placement.ts'

/** An ended job, as far as this is about. */
export interface TimedJob {
  readonly host: HostId
  readonly type: TypeName | null
  readonly made: Made | null
  readonly bare: boolean
  readonly endedAtMs: number
  readonly phases: Readonly<Record<string, number>>
  /** Code of the failure that refused or lost it. */
  readonly failure: string | null
}

/** Half of all took no longer than `p50`, and so on; null: there were none. */
export interface Percentiles {
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

/** The jobs of one type, or of one host. */
export interface Times {
  readonly jobs: number
  /** Until the job had its VWN, the making of it included. */
  readonly waitMs: Percentiles | null
  /** From then until its process ran: files in, and the start. */
  readonly handoverMs: Percentiles | null
  /** Of the jobs that a VWN came up for. */
  readonly bootMs: Percentiles | null
  /** `ready` is a hit of the pool, `new` a miss. */
  readonly made: Readonly<Record<Made | 'bare', number>>
}

export interface TimesBook {
  add(job: TimedJob): void
  /** A VWN is gone for a reason of its own. */
  addFailure(code: string): void
  totals(): {
    readonly byType: readonly (Times & { readonly type: TypeName | null })[]
    readonly byHost: readonly (Times & { readonly host: HostId })[]
    /** Every minute of the time asked for, those without jobs too. */
    readonly perMinute: readonly { readonly atMs: number; readonly jobs: number }[]
    readonly errors: readonly { readonly code: string; readonly count: number }[]
  }
}

const minuteMs = 60_000

/** An empty book for the time from `fromMs` to `toMs`. */
export function timesBook(fromMs: number, toMs: number): TimesBook {
  const types = new Map<TypeName | null, Gathered>()
  const hosts = new Map<HostId, Gathered>()
  const errors = new Map<string, number>()
  const firstMs = Math.floor(fromMs / minuteMs) * minuteMs
  const minutes = new Array<number>(Math.max(0, Math.ceil((toMs - firstMs) / minuteMs))).fill(0)
  const addFailure = (code: string): void => void errors.set(code, (errors.get(code) ?? 0) + 1)
  return {
    add(job) {
      for (const gathered of [entry(types, job.type), entry(hosts, job.host)]) gather(gathered, job)
      const minute = Math.floor((job.endedAtMs - firstMs) / minuteMs)
      if (minutes[minute] !== undefined) minutes[minute] += 1
      if (job.failure !== null) addFailure(job.failure)
    },
    addFailure,
    totals: () => ({
      byType: [...types].map(([type, gathered]) => ({ type, ...timesOf(gathered) })).sort((a, b) => b.jobs - a.jobs),
      byHost: [...hosts].map(([host, gathered]) => ({ host, ...timesOf(gathered) })).sort((a, b) => b.jobs - a.jobs),
      perMinute: minutes.map((jobs, index) => ({ atMs: firstMs + index * minuteMs, jobs })),
      errors: [...errors].map(([code, count]) => ({ code, count })).sort((a, b) => b.count - a.count || (a.code < b.code ? -1 : 1)),
    }),
  }
}

interface Gathered {
  jobs: number
  readonly wait: number[]
  readonly handover: number[]
  readonly boot: number[]
  readonly made: Record<Made | 'bare', number>
}

function entry<Key>(map: Map<Key, Gathered>, key: Key): Gathered {
  const found = map.get(key) ?? { jobs: 0, wait: [], handover: [], boot: [], made: { new: 0, ready: 0, reused: 0, bare: 0 } }
  map.set(key, found)
  return found
}

function gather(to: Gathered, { phases, made, bare }: TimedJob): void {
  const took = (...names: readonly string[]): number => names.reduce((total, name) => total + Math.max(0, phases[name] ?? 0), 0)
  to.jobs += 1
  if (bare) to.made.bare += 1
  else if (made !== null) to.made[made] += 1
  if (phases['wait'] !== undefined) to.wait.push(took('wait', 'boot', 'contact'))
  if (phases['start'] !== undefined) to.handover.push(took('stage', 'start'))
  if (phases['boot'] !== undefined) to.boot.push(took('boot', 'contact'))
}

const timesOf = ({ jobs, wait, handover, boot, made }: Gathered): Times =>
  ({ jobs, waitMs: percentiles(wait), handoverMs: percentiles(handover), bootMs: percentiles(boot), made })

/** By nearest rank: each is a value that there was. */
export function percentiles(values: readonly number[]): Percentiles | null {
  const sorted = [...values].sort((a, b) => a - b)
  const rank = (share: number): number => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
  return sorted.length === 0 ? null : { p50: rank(0.5), p95: rank(0.95), p99: rank(0.99) }
}
