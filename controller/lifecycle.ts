/**
 * The one door. Whatever changes a VWN, a host or a decision goes through `change`: read, decide, write in one transaction, then act.
 *
 *   change ─▶ work: deliver · request · touch … ─▶ number the orders of touched hosts ─▶ commit ─▶ log, send orders
 *
 * A crash after the commit loses only the sending: orders are built from rows, and the next report is answered with them.
 */
import { failure, failureWords } from '../core/failure.ts'
import type { HostId, VwnId } from '../core/ids.ts'
import { nextToken, type LeaseToken } from '../core/lease.ts'
import { requestVwn, step, type Moment, type Verdict, type Vwn, type VwnEvent, type VwnRequest } from '../core/vwn.ts'
import type { Database } from '../db/open.ts'
import { addVwnEvent } from '../db/queries/event.ts'
import { nextVwnId } from '../db/queries/meta.ts'
import { getVwn, saveVwn } from '../db/queries/vwn.ts'
import { transaction } from '../db/statement.ts'
import type { Kit } from '../kit/service.ts'
import type { HostBook, KnownHost } from './hosts.ts'

/** What may be done inside one change. */
export interface Desk {
  /** Tells a VWN what happened; its row is as it was just read. */
  deliver(vwn: Vwn, event: VwnEvent): Verdict
  /** A new VWN, on its way to its host with the next orders. */
  request(request: VwnRequest): Vwn
  /** What is known of a host; `durable` when it must not be forgotten. */
  putHost(known: KnownHost, durable: boolean): void
  /** The orders of this host say something new. */
  touch(host: HostId): void
}

export interface Lifecycle {
  readonly term: number
  /** All of `work` happens, or nothing of it. `answering`: this host gets its orders as an answer anyway, so they are not sent. */
  change<T>(work: (desk: Desk) => T, answering?: HostId): T
  /** One event for one VWN; null when there is no such VWN. */
  deliver(id: VwnId, event: VwnEvent): Verdict | null
}

export interface LifecycleParts {
  readonly kit: Kit
  readonly db: Database
  readonly book: HostBook
  readonly term: number
  /** Sends a host its orders. */
  readonly send: (host: HostId) => void
  /** Something changed: it may be the scheduler's turn. */
  readonly changed: () => void
}

/** The door of one controller; there is one per database. */
export function openLifecycle(parts: LifecycleParts): Lifecycle {
  const { kit, db, book, term } = parts
  let lastToken: LeaseToken = { term: 0, epoch: 0 }

  const change = <T>(work: (desk: Desk) => T, answering?: HostId): T => {
    const draft = newDraft()
    book.begin()
    let result: T
    try {
      result = transaction(db, () => {
        const done = work(deskOn(draft))
        for (const [host, atLeast] of draft.touched) numberOrders(host, atLeast)
        return done
      })
    } catch (error) {
      book.drop()
      throw error
    }
    book.keep()
    for (const say of draft.said) say()
    for (const host of draft.touched.keys()) if (host !== answering) parts.send(host)
    if (draft.touched.size > 0) parts.changed()
    return result
  }

  const numberOrders = (host: HostId, atLeast: number): void => {
    const known = book.getOrNew(host)
    book.put({ ...known, generation: Math.max(known.generation + 1, atLeast) }, true)
  }
  const momentOf = (host: HostId): Moment => ({ nowMs: kit.clock.nowMs(), generation: book.getOrNew(host).generation + 1 })

  const deskOn = (draft: Draft): Desk => {
    const moved = (before: Vwn, vwn: Vwn, event: VwnEvent['kind'] | 'requested'): void => {
      saveVwn(db, vwn)
      const why = vwn.cause === null ? null : failureWords(vwn.cause)
      const transition = { vwn: vwn.id, host: vwn.host, event, from: before.state, to: vwn.state, job: vwn.job ?? before.job, why }
      addVwnEvent(db, { ...transition, atMs: kit.clock.nowMs() })
      draft.touched.set(vwn.host, Math.max(draft.touched.get(vwn.host) ?? 0, vwn.generation))
      draft.said.push(() => kit.log.info(transition, 'vwn moved'))
    }
    return {
      deliver(vwn, event) {
        const verdict = step(vwn, event, vwn.token, momentOf(vwn.host))
        if (verdict.is === 'moved') moved(vwn, verdict.next, event.kind)
        else draft.said.push(() => kit.log.debug({ vwn: vwn.id, event: event.kind, why: verdict.why }, `vwn event ${verdict.is}`))
        return verdict
      },
      request(request) {
        lastToken = nextToken(lastToken, term)
        const vwn = requestVwn(request, nextVwnId(db), lastToken, momentOf(request.host))
        moved(vwn, vwn, 'requested')
        return vwn
      },
      putHost: (known, durable) => book.put(known, durable),
      touch: (host) => void draft.touched.set(host, draft.touched.get(host) ?? 0),
    }
  }

  return {
    term,
    change,
    deliver: (id, event) =>
      change((desk) => {
        const vwn = getVwn(db, id)
        return vwn === null ? null : desk.deliver(vwn, event)
      }),
  }
}

/** What a change will have done once it is committed. */
interface Draft {
  /** Host → the number that its orders must have at least. */
  readonly touched: Map<HostId, number>
  readonly said: (() => void)[]
}
const newDraft = (): Draft => ({ touched: new Map(), said: [] })

/** Why an operator's or the controller's own order ends a VWN. */
export const removedBecause = (why: string): ReturnType<typeof failure> => failure('VWN_REMOVED', why)
