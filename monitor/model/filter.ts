/** What of the farm is of interest: every field that is not empty must fit. */
import { firstOf } from '../../core/first.ts'
import type { JobId } from '../../core/ids.ts'
import type { FarmJob, FarmVwn } from '../../wire/farm.ts'
import type { Farm, Tile } from './farm.ts'

export const filterFields = ['text', 'user', 'type', 'state', 'queue', 'image', 'job'] as const
export type FilterField = (typeof filterFields)[number]
export type Filter = Readonly<Partial<Record<FilterField, string>>>

export const isEmpty = (filter: Filter): boolean => filterFields.every((field) => (filter[field] ?? '') === '')

/** A VWN, seen together with its job. */
export function fitsVwn(filter: Filter, vwn: FarmVwn, job: FarmJob | null): boolean {
  return (
    is(filter.user, vwn.user ?? job?.user) && is(filter.type, vwn.type) && is(filter.queue, job?.queue) && starts(filter.image, vwn.image) &&
    isOneOf(filter.state, [stateOf(vwn), job?.state]) && isOneOf(filter.job, [vwn.job, job?.batchJobId, job?.name]) &&
    holds(filter.text, [vwn.vwn, vwn.host, vwn.type, stateOf(vwn), vwn.user, vwn.job, job?.name, job?.queue, job?.batchJobId, vwn.cause])
  )
}

/** A job, seen together with its VWN. */
export function fitsJob(filter: Filter, job: FarmJob, vwn: FarmVwn | null): boolean {
  return (
    is(filter.user, job.user) && is(filter.type, job.type) && is(filter.queue, job.queue) && starts(filter.image, vwn?.image) &&
    isOneOf(filter.state, [job.state, vwn === null ? null : stateOf(vwn)]) && isOneOf(filter.job, [job.job, job.batchJobId, job.name]) &&
    holds(filter.text, [job.job, job.name, job.host, job.user, job.queue, job.state, job.type, job.vwn, job.batchJobId, job.why])
  )
}

/** A VWN that stands still is in a state of its own here. */
export const stateOf = ({ state, paused }: { readonly state: string; readonly paused: boolean }): string => (paused ? 'paused' : state)

export interface Selected {
  /** Hosts with something of interest. */
  readonly tiles: readonly Tile[]
  /** The first of them that fit: those that wait first, and among them those that wait longest. */
  readonly jobs: readonly FarmJob[]
  /** How many fit. */
  readonly jobCount: number
  /** The VWN that a job is in, or that is being made for it: of each of those jobs at least. */
  readonly vwnOf: ReadonlyMap<JobId, FarmVwn>
  /** VWNs of interest, by state. */
  readonly states: ReadonlyMap<string, number>
}

/** More are counted, not listed: whoever looks for one filters. */
const jobsMax = 100

/** What of this farm fits. A host fits by its name too, where only text is asked for. */
export function select(farm: Farm, filter: Filter): Selected {
  const all = isEmpty(filter)
  const jobOf = ({ job }: FarmVwn): FarmJob | null => (job === null ? null : (farm.jobs.get(job) ?? null))
  const states = new Map<string, number>()
  const vwnOf = all ? null : vwnsByJob(farm)
  const tiles: Tile[] = []
  for (const tile of farm.tiles.values()) {
    let found = all
    for (const vwn of tile.vwns) {
      if (!all && !fitsVwn(filter, vwn, jobOf(vwn))) continue
      found = true
      states.set(stateOf(vwn), (states.get(stateOf(vwn)) ?? 0) + 1)
    }
    if (found || (filterFields.every((field) => field === 'text' || !filter[field]) && holds(filter.text, [tile.host.host]))) tiles.push(tile)
  }
  const fitting = vwnOf === null ? [...farm.jobs.values()] : [...farm.jobs.values()].filter((job) => fitsJob(filter, job, vwnOf.get(job.job) ?? null))
  const jobs = firstOf(fitting, jobsMax, waitingFirst)
  return { tiles, jobs, jobCount: fitting.length, vwnOf: vwnOf ?? vwnsByJob(farm, new Set(jobs.map(({ job }) => job))), states }
}

/** Of all jobs, or of these. */
function vwnsByJob({ tiles }: Farm, wanted?: ReadonlySet<JobId>): ReadonlyMap<JobId, FarmVwn> {
  const found = new Map<JobId, FarmVwn>()
  for (const { vwns } of tiles.values()) for (const vwn of vwns) if (vwn.job !== null && wanted?.has(vwn.job) !== false) found.set(vwn.job, vwn)
  return found
}

/** Those that wait first, and among them those that wait longest. */
const waitingFirst = (a: FarmJob, b: FarmJob): number =>
  Number(b.state === 'waiting') - Number(a.state === 'waiting') || a.submittedAtMs - b.submittedAtMs || (a.job < b.job ? -1 : 1)

type Value = string | null | undefined
const is = (wanted: string | undefined, value: Value): boolean => !wanted || value === wanted
const starts = (wanted: string | undefined, value: Value): boolean => !wanted || value?.startsWith(wanted) === true
const isOneOf = (wanted: string | undefined, values: readonly Value[]): boolean => !wanted || values.includes(wanted)
const holds = (wanted: string | undefined, values: readonly Value[]): boolean =>
  !wanted || values.some((value) => value?.toLowerCase().includes(wanted.toLowerCase()) === true)
