/**
 * A bait that is played: it speaks Report and Orders over the real bus and obeys as a bait would, but its VWNs and jobs are
 * entries in two maps that a script moves on.
 *
 *   orders ──▶ host.take ──▶ VWN: preparing → booting → idle → busy → cleaning → idle … stopping → gone
 *                            job: waiting → running → ended (reported until acknowledged)
 *
 * `createFakeHost` is the host alone, without a bus, for tests that carry messages themselves (late, doubled, not at all).
 */
import { connect, type NatsConnection } from 'nats'
import { hostId, imageDigest, jobId, typeName, type HostId, type ImageDigest, type JobId, type VwnId } from '../../core/ids.ts'
import { isNews } from '../../core/reconcile.ts'
import { randomId, systemClock, type Clock } from '../../kit/clock.ts'
import {
  ordersSchema, reportSchema,
  type Answer, type EndedJob, type HostFacts, type LiveJob, type ObservedVwn, type Orders, type PendingSaid, type Report, type ScrubReceipt, type WantedVwn,
} from '../../wire/bait.ts'
import type { Identity, Outcome } from '../../wire/common.ts'
import type { Want } from '../../wire/hook.ts'
import { lookSchema, type Look, type Sample } from '../../wire/look.ts'
import { subjects } from '../../wire/subjects.ts'

/** How the host behaves; may be changed while it runs. */
export interface Script {
  /** `hang`: a boot never ends. `fail`: the VWN goes away by itself. */
  boot: 'ready' | 'hang' | 'fail'
  bootMs: number
  /** `fail`: the VWN turns out to be dead when a job is to enter it, and the job waits on. */
  attach: 'works' | 'fail'
  /** How long a job runs; null: until `finish` says so. */
  jobMs: number | null
  cleanMs: number
  clean: 'clean' | 'dirty'
  stopMs: number
}

export interface FakeHostOptions extends Partial<Script> {
  readonly host?: string
  readonly capacity?: HostFacts['capacity']
  readonly images?: HostFacts['images']
  readonly templates?: HostFacts['templates']
  /** Why no guest starts there. */
  readonly broken?: string
  readonly clock?: Clock
}

export interface FakeJob {
  readonly user?: string
  readonly uid?: number
  readonly gid?: number
  readonly group?: string
  readonly groups?: readonly string[]
  readonly want?: Partial<Omit<Want, 'type'>> & { readonly type?: string }
  readonly name?: string
  readonly trace?: string
}

export interface FakeHost {
  readonly host: HostId
  readonly script: Script
  readonly facts: HostFacts
  /** The newest Orders taken in. */
  readonly orders: Orders | null
  readonly vwns: ReadonlyMap<VwnId, ObservedVwn>
  readonly jobs: ReadonlyMap<JobId, LiveJob>
  readonly ended: ReadonlyMap<JobId, EndedJob>
  /** The controller's last word on each waiting job. */
  readonly answers: ReadonlyMap<JobId, Answer>
  /** A job starter hands over a job. */
  submit(job?: FakeJob): JobId
  /** The job's process ends. */
  finish(job: JobId, outcome?: Outcome): void
  /** The job starter goes away. */
  cancel(job: JobId): void
  /** What its VWNs have used, and said on their consoles, for whoever looks; tests write them. */
  readonly samples: Map<VwnId, readonly Sample[]>
  readonly consoles: Map<VwnId, string>
  /** What a look at a VWN shows; null: it is not here. */
  look(look: Look): object | null
  /** What batch systems have said here of their pending jobs; tests write it. */
  readonly pending: PendingSaid[]
  /** The VM stands still, or runs again. */
  pause(vwn: VwnId, paused: boolean): void
  /** The VM dies by itself, and a job in it is lost. */
  breakVwn(vwn: VwnId): void
  /** What the bait would send now; each has the next number. */
  report(): Report
  /** Obeys, unless the orders are older than those obeyed before. */
  take(orders: Orders): void
  /** The bait's process dies and comes back: VMs stay, jobs that had started are lost, those that waited are refused. */
  restart(): void
  /** The whole host restarts: nothing of before runs any more. */
  reboot(): void
  /** Calls back whenever there is something new to report. */
  onChange(listener: () => void): void
  /** Cancels what is still to happen. */
  close(): void
}

/** SHA-256 of nothing in particular, for images that do not exist. */
export const fakeDigest = (letter: string): ImageDigest => imageDigest(letter.repeat(64))

const healthy: Script = { boot: 'ready', bootMs: 1, attach: 'works', jobMs: 1, cleanMs: 1, clean: 'clean', stopMs: 1 }

/** A host with 8 cpus and two images, `debian12` (agent) and `tiny` (ssh), that obeys at once. */
export function createFakeHost(options: FakeHostOptions = {}): FakeHost {
  const { host: name = 'h1', capacity = { cpus: 8, memoryMib: 16_384, scratchGib: 100 }, clock = systemClock, images, templates, broken = null, ...script } = options
  const host = hostId(name)
  const facts: HostFacts = {
    capacity,
    hypervisor: 'fake 1.0',
    accelerators: [{ name: 'tcg', works: broken === null, why: 'fake' }],
    broken,
    images: images ?? [
      { digest: fakeDigest('a'), name: 'debian12', contact: 'agent' },
      { digest: fakeDigest('b'), name: 'tiny', contact: 'ssh' },
    ],
    version: '0.0.0-fake',
    templates: templates ?? [],
    templatesMibMax: 8_192,
  }
  const state = {
    script: { ...healthy, ...script },
    orders: null as Orders | null,
    vwns: new Map<VwnId, ObservedVwn>(),
    jobs: new Map<JobId, LiveJob>(),
    ended: new Map<JobId, EndedJob>(),
    answers: new Map<JobId, Answer>(), pending: [] as PendingSaid[],
    samples: new Map<VwnId, readonly Sample[]>(), consoles: new Map<VwnId, string>(),
    bootId: randomId(), session: randomId(), startedAtMs: clock.nowMs(), seq: 0, lastJob: 0,
  }
  const closing = new AbortController()
  const listeners: (() => void)[] = []
  const changed = (): void => listeners.forEach((listener) => listener())

  const soon = (ms: number, act: () => void): void => {
    const { session } = state
    clock.sleep(ms, closing.signal).then(() => { if (session === state.session) act() }, () => undefined)
  }
  const set = (vwn: VwnId, change: Partial<ObservedVwn>): void => {
    const old = state.vwns.get(vwn)
    if (old === undefined) return
    state.vwns.set(vwn, { ...old, sinceMs: clock.nowMs(), ...change })
    changed()
  }
  const stateOf = (vwn: VwnId): ObservedVwn['state'] | undefined => state.vwns.get(vwn)?.state
  const wantedOf = (vwn: VwnId): WantedVwn | undefined => state.orders?.vwns.find((wanted) => wanted.vwn === vwn)

  const endJob = (id: JobId, outcome: Outcome): void => {
    const job = state.jobs.get(id)
    if (job === undefined) return
    const { state: _, ...rest } = job
    state.jobs.delete(id)
    state.answers.delete(id)
    const wanted = job.vwn === null ? undefined : wantedOf(job.vwn)
    const jobsBefore = job.vwn === null ? 0 : (state.vwns.get(job.vwn)?.jobsRun ?? 0)
    const usage = { cpuUserMs: 3, cpuSystemMs: 1, memoryPeakBytes: 4096, readBytes: 0, writtenBytes: 7 }
    state.ended.set(id, { ...rest, outcome, endedAtMs: clock.nowMs(), reused: jobsBefore > 0, usage: job.vwn === null ? null : usage,
      scrubReceipt: wanted === undefined ? null : fakeReceipt(wanted, jobsBefore, job.submittedAtMs) })
    changed()
  }
  const failure = (code: string): { code: string; message: string; hint: string } => ({ code, message: `fake ${code}`, hint: 'it is a fake' })

  function boot(wanted: WantedVwn): void {
    const { vwn, token, job } = wanted
    state.vwns.set(vwn, {
      vwn, token, state: 'preparing', job, jobsRun: 0, bootAttempt: 1, sinceMs: clock.nowMs(), phases: {}, cause: null, accelerator: 'tcg', pid: null, paused: false, madeBy: null,
    })
    changed()
    set(vwn, { state: 'booting', pid: 1000 + Number(vwn.slice(1)) })
    if (state.script.boot === 'hang') return
    soon(state.script.bootMs, () => {
      if (stateOf(vwn) !== 'booting') return
      if (state.script.boot === 'fail') return set(vwn, { state: 'gone', pid: null, cause: failure('VWN_BOOT_TIMEOUT') })
      set(vwn, { state: 'idle', job: null, phases: { boot: state.script.bootMs, contact: 1 }, madeBy: 'clone' })
      serve(vwn)
    })
  }
  function serve(vwn: VwnId): void {
    const id = wantedOf(vwn)?.job ?? null
    const job = id === null ? undefined : state.jobs.get(id)
    if (id === null || job?.state !== 'waiting' || stateOf(vwn) !== 'idle') return
    if (state.script.attach === 'fail') return set(vwn, { state: 'gone', pid: null, cause: failure('VWN_SILENT') })
    state.jobs.set(id, { ...job, state: 'running', vwn, phases: { wait: clock.nowMs() - job.submittedAtMs, start: 1 } })
    set(vwn, { state: 'busy', job: id })
    if (state.script.jobMs !== null) soon(state.script.jobMs, () => finish(id))
  }
  function finish(id: JobId, outcome: Outcome = { is: 'exited', code: 0 }): void {
    const vwn = state.jobs.get(id)?.vwn ?? null
    const held = state.jobs.get(id)
    if (held !== undefined) state.jobs.set(id, { ...held, phases: { ...held.phases, run: state.script.jobMs ?? 5 } })
    endJob(id, outcome)
    if (vwn === null || stateOf(vwn) !== 'busy') return
    set(vwn, { state: 'cleaning', job: null })
    soon(state.script.cleanMs, () => {
      if (stateOf(vwn) !== 'cleaning') return
      if (state.script.clean === 'dirty') return set(vwn, { state: 'gone', pid: null, cause: failure('VWN_NOT_CLEAN') })
      set(vwn, { state: 'idle', jobsRun: (state.vwns.get(vwn)?.jobsRun ?? 0) + 1 })
      serve(vwn)
    })
  }
  function stop(vwn: VwnId, insist: boolean): void {
    const now = stateOf(vwn)
    if (now === undefined || now === 'gone' || now === 'stopping') return
    if (now === 'busy' && !insist) return
    loseJobOf(vwn)
    set(vwn, { state: 'stopping', job: null })
    soon(state.script.stopMs, () => set(vwn, { state: 'gone', pid: null }))
  }
  function loseJobOf(vwn: VwnId): void {
    for (const job of [...state.jobs.values()]) if (job.vwn === vwn) endJob(job.job, { is: 'lost', failure: failure('JOB_LOST') })
  }

  function take(orders: Orders): void {
    if (!isNews(orders, state.session, state.orders)) return
    state.orders = orders
    for (const wanted of orders.vwns) {
      const seen = state.vwns.get(wanted.vwn)
      if (wanted.want === 'gone') {
        // Never heard of it, or it is gone: either way the report says so.
        if (seen === undefined) {
          state.vwns.set(wanted.vwn, goneBefore(wanted))
          changed()
        }
        stop(wanted.vwn, wanted.insist)
      } else if (seen === undefined) boot(wanted)
      else serve(wanted.vwn)
    }
    for (const [vwn, seen] of state.vwns) {
      if (wantedOf(vwn) !== undefined) continue
      if (seen.state === 'gone') state.vwns.delete(vwn)
      else stop(vwn, true)
    }
    for (const answer of orders.answers) {
      if (state.jobs.get(answer.job)?.state !== 'waiting') continue
      state.answers.set(answer.job, answer)
      if (answer.is === 'refused') endJob(answer.job, { is: 'refused', failure: answer.failure })
      if (answer.is === 'bare') endJob(answer.job, { is: 'bare' })
    }
    for (const job of orders.acknowledged) state.ended.delete(job)
  }
  const goneBefore = (wanted: WantedVwn): ObservedVwn => ({
    vwn: wanted.vwn, token: wanted.token, state: 'gone', job: null, jobsRun: 0, bootAttempt: 0, sinceMs: clock.nowMs(), phases: {}, cause: null, accelerator: null, pid: null, paused: false, madeBy: null,
  })

  function newSession(): void {
    Object.assign(state, { session: randomId(), startedAtMs: Math.max(clock.nowMs(), state.startedAtMs + 1), seq: 0, orders: null })
  }
  return {
    host, facts,
    get script() { return state.script },
    get orders() { return state.orders },
    vwns: state.vwns, jobs: state.jobs, ended: state.ended, answers: state.answers, pending: state.pending, samples: state.samples, consoles: state.consoles,
    look(look) {
      if (!state.vwns.has(look.vwn)) return null
      if (look.at === 'samples') return { samples: (state.samples.get(look.vwn) ?? []).filter(({ atMs }) => atMs > look.sinceMs) }
      const all = state.consoles.get(look.vwn) ?? ''
      const from = look.from ?? Math.max(0, all.length - look.bytesMax)
      const text = all.slice(from, from + look.bytesMax)
      return { from, next: from + text.length, said: all.length, text }
    },
    submit(job = {}) {
      const id = jobId(`${host}-${++state.lastJob}`)
      state.jobs.set(id, fakeJob(id, job, clock.nowMs()))
      changed()
      return id
    },
    finish,
    cancel: (id) => finish(id, { is: 'cancelled', signal: 'SIGTERM' }),
    pause: (vwn, paused) => set(vwn, { paused }),
    breakVwn(vwn) {
      loseJobOf(vwn)
      set(vwn, { state: 'gone', job: null, pid: null, cause: failure('VWN_DIED') })
    },
    report() {
      const seen = state.orders
      // Through the schema, so that the fake cannot say what a real bait may not.
      return reportSchema.parse({
        v: 1, host, bootId: state.bootId, session: state.session, startedAtMs: state.startedAtMs, seq: ++state.seq,
        ordersSeen: { term: seen?.term ?? 0, generation: seen?.generation ?? 0 },
        facts, vwns: [...state.vwns.values()], jobs: [...state.jobs.values()], ended: [...state.ended.values()], pending: [...state.pending],
      })
    },
    take,
    restart() {
      newSession()
      for (const job of [...state.jobs.values()]) {
        if (job.state === 'waiting') endJob(job.job, { is: 'refused', failure: failure('BAIT_RESTARTED') })
        else if (job.vwn !== null) endJob(job.job, { is: 'lost', failure: failure('JOB_LOST') })
      }
      for (const [vwn, seen] of state.vwns) if (seen.state !== 'idle') set(vwn, { state: 'gone', job: null, pid: null })
      changed()
    },
    reboot() {
      newSession()
      state.bootId = randomId()
      for (const job of [...state.jobs.values()]) endJob(job.job, { is: 'lost', failure: failure('JOB_LOST') })
      state.vwns.clear()
      changed()
    },
    onChange: (listener) => void listeners.push(listener),
    close: () => closing.abort(),
  }
}

const fakeReceipt = ({ spec, reuse }: WantedVwn, jobsBefore: number, atMs: number): ScrubReceipt => ({
  image: spec.image, made: 'clone', template: 'fake-template', bootedBecause: null, overlay: 'fake-overlay', policy: reuse, jobsBefore, atMs,
  before: jobsBefore === 0 ? 'nobody' : 'same-user', scrub: jobsBefore === 0 ? null : { checked: ['processes', 'files'], tookMs: 12, atMs },
})

function fakeJob(id: JobId, job: FakeJob, nowMs: number): LiveJob {
  const { user = 'alice', uid = 1001, gid = uid, group = user, groups = [], want = {}, name = 'true', trace = null } = job
  const identity: Identity = { user, uid, gid, group, groups: [{ gid, name: group }, ...groups.map((other, index) => ({ gid: 5000 + index, name: other }))] }
  const none: Want = { type: null, queue: null, project: null, batchSystem: null, batchJobId: null, cpus: null, memoryMib: null, scratchGib: null }
  return {
    job: id, state: 'waiting', vwn: null, identity, name, submittedAtMs: nowMs, phases: {}, trace,
    want: { ...none, ...want, type: want.type === undefined ? null : typeName(want.type) },
  }
}

export interface FakeBait extends FakeHost, AsyncDisposable {
  readonly connection: NatsConnection
  /** Reports now; resolves when the controller has answered and the answer was obeyed, or nobody answered. */
  reportNow(): Promise<void>
  /** Cut off: nothing is sent and nothing obeyed until `unmute`. */
  mute(): void
  unmute(): void
  /** How many Orders arrived, answers and pushes alike. */
  readonly ordersTaken: number
  stop(): Promise<void>
}

export interface FakeBaitOptions extends FakeHostOptions {
  /** Of the bus; or a connection to it that many of them share, which stays theirs to close. */
  readonly url: string | NatsConnection
  readonly heartbeatMs?: number
}

/** A played bait on a real bus; it reports every change at once and has reported once when this resolves. */
export async function startFakeBait(options: FakeBaitOptions): Promise<FakeBait> {
  const { url, heartbeatMs = 200, clock = systemClock } = options
  const host = createFakeHost(options)
  const connection = typeof url === 'string' ? await connect({ servers: url, maxReconnectAttempts: -1, reconnectTimeWait: 50, ignoreClusterUpdates: true }) : url
  let muted = false
  let ordersTaken = 0
  let sending: Promise<void> | null = null
  let again = false

  const obey = (data: Uint8Array): void => {
    if (muted) return
    ordersTaken += 1
    host.take(ordersSchema.parse(JSON.parse(new TextDecoder().decode(data))))
  }
  const send = async (): Promise<void> => {
    do {
      again = false
      if (muted || connection.isClosed()) return
      try {
        const answer = await connection.request(subjects.report(host.host), JSON.stringify(host.report()), { timeout: 1_000 })
        obey(answer.data)
      } catch (error) {
        if (!isTransport(error)) throw error // nobody there: the next heartbeat tries again
      }
    } while (again)
  }
  /** One report at a time; what changes meanwhile goes into the one after it. */
  const reportNow = (): Promise<void> => {
    again = true
    sending ??= send().finally(() => { sending = null })
    return sending
  }
  connection.subscribe(subjects.look(host.host), { callback: (_error, message) => {
    if (!muted) message.respond(JSON.stringify(host.look(lookSchema.parse(JSON.parse(new TextDecoder().decode(message.data))))))
  } })
  connection.subscribe(subjects.orders(host.host), { callback: (_error, message) => obey(message.data) })
  host.onChange(() => void reportNow())
  const beat = clock.every(heartbeatMs, () => void reportNow())
  await reportNow()

  const stop = async (): Promise<void> => {
    beat.cancel()
    host.close()
    if (typeof url === 'string') await connection.close()
    await sending
  }
  return Object.create(host, Object.getOwnPropertyDescriptors({
    connection,
    reportNow,
    mute() { muted = true },
    unmute() { muted = false; void reportNow() },
    get ordersTaken() { return ordersTaken },
    stop,
    [Symbol.asyncDispose]: stop,
  })) as FakeBait
}

/** nats.js names its own failures by code (`503`: nobody listens, `TIMEOUT`, `CONNECTION_CLOSED`, …). */
const isTransport = (error: unknown): boolean => error instanceof Error && 'code' in error
