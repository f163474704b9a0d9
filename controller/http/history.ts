/** What happened, and how the farm was at a moment. */
import { VwnError } from '../../core/errors.ts'
import { add, noAmount, type Amount } from '../../core/amount.ts'
import { isLive } from '../../core/vwn.ts'
import { listEvents, newestEvent, type EventFilter } from '../../db/queries/event.ts'
import { farmThen, historyFromMs, type VwnThen } from '../../db/queries/history.ts'
import type { EventsReply, HistoryBounds, PastFarm } from '../../wire/history.ts'
import type { Parts } from '../controller.ts'
import { eventText, type Followed } from './follow.ts'

/** Events on one page, and the place of the next one. */
export function eventsPage({ db }: Pick<Parts, 'db'>, filter: EventFilter): EventsReply {
  const found = listEvents(db, { ...filter, limit: filter.limit + 1 })
  const events = found.slice(0, filter.limit)
  return { events, next: found.length > filter.limit ? (events.at(-1)?.id ?? null) : null }
}

/** So many events are told at once, the others on the turns after that. */
const toldMax = 1_000

/** Events as they happen; numbers are theirs. */
export const eventsFollowed = ({ db }: Pick<Parts, 'db'>): Followed => ({
  newest: () => newestEvent(db),
  after(since) {
    const newest = newestEvent(db)
    if (since > newest) return { upTo: newest, text: eventText('reset', { newest }) }
    const events = listEvents(db, { since, order: 'asc', limit: toldMax })
    return { upTo: events.at(-1)?.id ?? since, text: events.map((event) => eventText('event', event, event.id)).join('') }
  },
})

/** The moments that can be asked for: while nothing has happened yet, only the present. */
export function historyBounds({ db, kit }: Pick<Parts, 'db' | 'kit'>): HistoryBounds {
  const toMs = kit.clock.nowMs()
  return { fromMs: Math.min(historyFromMs(db) ?? toMs, toMs), toMs }
}

/** The farm at this moment; HISTORY_UNKNOWN. */
export function pastFarm(parts: Pick<Parts, 'db' | 'kit'>, atMs: number): PastFarm {
  const { fromMs, toMs } = historyBounds(parts)
  if (atMs < fromMs || atMs > toMs) throw new VwnError('HISTORY_UNKNOWN', { atMs, fromMs, toMs })
  const { hosts, vwns, jobs } = farmThen(parts.db, atMs)
  const held = new Map<string, Amount>()
  for (const vwn of vwns) held.set(vwn.host, add(held.get(vwn.host) ?? noAmount, { ...vwn, cpus: vwn.job === null ? 0 : vwn.cpus }))
  const servedBy = new Map(vwns.flatMap((vwn): [string, VwnThen][] => (vwn.job !== null && isLive(vwn) ? [[vwn.job, vwn]] : [])))
  return {
    atMs,
    hosts: hosts.map((host) => ({ host, want: null, fact: null, capacity: null, used: held.get(host) ?? noAmount, broken: null })),
    vwns: vwns.map((vwn) => ({ ...vwn, paused: null })),
    jobs: jobs.map((job) => ({
      ...job, state: null, type: servedBy.get(job.job)?.type ?? null, vwn: servedBy.get(job.job)?.vwn ?? null, endedAtMs: null, made: null, why: null, outcome: null,
    })),
  }
}
