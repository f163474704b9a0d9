/** The past over HTTP: accounting records, history and times. Each answer looks at a bounded number of rows. */
import { accountOf, isAskedFor } from '../../core/accounting.ts'
import { VwnError } from '../../core/errors.ts'
import { makingIn } from '../../core/making.ts'
import { timesBook } from '../../core/times.ts'
import { recordsAfter, recordsBetween } from '../../db/queries/accounting.ts'
import { beforeAll, pastAfter, type Past, type Place } from '../../db/queries/past.ts'
import { getJob } from '../../db/queries/job.ts'
import { acknowledgedRecord, acknowledgeRecord, newestRecord } from '../../db/queries/meta.ts'
import { madeVwnsBefore, timedJobsBefore, vwnFailuresSince } from '../../db/queries/times.ts'
import { getVwn } from '../../db/queries/vwn.ts'
import {
  accountingQuerySchema, accountingReplySchema, acknowledgedSchema, historyExportQuerySchema, historyExportReplySchema, makingReplySchema, timesQuerySchema, timesReplySchema,
  type AccountingQuery, type AccountingReply, type HistoryEntry, type HistoryExportReply, type MakingReply, type TimesReply,
} from '../../wire/accounting.ts'
import type { Clock } from '../../kit/clock.ts'
import type { Parts } from '../controller.ts'
import { get, order, type Route } from './routes.ts'
import { jobView, vwnPast } from './views.ts'

/** The addresses that read the past. */
export const pastRoutes: readonly Route[] = [
  get('/v1/accounting', { says: 'Accounting records of ended jobs, in the order of their numbers, page by page.', reply: { Accounting: accountingReplySchema }, query: accountingQuerySchema }, (parts, { query }) => accounting(parts, query)),
  get('/v1/history/export', { says: 'All that is over, oldest first, page by page.', reply: { HistoryExport: historyExportReplySchema }, query: historyExportQuerySchema }, (parts, { query }) => historyPage(parts, query)),
  get('/v1/times', { says: 'How long jobs have waited of late, by type and host, and what went wrong.', reply: { Times: timesReplySchema }, query: timesQuerySchema }, (parts, { query }) => times(parts, query.hours)),
  get('/v1/making', { says: 'How long the making of VWNs has taken of late, by type and time, and why VWNs failed.', reply: { Making: makingReplySchema }, query: timesQuerySchema }, (parts, { query }) => making(parts, query.hours)),
]

/** Said by whoever does the accounts; it may be repeated. */
export const acknowledgeRoute: Route =
  order('/v1/accounting/acknowledge/:id', { says: 'Accounting records up to this one are taken.', reply: { Acknowledged: acknowledgedSchema } }, acknowledge)

/** Records up to this one are taken; RECORD_NOT_FOUND. */
function acknowledge({ db, kit }: Parts, id: string): { readonly acknowledged: number } {
  const record = Number(id)
  const newest = newestRecord(db)
  if (!/^\d{1,15}$/.test(id) || record > newest) throw new VwnError('RECORD_NOT_FOUND', { record: id.slice(0, 20), newest })
  if (record > acknowledgedRecord(db)) kit.log.info({ record }, 'accounting records acknowledged')
  acknowledgeRecord(db, record)
  return { acknowledged: acknowledgedRecord(db) }
}

function accounting({ db, settings }: Parts, { since, until, limit, after, ...names }: AccountingQuery): AccountingReply {
  const filter = { sinceMs: since, untilMs: until, ...names }
  const timed = since !== undefined || until !== undefined
  const bounds = timed ? recordsBetween(db, since ?? 0, until ?? Number.MAX_SAFE_INTEGER) : { first: 1, last: newestRecord(db) }
  const page = bounds === null ? [] : recordsAfter(db, { after: after ?? bounds.first - 1, upTo: bounds.last, limit })
  const next = page.length < limit ? null : (page.at(-1)?.record ?? null)
  return { farm: settings.name, records: page.map(accountOf).filter((record) => isAskedFor(record, filter)), next, acknowledged: acknowledgedRecord(db) }
}

function historyPage(parts: Parts, { after, limit }: { readonly after?: string | undefined; readonly limit: number }): HistoryExportReply {
  const past = pastAfter(parts.db, after === undefined ? beforeAll : placeIn(after), { beforeMs: Number.MAX_SAFE_INTEGER, limit })
  const last = past.at(-1)
  return { entries: past.flatMap((one) => entryOf(parts, one) ?? []), next: last === undefined || past.length < limit ? null : `${last.endedAtMs}:${last.id}` }
}

function placeIn(text: string): Place {
  const [atMs = '', id = ''] = text.split(':')
  return { atMs: Number(atMs), id }
}

function entryOf(parts: Parts, past: Past): HistoryEntry | null {
  if (past.kind === 'vwn') {
    const vwn = getVwn(parts.db, past.id)
    return vwn === null ? null : { kind: 'vwn', ...vwnPast(parts, vwn) }
  }
  const job = getJob(parts.db, past.id)
  return job === null ? null : { kind: 'job', ...jobView(job) }
}

/** Rows that one answer looks at, and at one go: the controller works on between. */
const rowsMax = 100_000
const rowsAtOnce = 2_000
const hourMs = 3_600_000

async function times({ db, kit }: Parts, hours: number): Promise<TimesReply> {
  const toMs = kit.clock.nowMs()
  const { fromMs, rows: jobs } = await newestFirst(kit.clock, toMs - hours * hourMs, toMs, (place, page) => timedJobsBefore(db, place, page))
  const book = timesBook(fromMs, toMs)
  for (const job of jobs) book.add(job)
  for (const { code } of vwnFailuresSince(db, fromMs, toMs, rowsMax)) book.addFailure(code)
  const { byType, byHost, perMinute, errors } = book.totals()
  return { fromMs, toMs, byType: [...byType], byHost: [...byHost], perMinute: [...perMinute], errors: [...errors] }
}

/** How many points the curves of one answer have. */
const makingSteps = 48

async function making({ db, kit }: Parts, hours: number): Promise<MakingReply> {
  const toMs = kit.clock.nowMs()
  const { fromMs, rows } = await newestFirst(kit.clock, toMs - hours * hourMs, toMs, (place, page) => madeVwnsBefore(db, place, page))
  const steps = { fromMs, stepMs: (toMs - fromMs) / makingSteps, steps: makingSteps }
  return makingReplySchema.parse({ fromMs, toMs, stepMs: steps.stepMs, types: makingIn(steps, rows, vwnFailuresSince(db, fromMs, toMs, rowsMax)) })
}

/** What `read` finds, newest first, from `toMs` back to `sinceMs`, or to `fromMs` where there is more than one answer looks at. */
async function newestFirst<T extends { readonly place: Place }>(
  clock: Clock, sinceMs: number, toMs: number, read: (place: Place, page: { readonly sinceMs: number; readonly limit: number }) => readonly T[],
): Promise<{ readonly fromMs: number; readonly rows: readonly T[] }> {
  const rows: T[] = []
  let place: Place = { atMs: toMs, id: '' }
  while (rows.length < rowsMax) {
    const some = read(place, { sinceMs, limit: rowsAtOnce })
    rows.push(...some)
    place = some.at(-1)?.place ?? place
    if (some.length < rowsAtOnce) return { fromMs: sinceMs, rows }
    await clock.sleep(1)
  }
  return { fromMs: place.atMs, rows }
}
