/** The three lists of `wnod top`: which rows there are, in which order, and what is said of each. */
import { compareIds } from '../../core/ids.ts'
import type { FarmHost, FarmJob, FarmVwn } from '../../wire/farm.ts'
import { age, outcomeWords } from '../../core/words.ts'
import { gib, outcomeTone, stateTone, vwnState } from '../show/words.ts'
import type { Column } from '../table.ts'

export const viewNames = ['hosts', 'vwns', 'jobs'] as const
export type ViewName = (typeof viewNames)[number]

/** The rows that are there, by id. */
export interface Rows {
  readonly hosts: ReadonlyMap<string, FarmHost>
  readonly vwns: ReadonlyMap<string, FarmVwn>
  readonly jobs: ReadonlyMap<string, FarmJob>
}

/** A column that rows can be in the order of: of the cell, where it is not said of what. */
interface TopColumn<Row> extends Column<Row> {
  readonly by?: (row: Row) => string | number | null
}

/** One list, as of a moment. */
export interface View<Row> {
  readonly rows: ReadonlyMap<string, Row>
  /** All that a filter looks at. */
  readonly words: (row: Row) => readonly (string | null)[]
  readonly columns: readonly TopColumn<Row>[]
}

interface HostRow extends FarmHost {
  readonly vwns: number
  readonly jobs: number
}

/** Every host, with how many VWNs and jobs it has. */
export function hostsView({ hosts, vwns, jobs }: Rows): View<HostRow> {
  const [vwnsOn, jobsOn] = [countByHost(vwns.values()), countByHost(jobs.values())]
  return {
    rows: new Map([...hosts].map(([id, host]) => [id, { ...host, vwns: vwnsOn.get(id) ?? 0, jobs: jobsOn.get(id) ?? 0 }])),
    words: ({ host, want, fact, broken }) => [host, want, fact, broken],
    columns: [
      { title: 'HOST', cell: (host) => host.host, least: 6, cut: true },
      { title: 'WANT', cell: (host) => host.want, least: 8, tone: ({ want }) => (want === 'open' ? undefined : stateTone(want)) },
      { title: 'FACT', cell: (host) => host.fact, least: 6, tone: ({ fact }) => stateTone(fact) },
      { title: 'CPUS', cell: (host) => `${host.used.cpus}/${host.capacity.cpus}`, by: (host) => host.used.cpus, right: true, least: 5 },
      { title: 'MEMORY', cell: (host) => `${gib(host.used.memoryMib)}/${gib(host.capacity.memoryMib)}`, by: (host) => host.used.memoryMib, right: true, spare: 2, least: 9 },
      { title: 'SCRATCH', cell: (host) => `${host.used.scratchGib}G/${host.capacity.scratchGib}G`, by: (host) => host.used.scratchGib, right: true, spare: 3, least: 9 },
      { title: 'VWNS', cell: (host) => host.vwns, right: true, least: 4 },
      { title: 'JOBS', cell: (host) => host.jobs, right: true, least: 4 },
      { title: 'BROKEN', cell: (host) => host.broken, cut: true, spare: 1, tone: ({ broken }) => (broken === null ? undefined : 'bad') },
    ],
  }
}

/** Every VWN that is not gone. */
export const vwnsView = ({ vwns }: Rows, nowMs: number): View<FarmVwn> => ({
  rows: vwns,
  words: (vwn) => [vwn.vwn, vwn.host, vwn.type, vwnState(vwn), vwn.job, vwn.user, vwn.image, vwn.cause],
  columns: [
    { title: 'VWN', cell: (vwn) => vwn.vwn, least: 5 },
    { title: 'HOST', cell: (vwn) => vwn.host, least: 6, cut: true },
    { title: 'TYPE', cell: (vwn) => vwn.type, least: 8, cut: true },
    { title: 'STATE', cell: vwnState, least: 12, tone: ({ state }) => stateTone(state) },
    { title: 'SINCE', cell: (vwn) => age(vwn.sinceMs, nowMs), by: (vwn) => -vwn.sinceMs, right: true, least: 10, spare: 2 },
    { title: 'USER', cell: (vwn) => vwn.user, least: 8, cut: true },
    { title: 'JOB', cell: (vwn) => vwn.job, least: 8 },
    { title: 'CPUS', cell: (vwn) => vwn.cpus, right: true, spare: 3 },
    { title: 'MEMORY', cell: (vwn) => gib(vwn.memoryMib), by: (vwn) => vwn.memoryMib, right: true, spare: 4 },
    { title: 'CAUSE', cell: (vwn) => vwn.cause, cut: true, spare: 1, tone: ({ cause }) => (cause === null ? undefined : 'bad') },
  ],
})

/** Every job that has not ended. */
export const jobsView = ({ jobs }: Rows, nowMs: number): View<FarmJob> => ({
  rows: jobs,
  words: (job) => [job.job, job.name, job.host, job.user, job.queue, job.state, job.type, job.vwn, job.batchSystem, job.batchJobId, job.why],
  columns: [
    { title: 'JOB', cell: (job) => job.job, least: 8 },
    { title: 'NAME', cell: (job) => job.name, least: 10, cut: true },
    { title: 'USER', cell: (job) => job.user, least: 8, cut: true },
    { title: 'STATE', cell: (job) => job.state, least: 9, tone: ({ state }) => stateTone(state) },
    { title: 'AGE', cell: (job) => age(job.submittedAtMs, nowMs), by: (job) => -job.submittedAtMs, right: true, least: 10, spare: 2 },
    { title: 'QUEUE', cell: (job) => job.queue, cut: true, spare: 4 },
    { title: 'TYPE', cell: (job) => job.type, least: 8, cut: true, spare: 3 },
    { title: 'VWN', cell: (job) => job.vwn, least: 5 },
    { title: 'BATCH', cell: (job) => (job.batchSystem === null ? null : `${job.batchSystem} ${job.batchJobId ?? ''}`), cut: true, spare: 5 },
    { title: 'WHY', cell: (job) => (job.outcome === null ? job.why : outcomeWords(job.outcome)), cut: true, spare: 1, tone: ({ outcome }) => (outcome === null ? 'quiet' : outcomeTone(outcome)) },
  ],
})

/** Which column rows are in the order of, by its title, and whether the largest come first. */
export interface Sort {
  readonly column: string
  readonly falling: boolean
}

/** The ids of the rows in which every word of the filter occurs, in order; ties end by id. */
export function chosen<Row>({ rows, words: wordsOf, columns }: View<Row>, filter: string, { column, falling }: Sort): readonly string[] {
  const words = filter.toLowerCase().split(/\s+/).filter((word) => word !== '')
  const matches = (row: Row): boolean => {
    const text = wordsOf(row).join(' ').toLowerCase()
    return words.every((word) => text.includes(word))
  }
  const found = columns.find(({ title }) => title === column)
  const by = found?.by ?? found?.cell ?? (() => null)
  const keyed = [...rows].flatMap(([id, row]) => (words.length === 0 || matches(row) ? [{ id, key: by(row) }] : []))
  return keyed.sort((a, b) => compared(a.key, b.key, falling ? -1 : 1) || compareIds(a.id, b.id)).map(({ id }) => id)
}

/** What is not there comes last either way. */
function compared(a: string | number | null, b: string | number | null, sign: 1 | -1): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1
  return sign * (typeof a === 'number' && typeof b === 'number' ? a - b : compareIds(String(a), String(b)))
}

function countByHost(rows: Iterable<{ readonly host: string }>): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const { host } of rows) counts.set(host, (counts.get(host) ?? 0) + 1)
  return counts
}
