/** The read-only API: GET and nothing else. */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Readable } from 'node:stream'
import { VwnError } from '../../core/errors.ts'
import { hostId, idPatterns, jobId, typeName, vwnId, type HostId } from '../../core/ids.ts'
import type { Vwn } from '../../core/vwn.ts'
import { getExplanation, getJob, listJobs, type JobRecord } from '../../db/queries/job.ts'
import { getVwn, listVwns, presentVwns } from '../../db/queries/vwn.ts'
import {
  explainQuerySchema, explanationSchema, jobsQuerySchema, vwnsQuerySchema,
  type ExplainQuery, type Explanation,
} from '../../wire/api.ts'
import { changesQuerySchema, generationSchema } from '../../wire/farm.ts'
import type { Parts } from '../controller.ts'
import { explainQuestion, groupsOf } from '../explain.ts'
import { userOf } from '../users.ts'
import { checked } from './errors.ts'
import { farmFollowed, farmText } from './farm.ts'
import { resourcesOf } from './resources.ts'
import { hostViews, imageViews, jobView, receiptOf, statusView, typeViews, vwnDetail, vwnView } from './views.ts'

type WithId = { Params: { id: string } }

/** Adds every route that reads. */
export function readRoutes(app: FastifyInstance, parts: Parts): void {
  const { db } = parts
  app.get('/healthz', () => ({ ok: true }))
  app.get('/readyz', () => {
    if (!parts.bus.connected) throw new VwnError('BUS_UNREACHABLE', { servers: parts.settings.nats.servers.join(',') })
    if (parts.mapping.state.mapping === null) throw absentMapping(parts)
    return { ok: true }
  })
  app.get('/v1/status', () => statusView(parts))
  app.get('/v1/hosts', () => ({ hosts: hostViews(parts) }))
  app.get<WithId>('/v1/hosts/:id/resources', ({ params }) => resourcesOf(parts, params.id))
  const farm = farmText(parts)
  app.get('/v1/farm', (_, reply) => reply.type('application/json; charset=utf-8').send(Readable.from(farm().pieces)))
  const changes = farmFollowed(parts)
  app.get('/v1/changes', (request, reply) => {
    const since = lastSeen(request) ?? checked(changesQuerySchema, request.query).since
    parts.followers.add(reply.hijack().raw, changes, since)
  })
  app.get('/v1/types', () => ({ types: typeViews(parts), problem: statusView(parts).mapping.problem }))
  app.get('/v1/images', () => ({ images: imageViews(parts) }))
  app.get('/v1/vwns', ({ query }) => ({ vwns: listVwns(db, checked(vwnsQuerySchema, query)).map((vwn) => vwnView(parts, vwn)) }))
  app.get<WithId>('/v1/vwns/:id', ({ params }) => vwnDetail(parts, vwnNamed(parts, params.id)))
  app.get('/v1/jobs', ({ query }) => ({ jobs: listJobs(db, checked(jobsQuerySchema, query)).map(jobView) }))
  app.get<WithId>('/v1/jobs/:id', ({ params }) => jobView(jobNamed(parts, params.id)))
  app.get<WithId>('/v1/jobs/:id/receipt', ({ params }) => receiptOf(jobNamed(parts, params.id)))
  app.get<WithId>('/v1/jobs/:id/explain', ({ params }) => explainJob(parts, jobNamed(parts, params.id)))
  app.get('/v1/explain', ({ query }) => explainUser(parts, checked(explainQuerySchema, query)))
}

/** Where a watcher that comes back has been. */
const lastSeen = ({ headers }: FastifyRequest): number | undefined => generationSchema.safeParse(Number(headers['last-event-id'] ?? NaN)).data

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
