/** What a client of `GET /v1/farm` and `GET /v1/changes` knows, as wire/farm.ts tells it to keep it. */
import { farmSchema, type Farm, type FarmHost, type FarmJob, type FarmVwn } from '../../wire/farm.ts'
import type { StreamEvent } from './event-stream.ts'

export interface FarmWatcher {
  /** The last number that it had. */
  readonly generation: number
  /** Everything is as in this answer. */
  fetched(farm: unknown): void
  /** False: the farm has to be fetched again. */
  heard(event: StreamEvent): boolean
  /** All rows by id. */
  rows(): Pick<Farm, 'hosts' | 'vwns' | 'jobs'>
}

/** A client that knows nothing yet. */
export function farmWatcher(): FarmWatcher {
  const hosts = new Map<string, FarmHost>()
  const vwns = new Map<string, FarmVwn>()
  const jobs = new Map<string, FarmJob>()
  let generation = 0
  const take = (farm: Farm): void => {
    generation = farm.generation
    for (const host of farm.hosts) hosts.set(host.host, host)
    for (const vwn of farm.vwns) if (vwn.state === 'gone') vwns.delete(vwn.vwn); else vwns.set(vwn.vwn, vwn)
    for (const job of farm.jobs) if (job.state === 'ended') jobs.delete(job.job); else jobs.set(job.job, job)
  }
  return {
    get generation() { return generation },
    fetched(farm) {
      for (const known of [hosts, vwns, jobs]) known.clear()
      take(farmSchema.parse(farm))
    },
    heard({ event, data }) {
      if (event === 'reset') return false
      if (event !== 'change') return true
      const farm = farmSchema.parse(data)
      if (farm.generation > generation) take(farm)
      return true
    },
    rows: () => sorted({ hosts: [...hosts.values()], vwns: [...vwns.values()], jobs: [...jobs.values()] }),
  }
}

/** The rows alone, each kind in the order of its ids. */
export const sorted = ({ hosts, vwns, jobs }: Pick<Farm, 'hosts' | 'vwns' | 'jobs'>): Pick<Farm, 'hosts' | 'vwns' | 'jobs'> => ({
  hosts: hosts.toSorted((a, b) => (a.host < b.host ? -1 : 1)),
  vwns: vwns.toSorted((a, b) => (a.vwn < b.vwn ? -1 : 1)),
  jobs: jobs.toSorted((a, b) => (a.job < b.job ? -1 : 1)),
})
