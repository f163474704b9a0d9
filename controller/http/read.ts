/** The read-only API: GET and nothing else. */
import { VwnError } from '../../core/errors.ts'
import { hostId, idPatterns, jobId, typeName, vwnId, type HostId } from '../../core/ids.ts'
import type { Vwn } from '../../core/vwn.ts'
import { getExplanation, getJob, listJobs, type JobRecord } from '../../db/queries/job.ts'
import { getVwn, listVwns, presentVwns } from '../../db/queries/vwn.ts'
import {
  aliveSchema, explainQuerySchema, explanationSchema, hostsReplySchema, imagesReplySchema, jobsQuerySchema, jobsReplySchema, jobViewSchema, receiptSchema, resourcesReplySchema,
  statusSchema, typesReplySchema, vwnDetailSchema, vwnsQuerySchema, vwnsReplySchema, vwnViewSchema,
  type ExplainQuery, type Explanation,
} from '../../wire/api.ts'
import { changesQuerySchema, farmSchema, resetSchema, tickSchema } from '../../wire/farm.ts'
import {
  eventsQuerySchema, eventsReplySchema, eventsResetSchema, farmEventSchema, followQuerySchema, historyBoundsSchema, historyQuerySchema, pastFarmSchema,
} from '../../wire/history.ts'
import { consoleQuerySchema, consoleReplySchema, samplesQuerySchema, samplesReplySchema } from '../../wire/look.ts'
import type { Parts } from '../controller.ts'
import { explainQuestion, groupsOf } from '../explain.ts'
import { userOf } from '../users.ts'
import { afterCursor, page } from './cursor.ts'
import { eventsPage, historyBounds, pastFarm } from './history.ts'
import { consoleOf, samplesOf } from './look.ts'
import { pastRoutes } from './past.ts'
import { resourcesOf } from './resources.ts'
import { follow, get, getText, getWritten, type Route } from './routes.ts'
import { hostViews, imageViews, jobView, mappingProblem, receiptOf, statusView, typeViews, vwnDetail, vwnViews } from './views.ts'

/** Every address that reads. */
export const readRoutes: readonly Route[] = [
  get('/healthz', { says: 'The controller runs.', reply: { Alive: aliveSchema }, open: true }, () => ({ ok: true })),
  get('/readyz', { says: 'It hears its baits, and a mapping is in force; else why not.', reply: { Alive: aliveSchema } }, (parts) => {
    if (!parts.bus.connected) throw new VwnError('BUS_UNREACHABLE', { servers: parts.settings.nats.servers.join(',') })
    if (parts.mapping.state.mapping === null) throw absentMapping(parts)
    return { ok: true }
  }),
  getText('/metrics', { says: 'What Prometheus reads.' }, async ({ metrics }) => ({ type: metrics.contentType, text: await metrics.text() })),

  getWritten('/v1/farm', { says: 'The whole farm in slim rows: hosts, VWNs that are not gone, jobs that have not ended.', reply: { Farm: farmSchema } }, ({ farm }) => farm.now()),
  follow('/v1/changes', { says: 'What changes of the farm after `since`, as it happens.', events: { change: farmSchema, reset: resetSchema, tick: tickSchema }, query: changesQuerySchema },
    ({ farm }) => farm.changes),
  get('/v1/events', { says: 'What happened to VWNs, page by page.', reply: { Events: eventsReplySchema }, query: eventsQuerySchema }, (parts, { query }) => eventsPage(parts, query)),
  follow('/v1/events/follow', { says: 'What happens to VWNs after `since`, as it happens.', events: { event: farmEventSchema, reset: eventsResetSchema, tick: tickSchema }, query: followQuerySchema },
    ({ farm }) => farm.events),
  get('/v1/history', { says: 'The farm as it was at a moment.', reply: { PastFarm: pastFarmSchema }, query: historyQuerySchema }, (parts, { query }) => pastFarm(parts, query.at)),
  get('/v1/history/bounds', { says: 'The moments that `/v1/history` knows.', reply: { HistoryBounds: historyBoundsSchema } }, historyBounds),

  get('/v1/status', { says: 'The controller itself, its mapping and how much there is.', reply: { Status: statusSchema } }, statusView),
  get('/v1/hosts', { says: 'Every host.', reply: { Hosts: hostsReplySchema } }, (parts) => ({ hosts: hostViews(parts) })),
  get('/v1/hosts/:id/resources', { says: 'What a host offers to the next jobs of each type.', reply: { Resources: resourcesReplySchema } }, (parts, { id }) => resourcesOf(parts, id)),
  get('/v1/types', { says: 'The VWN types of the mapping in force.', reply: { Types: typesReplySchema } }, (parts) => ({ types: typeViews(parts), problem: mappingProblem(parts) })),
  get('/v1/images', { says: 'Every OS image that some host has.', reply: { Images: imagesReplySchema } }, (parts) => ({ images: imageViews(parts) })),
  get('/v1/vwns', { says: 'VWNs, newest first, page by page.', reply: { Vwns: vwnsReplySchema }, query: vwnsQuerySchema, rows: { in: 'vwns', like: vwnViewSchema } }, (parts, { query }) => {
    const { rows, next } = page(query.limit, (limit) => listVwns(parts.db, { ...query, ...afterCursor(query.cursor), limit }), ({ createdAtMs, id }) => ({ atMs: createdAtMs, id }))
    return { vwns: vwnViews(parts, rows), next }
  }),
  get('/v1/vwns/:id/samples', { says: 'What a VWN uses, as its host has measured it within the last hour; the host is asked now.', reply: { Samples: samplesReplySchema }, query: samplesQuerySchema },
    (parts, { id, query }) => samplesOf(parts, vwnNamed(parts, id), query.since)),
  get('/v1/vwns/:id/console', { says: 'What the guest of a VWN has said on its console; the host is asked now.', reply: { Console: consoleReplySchema }, query: consoleQuerySchema },
    (parts, { id, query }) => consoleOf(parts, vwnNamed(parts, id), query)),
  get('/v1/vwns/:id', { says: 'One VWN, with everything that ever happened to it and what its bait was told of it.', reply: { Vwn: vwnDetailSchema } }, (parts, { id }) => vwnDetail(parts, vwnNamed(parts, id))),
  get('/v1/jobs', { says: 'Jobs, newest first, page by page.', reply: { Jobs: jobsReplySchema }, query: jobsQuerySchema, rows: { in: 'jobs', like: jobViewSchema } }, ({ db }, { query }) => {
    const { rows, next } = page(query.limit, (limit) => listJobs(db, { ...query, ...afterCursor(query.cursor), limit }), ({ submittedAtMs, job }) => ({ atMs: submittedAtMs, id: job }))
    return { jobs: rows.map(jobView), next }
  }),
  get('/v1/jobs/:id', { says: 'One job.', reply: { Job: jobViewSchema } }, (parts, { id }) => jobView(jobNamed(parts, id))),
  get('/v1/jobs/:id/receipt', { says: 'Where the time of a job went, and what its VWN was when it came in.', reply: { Receipt: receiptSchema } }, (parts, { id }) => receiptOf(jobNamed(parts, id))),
  get('/v1/jobs/:id/explain', { says: 'Why a job got what it got, or waits.', reply: { Explanation: explanationSchema } }, (parts, { id }) => explainJob(parts, jobNamed(parts, id))),
  ...pastRoutes,
  get('/v1/explain', { says: 'What a user’s next job would get, and why.', reply: { Explanation: explanationSchema }, query: explainQuerySchema }, (parts, { query }) => explainUser(parts, query)),
]

/** The VWN with this id, gone or not; VWN_NOT_FOUND. */
export function vwnNamed({ db }: Parts, id: string): Vwn {
  const vwn = idPatterns.vwn.test(id) ? getVwn(db, vwnId(id)) : null
  if (vwn === null) throw new VwnError('VWN_NOT_FOUND', { vwn: id })
  return vwn
}

function jobNamed({ db }: Parts, id: string): JobRecord {
  const job = idPatterns.job.test(id) ? getJob(db, jobId(id)) : null
  if (job === null) throw new VwnError('JOB_NOT_FOUND', { job: id })
  return job
}

/** As it was decided; a job that nothing was decided about is asked for as it would be decided now. */
function explainJob(parts: Parts, job: JobRecord): Explanation {
  const kept = getExplanation(parts.db, job.job)
  if (kept !== null) return explanationSchema.parse(kept)
  const { queue, project, batchSystem, type } = job.want
  const who = { user: job.identity.user, groups: groupsOf(job), queue, project, batchSystem, requestedType: type }
  const { mapping } = parts.mapping.state
  if (mapping === null) throw absentMapping(parts)
  return { ...explainQuestion(who, job.identity, farmOf(parts, mapping), parts.kit.clock.nowMs()), job: job.job }
}

async function explainUser(parts: Parts, query: ExplainQuery): Promise<Explanation> {
  const { mapping } = parts.mapping.state
  if (mapping === null) throw absentMapping(parts)
  const given = [query.group ?? []].flat().flatMap((text) => text.split(',')).filter((name) => name !== '')
  const { ids, groups } = await userOf(parts.db, query.user, given)
  const type = query.type === undefined ? null : requestedType(query.type)
  const who = { user: query.user, groups, queue: query.queue ?? null, project: query.project ?? null, batchSystem: query.batch_system ?? null, requestedType: type }
  const host = query.host === undefined ? null : hostNamed(parts, query.host)
  return explainQuestion(who, ids, farmOf(parts, mapping), parts.kit.clock.nowMs(), host)
}

function hostNamed({ book }: Parts, id: string): HostId {
  const known = idPatterns.host.test(id) ? book.get(hostId(id)) : null
  if (known === null) throw new VwnError('HOST_NOT_FOUND', { host: id })
  return known.host.id
}

function requestedType(name: string): ReturnType<typeof typeName> {
  if (!idPatterns.type.test(name)) throw new VwnError('TYPE_UNKNOWN', { type: name })
  return typeName(name)
}

const farmOf = ({ book, db }: Parts, mapping: Parameters<typeof explainQuestion>[2]['mapping']): Parameters<typeof explainQuestion>[2] =>
  ({ hosts: book.hosts, vwns: presentVwns(db), mapping, factsOf: (host) => book.getOrNew(host).facts })

const absentMapping = ({ mapping }: Parts): VwnError => new VwnError('MAPPING_ABSENT', { file: mapping.file }, { cause: mapping.state.problem ?? undefined })
