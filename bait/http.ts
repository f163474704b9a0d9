/** What the bait says about itself over HTTP, to whoever watches over it: alive, ready, and its numbers. It takes no orders. */
import { createServer, type ServerResponse } from 'node:http'
import { rmSync } from 'node:fs'
import { VwnError } from '../core/errors.ts'
import { writeAtomic } from '../kit/atomic-file.ts'
import type { Metrics } from '../kit/metrics.ts'
import { service, type Kit, type Service } from '../kit/service.ts'
import { closeHttp, httpUrl, listenTcp } from '../kit/socket.ts'
import { errorReply } from '../wire/api.ts'
import type { BaitSettings } from './config.ts'

export interface HttpOptions {
  readonly settings: BaitSettings['http']
  /** Where the address is written. */
  readonly urlFile: string
  readonly metrics: Metrics
  /** What stands in the way of jobs; null when nothing does. */
  unready(): VwnError | null
}

/** Serves `/healthz`, `/readyz` and `/metrics`; with port `off` nothing. */
export function baitHttp(kit: Kit, { settings: { host, port }, urlFile, metrics, unready }: HttpOptions): Service {
  const answer = async (method: string, path: string, reply: ServerResponse): Promise<void> => {
    if (method !== 'GET') return refuse(reply, new VwnError('ROUTE_NOT_FOUND', { method, url: path }))
    switch (path) {
      case '/healthz': return say(reply, 200, { ok: true })
      case '/readyz': {
        const why = unready()
        return why === null ? say(reply, 200, { ok: true }) : refuse(reply, why)
      }
      case '/metrics': {
        const text = await metrics.text()
        return void reply.setHeader('content-type', metrics.contentType).end(text)
      }
      default: return refuse(reply, new VwnError('ROUTE_NOT_FOUND', { method, url: path }))
    }
  }
  const server = createServer((request, reply) => {
    const path = (request.url ?? '').split('?', 1)[0]?.slice(0, 200) ?? ''
    answer(request.method ?? '', path, reply).catch((error: unknown) => {
      kit.log.error({ err: error, path }, 'bug: a request failed')
      say(reply, 500, { code: 'BUG' })
    })
  })
  return service({
    async start() {
      if (port === 'off') return
      const url = httpUrl(host, await listenTcp(server, port, host))
      await writeAtomic(urlFile, `${url}\n`, { mode: 0o644 })
      kit.log.info({ url }, 'http is served')
    },
    async stop() {
      if (!server.listening) return
      rmSync(urlFile, { force: true })
      await closeHttp(server)
    },
  })
}

const say = (reply: ServerResponse, status: number, body: object): void =>
  void reply.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

function refuse(reply: ServerResponse, error: VwnError): void {
  if (error.entry.http === 503) reply.setHeader('retry-after', '1')
  say(reply, error.entry.http, errorReply(error))
}
