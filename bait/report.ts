/**
 * The bait's side of the talk with the controller: its Report goes out on every change and with every heartbeat, and the answer is the
 * current Orders. A controller that is silent changes nothing here: what runs, runs on.
 */
import { isVwnError } from '../core/errors.ts'
import type { HostId } from '../core/ids.ts'
import type { Bus } from '../kit/bus.ts'
import { loop, type Kit, type Loop, type Service, service } from '../kit/service.ts'
import { baitVersion, ordersSchema, type HostFacts, type Orders, type Report } from '../wire/bait.ts'
import { subjects } from '../wire/subjects.ts'
import type { Jobs } from './contracts.ts'
import type { PendingBook } from './pending.ts'
import type { Reconciler } from './reconcile.ts'
import type { Vwns } from './vwns/vwns.ts'

/** Who speaks: one bait process on one boot of its host. */
export interface Session {
  readonly host: HostId
  readonly bootId: string
  readonly session: string
  readonly startedAtMs: number
}

const endedMax = 1_000

/** The whole state of this host, as one message. */
export function reportOf(who: Session, seq: number, state: { facts: HostFacts; vwns: Vwns; jobs: Jobs; reconciler: Reconciler; pending: PendingBook }): Report {
  const { facts, vwns, jobs, reconciler, pending } = state
  return {
    v: baitVersion, ...who, seq, facts,
    ordersSeen: reconciler.seen,
    vwns: vwns.all().map((vwn) => vwn.observed()),
    jobs: [...jobs.live()],
    ended: jobs.ended().slice(0, endedMax),
    pending: [...pending.said()],
  }
}

export interface Reporter extends Service {
  /** Something has changed. */
  wake(): void
  /** Whether the last report was answered. */
  readonly heard: boolean
}

/** Reports until stopped, and takes in every Orders that comes, as an answer or by itself. */
export function reporter(kit: Kit, options: { who: Session; bus: Bus; settings: { heartbeat_ms: number; answer_ms: number }; state: () => Parameters<typeof reportOf>[2] }): Reporter {
  const { who, bus, settings, state } = options
  const log = kit.log.child({ part: 'report' })
  let seq = 0
  /** Null before the first report. */
  let heard: boolean | null = null
  const take = (orders: Orders): void => {
    if (orders.host !== who.host) log.warn({ for: orders.host }, 'orders for another host dropped')
    else if (!state().reconciler.take(orders)) log.debug({ generation: orders.generation }, 'orders that are no news')
  }
  const turns: Loop = loop(kit, { name: 'report', everyMs: settings.heartbeat_ms, wake: bus.changed }, async () => {
    try {
      const report = reportOf(who, (seq += 1), state())
      take(await bus.request(subjects.report(who.host), report, { answer: ordersSchema, timeoutMs: settings.answer_ms }))
      if (heard === false) log.info('controller answers again')
      heard = true
    } catch (error) {
      if (!isVwnError(error)) throw error
      if (heard !== false) log.warn({ err: error }, 'controller does not answer; what runs, runs on')
      heard = false
    }
  })
  let pushes: Disposable | null = null
  const all = service({
    async start() {
      pushes = bus.subscribe(subjects.orders(who.host), ordersSchema, take)
      await turns.start()
    },
    async stop() {
      pushes?.[Symbol.dispose]()
      await turns.stop()
    },
  })
  return { ...all, wake: () => turns.wake(), get heard() { return heard === true } }
}
