/** The operator's verbs, served on the operator's socket only. Each may be repeated. */
import { VwnError } from '../../core/errors.ts'
import { wantHost, type HostWant } from '../../core/host.ts'
import { hostId, idPatterns } from '../../core/ids.ts'
import { hostOrderedSchema, vwnOrderedSchema, type HostView, type VwnView } from '../../wire/api.ts'
import type { Parts } from '../controller.ts'
import { removedBecause } from '../lifecycle.ts'
import { acknowledgeRoute } from './past.ts'
import { vwnNamed } from './read.ts'
import { order, type Route } from './routes.ts'
import { hostView, vwnView } from './views.ts'

/** Every address that orders something. */
export const verbRoutes: readonly Route[] = [
  order('/v1/hosts/:id/drain', { says: 'The host takes no more jobs.', reply: { HostOrdered: hostOrderedSchema } }, (parts, id) => ({ host: want(parts, id, 'draining') })),
  order('/v1/hosts/:id/undrain', { says: 'The host takes jobs again.', reply: { HostOrdered: hostOrderedSchema } }, (parts, id) => ({ host: want(parts, id, 'open') })),
  order('/v1/vwns/:id/kill', { says: 'The VWN ends, whatever runs in it.', reply: { VwnOrdered: vwnOrderedSchema } }, (parts, id) => ({ vwn: kill(parts, id) })),
  acknowledgeRoute,
]

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
  return hostView(parts.db, parts.book.getOrNew(host))
}

function kill(parts: Parts, id: string): VwnView {
  const { id: vwn } = vwnNamed(parts, id)
  const verdict = parts.lifecycle.deliver(vwn, { kind: 'kill', cause: removedBecause('killed by an operator') })
  if (verdict?.is === 'denied') throw new VwnError('ORDER_DENIED', { vwn, why: verdict.why })
  return vwnView(parts, vwnNamed(parts, id))
}
