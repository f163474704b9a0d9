/** The farm as it was at a moment, in the shape of the present one, so that one view shows both. */
import type { FarmHost, FarmJob, FarmVwn } from '../../wire/farm.ts'
import type { FarmEvent, PastFarm } from '../../wire/history.ts'
import { farmOf, type Farm } from './farm.ts'

/**
 * What nobody wrote down is not made up: hosts show no trouble, VWNs do not stand still. How large a host was is taken from how large it is now, and
 * a job whose VWN was busy counts as running.
 */
export function pastFarm(past: PastFarm, present: Farm): Farm {
  const busy = new Set(past.vwns.filter(({ state }) => state === 'busy').map(({ job }) => job))
  return farmOf({
    generation: 0, nowMs: past.atMs,
    hosts: past.hosts.map((host): FarmHost => ({ ...host, want: 'open', fact: 'alive', broken: null, capacity: present.tiles.get(host.host)?.host.capacity ?? host.used })),
    vwns: past.vwns.map((vwn): FarmVwn => ({ ...vwn, paused: false })),
    jobs: past.jobs.map((job): FarmJob => ({ ...job, state: busy.has(job.job) ? 'running' : 'waiting', endedAtMs: null, made: null, why: job.vwn === null ? 'It had no VWN yet.' : null, outcome: null })),
  })
}

/** Events before and after a moment as one list, first to last, and where in it the moment is. */
export function around(before: readonly FarmEvent[], after: readonly FarmEvent[], atMs: number): { readonly events: readonly FarmEvent[]; readonly last: number } {
  const events = [...new Map([...before, ...after].map((event) => [event.id, event])).values()].sort((a, b) => a.id - b.id)
  return { events, last: events.findLastIndex((event) => event.atMs <= atMs) }
}
