/**
 * The composition root: every long-lived object of the controller is built here, and here is who knows whom.
 *
 *   bus ─ Report ─▶ reports ─▶ lifecycle (the one door) ─▶ SQLite          scheduler: one turn when woken, and every second
 *    ▲                             │ touched hosts                          mapping: watched file
 *    └────────── Orders ◀──────────┘                                        http: views for people, verbs for the operator
 */
import type { HostId } from '../core/ids.ts'
import { openDatabase, type Database } from '../db/open.ts'
import { traceOf } from '../db/queries/job.ts'
import { nextTerm } from '../db/queries/meta.ts'
import { connectBus, type Bus } from '../kit/bus.ts'
import type { Timer } from '../kit/clock.ts'
import { traced } from '../kit/log.ts'
import { openMetrics, type Metrics } from '../kit/metrics.ts'
import { loop, service, type Kit, type Service } from '../kit/service.ts'
import { Undo } from '../kit/undo.ts'
import { reportSchema, type Orders, type Report } from '../wire/bait.ts'
import { subjects } from '../wire/subjects.ts'
import { openBeats, type Beats } from './beats.ts'
import type { Settings } from './config.ts'
import { pruneHistory } from './history.ts'
import { openHosts, type HostBook } from './hosts.ts'
import { openWatchedFarm, type WatchedFarm } from './http/farm.ts'
import { openFollowers, type Followers } from './http/follow.ts'
import { startHttp } from './http/server.ts'
import { openLifecycle, type Lifecycle } from './lifecycle.ts'
import { openMapping, type MappingHolder } from './mapping.ts'
import { newsFamilies, stateFamilies, type Counts } from './metrics.ts'
import { ordersOf } from './orders.ts'
import { openPool, type Pool } from './pool.ts'
import { openReports, type Reports } from './reports.ts'
import { openScheduler } from './scheduler.ts'

/** All that views and verbs may ask. */
export interface Parts {
  readonly settings: Settings
  readonly kit: Kit
  readonly startedAtMs: number
  readonly db: Database
  readonly bus: Bus
  readonly book: HostBook
  readonly lifecycle: Lifecycle
  readonly reports: Reports
  readonly beats: Beats
  readonly mapping: MappingHolder
  readonly pool: Pool
  readonly metrics: Metrics
  readonly counts: Counts
  readonly farm: WatchedFarm
  /** Whoever watches what changes. */
  readonly followers: Followers
  readonly ordersOf: (host: HostId) => Orders
}

export interface Controller extends AsyncDisposable {
  readonly term: number
  /** Address of the read-only API, `http://127.0.0.1:PORT`. */
  readonly url: string
  /** How many watch what changes. */
  readonly watchers: number
  /** Reads the mapping file again, changed or not. */
  reloadMapping(): void
  /** One turn of the scheduler, now. */
  runOnce(): void
  /** Lets go of everything; VWNs and jobs run on. Safe to repeat. */
  stop(): Promise<void>
}

/** How often time is looked at; everything else wakes the scheduler by itself. */
const turnMs = 1_000
/** Of a large farm it then looks at all there is no more often than this, and in no more than this share of the time. */
const wholeTurnMs = 500
const wholeTurnShare = 0.05
const longTurnMs = 20
const pruneEveryMs = 3_600_000
/** A supervisor starts us again; a person learns soon that there is no server. */
const firstConnectMs = 10_000

/** A controller that owns its database, hears its baits and answers over HTTP; or the reason why not, and nothing left behind. */
export async function startController(settings: Settings, kit: Kit): Promise<Controller> {
  const undo = new Undo((step, error) => kit.log.warn({ step, err: error }, 'not put away'))
  try {
    return await assemble(settings, kit, undo)
  } catch (error) {
    await undo.undo()
    throw error
  }
}

async function assemble(settings: Settings, plain: Kit, undo: Undo): Promise<Controller> {
  const db = openDatabase(settings.database)
  const kit: Kit = { ...plain, log: traced(plain.log, (job) => traceOf(db, job)) }
  undo.push('database', () => db.close())
  const startedAtMs = kit.clock.nowMs()
  const term = nextTerm(db)
  const book = openHosts(db, startedAtMs)
  const bus = await connectBus(kit, {
    servers: settings.nats.servers, name: `${settings.name} controller`, credsFile: settings.nats.creds ?? undefined,
    inboxPrefix: subjects.inbox('controller'), firstConnectMs,
  })
  undo.push('bus', () => bus.close())

  const orders = (host: HostId): Orders => ordersOf({ db, book, term, reports, mapping }, host)
  const send = (host: HostId): void => bus.publish(subjects.orders(host), orders(host))
  const wake = (): void => scheduler.wake()
  const metrics = openMetrics('controller')
  const counts = newsFamilies(metrics)
  const lifecycle = openLifecycle({ kit, db, book, term, send, changed: wake, onNews: counts.news })
  const reports = openReports({ kit, db, book, lifecycle })
  const beats = openBeats({ kit, book, lifecycle })
  const mapping = openMapping({ kit, db, file: settings.mapping, images: settings.images, changed: wake })
  const pool = openPool({ kit, db, book })
  const turn = openScheduler({ kit, db, book, lifecycle, mapping, pool, bus, patience: settings.patience })
  let whole = { atMs: -Infinity, restMs: 0 }
  let due: Timer | null = null
  const wakeForWhole = (inMs: number): void => {
    due ??= kit.clock.after(inMs, () => {
      due = null
      wake()
    })
  }
  const scheduler = loop(kit, { name: 'scheduler', everyMs: turnMs }, async (signal) => {
    const startedMs = kit.clock.monotonicMs()
    const isWhole = startedMs - whole.atMs >= whole.restMs
    turn(isWhole ? 'whole' : 'jobs')
    const tookMs = kit.clock.monotonicMs() - startedMs
    if (isWhole) whole = { atMs: startedMs, restMs: Math.min(wholeTurnMs, tookMs / wholeTurnShare) }
    else wakeForWhole(Math.max(1, whole.atMs + whole.restMs - kit.clock.monotonicMs()))
    counts.turn(tookMs)
    // A long turn (a thousand jobs at once) is followed by as long a rest, in which reports gather for the next one.
    if (tookMs > longTurnMs) await kit.clock.sleep(Math.min(tookMs, turnMs), signal)
  })
  undo.push('turns', () => due?.cancel())
  const history = loop(kit, { name: 'history', everyMs: pruneEveryMs }, (signal) => pruneHistory({ db, kit, bounds: settings.history }, signal))
  await mapping.load()

  const followers = openFollowers(kit)
  undo.push('followers', () => followers.stop())
  const parts: Parts = { settings, kit, startedAtMs, db, bus, book, lifecycle, reports, beats, mapping, pool, metrics, counts, farm: openWatchedFarm({ db, kit }), followers, ordersOf: orders }
  metrics.read(...stateFamilies(parts))
  const http = await startHttp(parts)
  undo.push('http', () => http.stop())
  const hearing = bus.answer(subjects.anyReport, reportSchema, (report, subject) => answer(parts, report, subject), beats)
  undo.push('hearing', () => hearing[Symbol.dispose]())
  await bus.nats.flush() // the server knows of it: whoever sees us ready may speak
  for (const part of [mapping.watcher, scheduler, history]) {
    undo.push('loop', () => part.stop())
    await part.start()
  }
  // Whoever missed the last words of the former term, or of an outage, hears them again without waiting for a heartbeat.
  const sendAll = (): void => {
    if (bus.connected) for (const { host } of book.all) send(host.id)
    wake()
  }
  sendAll()
  const unwatch = bus.changed(sendAll)
  undo.push('watching the bus', () => unwatch?.())
  kit.log.info({ term, url: http.url, hosts: book.all.length, database: settings.database }, 'controller ready')

  const stop = (): Promise<void> => undo.undo()
  return { term, url: http.url, get watchers() { return followers.count }, reloadMapping: () => mapping.poke(), runOnce: () => turn('whole'), stop, [Symbol.asyncDispose]: stop }
}

/** A report that comes under another host's name is a lie: a bait's credentials only allow its own subject. */
function answer({ reports, pool, ordersOf: orders }: Parts, report: Report, subject: string): Orders {
  if (subject !== subjects.report(report.host)) throw new Error(`report of ${report.host} came as ${subject}`)
  if (reports.take(report)) pool.hear(report)
  return orders(report.host)
}

/** The controller as a service of a program. */
export function controllerService(settings: Settings, kit: Kit): Service & { reloadMapping(): void } {
  let controller: Controller | null = null
  const running = service({
    async start() { controller = await startController(settings, kit) },
    stop: () => controller?.stop(),
  })
  return { ...running, reloadMapping: () => controller?.reloadMapping() }
}
