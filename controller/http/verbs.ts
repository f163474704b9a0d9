/** The operator's verbs, served on the operator's socket only. Each may be repeated. */
import type { FastifyInstance } from 'fastify'
import { VwnError } from '../../core/errors.ts'
import { wantHost, type HostWant } from '../../core/host.ts'
import { hostId, idPatterns } from '../../core/ids.ts'
import type { HostView, VwnView } from '../../wire/api.ts'
import type { Parts } from '../controller.ts'
import { removedBecause } from '../lifecycle.ts'
import { accountingVerbs } from './past.ts'
import { vwnNamed } from './read.ts'
import { hostViews, vwnView } from './views.ts'

type WithId = { Params: { id: string } }

/** Adds every route that orders something; 202: the order is on record, the view shows how far it has come. */
export function verbRoutes(app: FastifyInstance, parts: Parts): void {
  app.post<WithId>('/v1/hosts/:id/drain', (request, reply) => reply.code(202).send({ host: want(parts, request.params.id, 'draining') }))
  app.post<WithId>('/v1/hosts/:id/undrain', (request, reply) => reply.code(202).send({ host: want(parts, request.params.id, 'open') }))
  accountingVerbs(app, parts)
  app.post<WithId>('/v1/vwns/:id/kill', (request, reply) => reply.code(202).send({ vwn: kill(parts, request.params.id) }))
}

function want(parts: Parts, id: string, wanted: HostWant): HostView {
  const known = idPatterns.host.test(id) ? parts.book.get(hostId(id)) : null
  if (known === null) throw new VwnError('HOST_NOT_FOUND', { host: id })
  const { id: host } = known.host
  if (known.host.want !== wanted) {
    parts.lifecycle.change((desk) => {
      desk.putHost({ ...known, host: wantHost(known.host, wanted) }, true)
      desk.touch(host)
    })
    parts.kit.log.info({ host, from: known.host.want, to: wanted }, 'host wanted otherwise by an operator')
  }
  const view = hostViews(parts).find((one) => one.host === host)
  if (view === undefined) throw new VwnError('HOST_NOT_FOUND', { host: id })
  return view
}

function kill(parts: Parts, id: string): VwnView {
  const { id: vwn } = vwnNamed(parts, id)
  const verdict = parts.lifecycle.deliver(vwn, { kind: 'kill', cause: removedBecause('killed by an operator') })
  if (verdict?.is === 'denied') throw new VwnError('ORDER_DENIED', { vwn, why: verdict.why })
  return vwnView(parts, vwnNamed(parts, id))
}
