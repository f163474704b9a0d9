/** A farm whose life is random: the one door, hosts, jobs and what baits say of VMs, on a real database that is closed and opened again. */
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { failure } from '../../core/failure.ts'
import { hostId, jobId, type HostId, type JobId } from '../../core/ids.ts'
import { legalNow, type Vwn, type VwnEvent } from '../../core/vwn.ts'
import { openHosts, type HostBook } from '../../controller/hosts.ts'
import { openLifecycle, type Lifecycle } from '../../controller/lifecycle.ts'
import { openDatabase, type Database } from '../../db/open.ts'
import { liveJobs, saveDecision, saveJob, type JobReported } from '../../db/queries/job.ts'
import { nextTerm } from '../../db/queries/meta.ts'
import { beforeAll, forget, pastAfter } from '../../db/queries/past.ts'
import { presentVwns, saveVwnFacts } from '../../db/queries/vwn.ts'
import { fakeClock } from '../../kit/clock.ts'
import { captureLog } from '../../kit/log.ts'
import type { Kit } from '../../kit/service.ts'
import { liveJobStates } from '../../wire/bait.ts'
import { anna, ben, digest, el9, hostWith, limits, type } from '../core/samples.ts'

/** One thing that happens; `pick` chooses among what it may happen to. */
export interface Happening {
  readonly is: 'heard' | 'beat' | 'requested' | 'moved' | 'submitted' | 'jobMoved' | 'decided' | 'jobEnded' | 'paused' | 'restarted' | 'forgotten'
  readonly pick: number
}
const often = ['moved', 'moved', 'moved', 'moved', 'requested', 'submitted', 'jobMoved', 'decided', 'jobEnded', 'paused', 'heard', 'beat'] as const
export const happenings: fc.Arbitrary<Happening> = fc.record({
  is: fc.oneof({ weight: 20, arbitrary: fc.constantFrom(...often) }, { weight: 1, arbitrary: fc.constantFrom('restarted', 'forgotten') }),
  pick: fc.nat(1_000_000),
})

export interface FarmLife extends Disposable {
  readonly kit: Kit
  /** Lets time pass. */
  pass(ms: number): void
  /** The database as it is open now. */
  readonly db: Database
  happen(happening: Happening): void
}

const forgottenAfterMs = 40
/** More than there ever are. */
const rowsMax = 1_000_000

/** A farm of two hosts that nothing has happened to yet. */
export function farmLife(): FarmLife {
  const folder = mkdtempSync('/dev/shm/wnod-life-') // what a power cut would leave is nobody's question here
  let nowMs = 1_800_000_000_000
  const clock = { ...fakeClock(), nowMs: () => nowMs }
  const kit: Kit = { clock, log: captureLog().log, signal: new AbortController().signal }
  const jobNumbers = { last: 0 }
  const open = (): { readonly db: Database; readonly book: HostBook; readonly lifecycle: Lifecycle } => {
    const db = openDatabase(join(folder, 'controller.sqlite'))
    const book = openHosts(db, clock.nowMs())
    const lifecycle = openLifecycle({ kit, db, book, term: nextTerm(db), send: () => undefined, changed: () => undefined, onNews: () => undefined })
    return { db, book, lifecycle }
  }
  let now = open()
  const put = (id: HostId, pick: number): void => now.lifecycle.change((desk) => {
    const known = now.book.getOrNew(id)
    const facts = pick % 2 === 0 ? {} : { broken: pick % 3 === 0 ? 'no accelerator' : null }
    const host = { ...hostWith(), id, want: pick % 5 === 0 ? 'draining' as const : 'open' as const, heardAtMs: clock.nowMs(), ...facts }
    desk.putHost({ ...known, host, facts: { ...known.facts, capacity: host.capacity, broken: host.broken } }, true)
  })
  for (const id of hosts) put(id, 0)

  const acts: Record<Happening['is'], (pick: number) => void> = {
    heard: (pick) => put(one(hosts, pick), pick),
    beat: (pick) => now.lifecycle.change((desk) => {
      const known = now.book.getOrNew(one(hosts, pick))
      desk.putHost({ ...known, host: { ...known.host, seq: known.host.seq + 1, heardAtMs: clock.nowMs() } }, true)
    }),
    requested: (pick) => now.lifecycle.change((desk) => {
      const job = pick % 3 === 0 ? null : jobOrNew(now.db, pick)
      desk.request({ host: one(hosts, pick), type: el9, image: digest, contact: 'agent', network: 'isolated', shape: type.shape, bootMs: type.bootMs, limits, job, owner: job === null ? null : anna })
    }),
    moved: (pick) => {
      const vwns = presentVwns(now.db)
      if (vwns.length === 0) return
      const vwn = one(vwns, pick)
      now.lifecycle.deliver(vwn.id, eventFor(vwn, Math.floor(pick / 7), now.db))
    },
    submitted: (pick) => void saveJob(now.db, newJob(jobId(`h1-${(jobNumbers.last += 1)}`), pick, clock.nowMs())),
    jobMoved: (pick) => onJob(now.db, pick, (job) => saveJob(now.db, { ...job, state: one(liveJobStates, pick), vwn: presentVwns(now.db)[0]?.id ?? null })),
    decided: (pick) => onJob(now.db, pick, ({ job }) => saveDecision(now.db, job, {
      type: pick % 2 === 0 ? el9 : null, rule: null, why: pick % 3 === 0 ? null : `because of ${pick % 3}`, refusal: null, bare: false, placementMs: pick, made: pick % 5 === 0 ? 'reused' : null,
    })),
    jobEnded: (pick) => onJob(now.db, pick, (job) => saveJob(now.db, { ...job, state: 'ended', outcome: { is: 'exited', code: pick % 256 }, endedAtMs: clock.nowMs() })),
    paused: (pick) => {
      const vwns = presentVwns(now.db)
      if (vwns.length > 0) saveVwnFacts(now.db, one(vwns, pick).id, { observed: 'idle', bootAttempt: pick % 3, phases: { boot: pick }, accelerator: 'tcg', pid: pick, paused: pick % 2 === 0, madeBy: pick % 2 === 0 ? 'clone' : 'boot' })
    },
    restarted() {
      now.db.close()
      now = open()
    },
    forgotten() {
      for (const past of pastAfter(now.db, beforeAll, { beforeMs: clock.nowMs() - forgottenAfterMs, limit: rowsMax })) forget(now.db, past, rowsMax)
    },
  }
  return {
    kit,
    pass(ms) { nowMs += ms },
    get db() { return now.db },
    happen: ({ is, pick }) => acts[is](pick),
    [Symbol.dispose]() {
      now.db.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const hosts = [hostId('h1'), hostId('h2')]

function one<T>(values: readonly T[], pick: number): T {
  const found = values[pick % values.length]
  if (found === undefined) throw new Error('there is nothing to choose from')
  return found
}

function onJob(db: Database, pick: number, act: (job: JobReported) => unknown): void {
  const jobs = liveJobs(db)
  if (jobs.length > 0) act(one(jobs, pick))
}

const jobOrNew = (db: Database, pick: number): JobId => liveJobs(db)[0]?.job ?? jobId(`h2-${1 + (pick % 1000)}`)

const newJob = (job: JobId, pick: number, submittedAtMs: number): JobReported => ({
  job, host: one(hosts, pick), name: `job ${pick % 10}`, state: 'waiting', submittedAtMs, vwn: null, phases: {}, outcome: null, endedAtMs: null, reused: null, usage: null, scrubReceipt: null, trace: null,
  identity: { user: pick % 2 === 0 ? 'anna' : 'ben', uid: 1, gid: 1, group: 'users', groups: [] },
  want: { type: null, queue: pick % 3 === 0 ? 'night' : null, project: null, batchSystem: null, batchJobId: null, cpus: null, memoryMib: null, scratchGib: null },
})

/** Some event that moves it; what it is made for is likelier than what ends it. */
function eventFor(vwn: Vwn, pick: number, db: Database): VwnEvent {
  const legal = legalNow(vwn)
  const kind = pick % 3 === 0 ? one(legal, Math.floor(pick / 3)) : one(legal, 0)
  switch (kind) {
    case 'assigned': return { kind, job: jobOrNew(db, pick), owner: vwn.owner ?? (pick % 2 === 0 ? anna : ben) }
    case 'released': return { kind, reached: pick % 2 === 0 }
    case 'rejected': case 'failed': case 'exited': case 'stop': case 'kill': return { kind, cause: failure('VWN_DIED', `pick ${pick % 5}`) }
    case 'fenced': return { kind, proof: 'attested' }
    default: return { kind }
  }
}
