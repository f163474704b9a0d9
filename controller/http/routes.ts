/**
 * What a server answers, as data: each address with its words, its parameters and what comes back. Servers are made from such a table, and so
 * is what they say of themselves (openapi.ts).
 */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import { VwnError } from '../../core/errors.ts'
import { nearest } from '../../kit/config.ts'
import type { Parts } from '../controller.ts'
import { checked } from './errors.ts'
import type { Followed } from './follow.ts'

/** What a request brings. */
export interface Asked<Query> {
  /** The id in its path; empty where that has none. */
  readonly id: string
  readonly query: Query
}

/** A schema under the name that it has in the description of the API. */
export type Named<S extends z.ZodType = z.ZodType> = Readonly<Record<string, S>>

export interface Route {
  readonly method: 'GET' | 'POST'
  readonly path: string
  /** One sentence, for people. */
  readonly says: string
  readonly query: z.ZodObject
  readonly status: 200 | 202
  /** `events`: one schema per kind. */
  readonly reply: { readonly is: 'json' | 'events'; readonly named: Named }
  /** Whoever reaches the server may ask this, without a token. */
  readonly open: boolean
  readonly serve: (parts: Parts, request: FastifyRequest, reply: FastifyReply) => unknown
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered without a token. */
    readonly open?: boolean
  }
}

const noQuery = z.strictObject({})
type NoQuery = typeof noQuery

interface Reading<R extends z.ZodType, Q extends z.ZodObject> {
  readonly says: string
  readonly reply: Named<R>
  readonly query?: Q
  readonly open?: boolean
  /** The list in the reply of which `fields` in the query choose. */
  readonly rows?: { readonly in: string; readonly like: z.ZodObject }
}

/** `GET path`: JSON that has an ETag, so that nobody is told twice what they know. */
export function get<R extends z.ZodType, Q extends z.ZodObject = NoQuery>(
  path: string, reading: Reading<R, Q>, answer: (parts: Parts, asked: Asked<z.output<Q>>) => z.output<R> | Promise<z.output<R>>,
): Route {
  const { says, reply: named, open = false, rows } = reading
  const query: z.ZodObject = reading.query ?? noQuery
  return {
    method: 'GET', path, says, query, open, status: 200, reply: { is: 'json', named },
    async serve(parts, request, reply) {
      const asked = askedIn<z.output<Q>>(request, query)
      const full: unknown = await answer(parts, asked)
      const text = JSON.stringify(rows === undefined ? full : withFields(full, rows, asked.query))
      return sendUnlessKnown(request, reply, createHash('sha1').update(text).digest('base64url'), () => text)
    },
  }
}

/** As `get`, of what is written already: pieces of JSON, whose content `version` stands for. */
export function getWritten(path: string, { says, reply: named }: Pick<Reading<z.ZodType, NoQuery>, 'says' | 'reply'>, written: (parts: Parts) => { readonly version: string; readonly pieces: readonly Buffer[] }): Route {
  return {
    method: 'GET', path, says, query: noQuery, open: false, status: 200, reply: { is: 'json', named },
    serve(parts, request, reply) {
      askedIn(request, noQuery)
      const { version, pieces } = written(parts)
      return sendUnlessKnown(request, reply, version, () => Readable.from(pieces))
    },
  }
}

/** `GET path`: server-sent events from `since` on; a `Last-Event-ID` counts before that. */
export function follow(path: string, { says, events, query }: { readonly says: string; readonly events: Named; readonly query: z.ZodObject<{ since: z.ZodType<number | undefined> }> }, followed: (parts: Parts) => Followed): Route {
  return {
    method: 'GET', path, says, query, open: false, status: 200, reply: { is: 'events', named: events },
    serve(parts, request, reply) {
      const { since } = checked(query, { ...(request.query as object), ...lastSeen(request) })
      parts.followers.add(reply.hijack().raw, followed(parts), since)
    },
  }
}

/** `POST path`, which may be repeated; the order is on record when it is answered, and the view shows how far it has come. */
export const order = <R extends z.ZodType>(path: string, { says, reply: named }: { readonly says: string; readonly reply: Named<R> }, obey: (parts: Parts, id: string) => z.output<R>): Route => ({
  method: 'POST', path, says, query: noQuery, open: false, status: 202, reply: { is: 'json', named },
  serve: (parts, request, reply) => reply.code(202).send(obey(parts, askedIn(request, noQuery).id)),
})

/** The application answers all of these. */
export function addRoutes(app: FastifyInstance, parts: Parts, routes: readonly Route[]): void {
  for (const { method, path, open, reply: { is }, serve } of routes) {
    app.route({ method, url: path, config: { open }, exposeHeadRoute: method === 'GET' && is === 'json', handler: (request, reply) => serve(parts, request, reply) })
  }
}

const askedIn = <Query>({ params, query }: FastifyRequest, schema: z.ZodObject): Asked<Query> =>
  ({ id: (params as { id?: string }).id ?? '', query: checked(schema, query) as Query })

/** Where a watcher that comes back has been. */
const lastSeen = ({ headers }: FastifyRequest): { since?: unknown } => ('last-event-id' in headers ? { since: headers['last-event-id'] } : {})

function sendUnlessKnown({ headers }: FastifyRequest, reply: FastifyReply, version: string, body: () => string | Readable): FastifyReply {
  const tag = `"${version}"`
  void reply.header('etag', tag).header('cache-control', 'no-cache')
  const known = (headers['if-none-match'] ?? '').split(',').map((each) => each.trim().replace(/^W\//, ''))
  if (known.includes(tag) || known.includes('*')) return reply.code(304).send()
  return reply.type('application/json; charset=utf-8').send(body())
}

/** `fields=a,b` in the query: of each row only these. */
function withFields(reply: unknown, { in: list, like }: { readonly in: string; readonly like: z.ZodObject }, query: object): unknown {
  if (!('fields' in query) || typeof query.fields !== 'string') return reply
  const names = query.fields.split(',')
  const known = Object.keys(like.shape)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new VwnError('REQUEST_INVALID', { parameter: 'fields', problem: `no such field: ${unknown}`, nearest: nearest(unknown, known) ?? undefined })
  }
  const chosen = (row: object): object => Object.fromEntries(Object.entries(row).filter(([name]) => names.includes(name)))
  return { ...(reply as object), [list]: (reply as Readonly<Record<string, readonly object[]>>)[list]?.map(chosen) }
}
