/**
 * One turn of the bait: for every VWN that is wanted or here, one action of core/reconcile.ts. Verbs are started, not awaited:
 * they take seconds, and each of them ends by waking the loop again. Nothing is judged before the first Orders have come; a dead
 * VM alone may be cleared away without them.
 */
import { failure } from '../core/failure.ts'
import { compareIds, type JobId, type VwnId } from '../core/ids.ts'
import { isNews, reconcile, type Action } from '../core/reconcile.ts'
import type { Orders, VwnSpec, WantedVwn } from '../wire/bait.ts'
import type { Clean, Jobs } from './contracts.ts'
import type { Log } from '../kit/log.ts'
import type { Clock } from '../kit/clock.ts'
import { scrubReceiptOf, sharerOf, objectionTo } from './vwns/sharing.ts'
import type { LiveVwn } from './vwns/vwn.ts'
import type { Vwns } from './vwns/vwns.ts'

export interface Reconciler {
  /** The newest Orders taken in; term 0 when none yet. */
  readonly seen: { readonly term: number; readonly generation: number }
  /** What the newest Orders may be followed by; the same array until that changes. */
  readonly machines: readonly VwnSpec[]
  /** Takes in Orders, if they are news. */
  take(orders: Orders): boolean
  /** Starts whatever is due now. */
  runOnce(): void
  /** Resolves when no verb is under way. */
  settled(): Promise<void>
}

export interface ReconcilerParts {
  /** This process of the bait. */
  readonly session: string
  readonly vwns: Vwns
  readonly jobs: Jobs
  readonly clean: Clean
  readonly log: Log
  readonly clock: Clock
  readonly wake: () => void
  /** Other machines than before may be asked for. */
  readonly onMachines: () => void
}

/** A reconciler that has no Orders yet. */
export function createReconciler(parts: ReconcilerParts): Reconciler {
  const { session, vwns, jobs, clean, log, clock, wake, onMachines } = parts
  const underWay = new Map<string, Promise<void>>()
  let orders: Orders | null = null
  let machines: readonly VwnSpec[] = []

  /** The same verb on the same VWN once at a time; another one may overtake it, as a kill does. */
  const start = (vwn: VwnId, verb: Action['do'], work: () => Promise<void>): void => {
    const key = `${vwn} ${verb}`
    if (underWay.has(key)) return
    const done = work().then(
      () => {
        underWay.delete(key)
        wake()
      },
      (error: unknown) => {
        underWay.delete(key) // no wake: the loop's own pace keeps a failure from spinning
        log.error({ vwn, verb, err: error }, 'action failed, it will be tried again')
      },
    )
    underWay.set(key, done)
  }
  const attach = async (vwn: LiveVwn, wanted: WantedVwn | null, job: JobId): Promise<void> => {
    const live = jobs.live().find((one) => one.job === job)
    if (live === undefined) return
    const who = sharerOf(live)
    const why = objectionTo(vwn.handle, wanted, who)
    if (why !== null) {
      log.error({ vwn: vwn.id, job, ...who, why }, 'refuses to put a job into a vwn that it may not share')
      return jobs.answer({ job, is: 'refused', failure: failure('VWN_NOT_OWNER', `vwn=${vwn.id} job=${job}: ${why}`) })
    }
    const reused = vwn.handle.jobsRun > 0
    const scrubReceipt = scrubReceiptOf(vwn.handle, who, clock.nowMs())
    const place = await vwn.attach(job, who)
    if (place === null) return
    const { boot = null, contact = null } = vwn.madeFor === job && !reused ? vwn.handle.phases : {} // who finds it ready has not waited for that
    const { mustClean } = await jobs.assign(job, place, { reused, bootMs: boot, contactMs: contact, scrubReceipt, mounts: wanted?.mounts ?? [], directory: wanted?.directory ?? null })
    vwn.released(mustClean)
  }
  const scrub = async (vwn: LiveVwn): Promise<void> => {
    const job = vwn.handle.job
    const report = await vwn.clean(clean)
    if (report !== null && job !== null) jobs.scrubbed(job, report.tookMs)
  }
  const act = (id: VwnId, wanted: WantedVwn | null, vwn: LiveVwn | null): void => {
    const action = reconcile(wanted, vwn?.local() ?? null, (job) => jobs.waits(job))
    if (vwn === null) {
      if (action.do === 'prepare' && wanted !== null) vwns.create(wanted)
      if (action.do === 'report' && wanted !== null) vwns.createGone(wanted)
      return
    }
    switch (action.do) {
      case 'rest': case 'wait': case 'prepare': case 'report': return
      case 'attach': return start(id, 'attach', () => attach(vwn, wanted, action.job))
      case 'clean': return start(id, 'clean', () => scrub(vwn))
      case 'shutdown': return start(id, 'shutdown', () => vwn.stop(null, false))
      case 'kill': return start(id, 'kill', () => vwn.stop(failure('VWN_REMOVED'), true))
      case 'reclaim': return start(id, 'reclaim', () => vwn.reclaim())
      case 'forget': return start(id, 'forget', () => vwns.forget(id))
      default: return action satisfies never
    }
  }
  return {
    get seen() {
      return { term: orders?.term ?? 0, generation: orders?.generation ?? 0 }
    },
    get machines() {
      return machines
    },
    take(news) {
      if (!isNews(news, session, orders)) return false
      orders = news
      if (JSON.stringify(news.machines) !== JSON.stringify(machines)) {
        machines = news.machines
        onMachines()
      }
      for (const answer of news.answers) jobs.answer(answer)
      jobs.acknowledge(news.acknowledged)
      wake()
      return true
    },
    runOnce() {
      if (orders === null) {
        for (const vwn of vwns.all()) if (vwn.local().state === 'dead') start(vwn.id, 'reclaim', () => vwn.reclaim())
        return
      }
      const wanted = new Map(orders.vwns.map((one) => [one.vwn, one]))
      const ids = new Set([...wanted.keys(), ...vwns.all().map(({ id }) => id)])
      for (const id of [...ids].sort(compareIds)) act(id, wanted.get(id) ?? null, vwns.get(id))
    },
    async settled() {
      while (underWay.size > 0) await Promise.all(underWay.values())
    },
  }
}
