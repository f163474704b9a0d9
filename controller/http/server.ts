/**
 * One application, served twice: on TCP it reads only, on the operator's unix socket (mode 0600) it also takes orders. The verbs are
 * not refused on TCP: they do not exist there.
 */
import { fastify, type FastifyInstance } from 'fastify'
import { createServer, type Server } from 'node:http'
import { rmSync } from 'node:fs'
import { VwnError } from '../../core/errors.ts'
import { writeAtomic } from '../../kit/atomic-file.ts'
import { closeHttp, httpUrl, listenTcp, listenUnix } from '../../kit/socket.ts'
import type { Parts } from '../controller.ts'
import { sendError } from './errors.ts'
import { monitorRoutes } from './monitor.ts'
import { withDescription } from './openapi.ts'
import { readRoutes } from './read.ts'
import { addRoutes, type Route } from './routes.ts'
import { guard, tokenOf } from './token.ts'
import { verbRoutes } from './verbs.ts'

export interface Http {
  readonly url: string
  /** Ends both servers and removes the socket and the address file; safe to repeat. */
  stop(): Promise<void>
}

/** Both servers take requests; or SOCKET_IN_USE or PORT_IN_USE, and neither does. */
export async function startHttp(parts: Parts): Promise<Http> {
  const { settings } = parts
  const reading = await application(parts, readRoutes, tokenOf(settings.http))
  const operating = await application(parts, [...readRoutes, ...verbRoutes], null)
  const stop = async (): Promise<void> => {
    if (settings.urlFile !== null) rmSync(settings.urlFile, { force: true })
    await Promise.all([reading, operating].map(close))
  }
  try {
    await listenUnix(operating.server, settings.socket, 0o600)
    const port = await listenTcp(reading.server, settings.http.port, settings.http.host)
    const url = httpUrl(settings.http.host, port)
    if (settings.urlFile !== null) await writeAtomic(settings.urlFile, `${url}\n`, { mode: 0o644 })
    return { url, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** What one that asks may cost: who sends nothing, or never reads what is sent, is cut off in time for others. */
const bounds = { headersTimeout: 5_000, requestTimeout: 10_000, connectionsCheckingInterval: 1_000, keepAliveTimeout: 10_000, maxHeaderSize: 16 * 1024 }
const silenceMs = 60_000
const connectionsMax = 2_000

export interface Served {
  readonly app: FastifyInstance
  readonly server: Server
}

/** What answers these routes, not listening yet. */
export async function application(parts: Parts, routes: readonly Route[], token: string | null): Promise<Served> {
  const app = fastify({ logger: false, bodyLimit: 64 * 1024, forceCloseConnections: true })
  app.setErrorHandler((error, request, reply) => sendError(parts.kit.log, error, request, reply))
  app.setNotFoundHandler(({ method, url }) => { throw new VwnError('ROUTE_NOT_FOUND', { method, url: url.slice(0, 200) }) })
  app.addHook('onResponse', (request, reply, done) => {
    parts.counts.request({ route: request.routeOptions.url ?? 'none', method: request.method, status: String(reply.statusCode) }, reply.elapsedTime)
    done()
  })
  if (token !== null) guard(app, token)
  addRoutes(app, parts, withDescription(routes))
  monitorRoutes(app)
  await app.ready()
  const server = createServer(bounds, (request, response) => app.routing(request, response))
  server.setTimeout(silenceMs)
  server.maxConnections = connectionsMax
  return { app, server }
}

async function close({ app, server }: Served): Promise<void> {
  await closeHttp(server)
  await app.close()
}
