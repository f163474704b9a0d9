/** `wnod events`: what happened to VWNs, one line each, and with --follow what happens, each once, whatever the controller goes through meanwhile. */
import { eventsReplySchema, eventsResetSchema, farmEventSchema, type FarmEvent } from '../wire/history.ts'
import type { Context } from './context.ts'
import { keepFollowing } from './follow.ts'
import { moment } from '../core/words.ts'
import { stateTone } from './show/words.ts'
import { plain, safeJson } from '../kit/plain.ts'
import { fit, painted } from './text.ts'

export interface EventsAsked {
  readonly vwn?: string | undefined
  readonly host?: string | undefined
  readonly job?: string | undefined
  /** Milliseconds since 1970. */
  readonly since?: number | undefined
  /** At most so many, the last ones. */
  readonly limit?: number | undefined
  readonly follow?: boolean | undefined
}

type Filter = Pick<EventsAsked, 'vwn' | 'host' | 'job'>

const limitMax = 1_000
const usualLimit = 100

/** Prints the events that are asked for; with `follow` also those that come, until the signal. */
export async function events(context: Context, { vwn, host, job, since, limit, follow }: EventsAsked, signal: AbortSignal): Promise<void> {
  const filter: Filter = { vwn, host, job }
  // What happens from here on comes after this one: known before anything is printed, so that nothing falls between.
  let known = follow === true ? ((await latest(context, {}, 1)).at(-1)?.id ?? 0) : 0
  const told = since === undefined ? await latest(context, filter, limit ?? usualLimit) : await allSince(context, filter, since, limit)
  for (const event of told) print(context, event)
  known = Math.max(known, told.at(-1)?.id ?? 0)
  if (follow !== true) return
  let away = false
  await keepFollowing({
    open: (ending) => context.api.follow('/events/follow', { since: known }, ending),
    lost(why) {
      if (!away) context.say(`${why === null ? 'the controller has ended' : why.entry.say}; waiting for it`)
      away = true
    },
    heard({ event, data }) {
      away = false
      const value: unknown = JSON.parse(data)
      if (event === 'reset') {
        known = eventsResetSchema.parse(value).newest
        context.say('the controller has another database than before: what happened between is not known')
      }
      if (event !== 'event') return
      const next = farmEventSchema.parse(value)
      if (next.id <= known) return
      known = next.id
      if (matches(next, filter)) print(context, next)
    },
  }, signal)
}

/** The last events, first to last. */
const latest = async ({ api }: Context, filter: Filter, limit: number): Promise<readonly FarmEvent[]> =>
  (await api.get('/events', eventsReplySchema, { ...filter, order: 'desc', limit: Math.min(limit, limitMax) })).events.toReversed()

/** All events from then on, page by page; of more than `limit` the last. */
async function allSince({ api }: Context, filter: Filter, from: number, limit = Infinity): Promise<readonly FarmEvent[]> {
  const found: FarmEvent[] = []
  for (let since: number | null | undefined; since !== null; ) {
    const page: { readonly events: readonly FarmEvent[]; readonly next: number | null } = await api.get('/events', eventsReplySchema, { ...filter, from: Math.max(0, Math.floor(from)), since, limit: limitMax })
    found.push(...page.events)
    since = page.next
  }
  return found.slice(-limit)
}

const matches = (event: FarmEvent, { vwn, host, job }: Filter): boolean =>
  (vwn === undefined || event.vwn === vwn) && (host === undefined || event.host === host) && (job === undefined || event.job === job)

/** One line: on a terminal no wider than that, elsewhere whole; or one line of JSON. */
function print(context: Context, event: FarmEvent): void {
  context.print(`${context.json ? safeJson(event) : eventLine(event, context)}\n`)
}

/** As people read it. What is a column has a width of its own, for lines come one by one. */
export function eventLine({ atMs, vwn, host, type, event, from, to, job, why }: FarmEvent, { width, colour }: Pick<Context, 'width' | 'colour'>): string {
  const words = [moment(atMs) ?? '', vwn.padEnd(6), host.padEnd(8), type.padEnd(10), `${from} > ${to}`.padEnd(22), plain(event).padEnd(10), (job ?? '-').padEnd(8), plain(why ?? '')]
  const line = words.join('  ').trimEnd()
  return painted(width === null ? line : fit(line, width), stateTone(to), colour)
}
