/** The jobs half, played: a test says which jobs wait, and when they let go of their VWN. */
import { createHash } from 'node:crypto'
import type { CleanReport, Clean, GuestSession, Jobs, PlaceFacts, ReadyVwn } from '../../bait/contracts.ts'
import { jobId, type JobId } from '../../core/ids.ts'
import type { Answer, LiveJob } from '../../wire/bait.ts'
import { playedSession } from './played-session.ts'

export interface Assigned {
  readonly job: JobId
  readonly place: ReadyVwn
  readonly facts: PlaceFacts
  /** The job lets go of its VWN. */
  end(mustClean?: boolean): void
}

export interface PlayedJobs extends Jobs {
  readonly assigned: readonly Assigned[]
  readonly answers: readonly Answer[]
  readonly scrubs: { job: JobId; tookMs: number }[]
  readonly sessions: (GuestSession & { breakOff(): void; readonly still: boolean })[]
  /** A job of this user, group and project waits from now on. */
  submit(job: string, uid?: number, gid?: number, project?: string | null): JobId
  session(): GuestSession
  /** What the next scrub finds; a promise holds it up. */
  scrub: Clean
  clean: Clean
}

/** As a job starter would have made it. */
const traceOf = (job: string): string => createHash('md5').update(job).digest('hex')

const cleanReport: CleanReport = { checked: ['processes'], left: [], tookMs: 3 }

export function playedJobs({ endsAtOnce = false } = {}): PlayedJobs {
  const waiting = new Map<JobId, LiveJob>()
  const listeners: (() => void)[] = []
  const assigned: Assigned[] = []
  const answers: Answer[] = []
  const changed = (): void => listeners.forEach((listener) => listener())
  const self: PlayedJobs = {
    assigned, answers, scrubs: [], sessions: [],
    scrub: () => Promise.resolve(cleanReport),
    clean: (place, signal) => self.scrub(place, signal),
    submit(name, uid = 1000, gid = uid, project = null) {
      const job = jobId(name)
      const identity = { user: `u${uid}`, uid, gid, group: 'g', groups: [] }
      const want = { type: null, queue: null, project, batchSystem: null, batchJobId: null, cpus: null, memoryMib: null, scratchGib: null }
      waiting.set(job, { job, state: 'waiting', vwn: null, identity, want, name: 'x', submittedAtMs: 1, phases: {}, trace: traceOf(name) })
      changed()
      return job
    },
    session() {
      const session = playedSession()
      self.sessions.push(session)
      return session
    },
    live: () => [...waiting.values()],
    ended: () => [],
    waits: (job) => waiting.get(job)?.state === 'waiting',
    assign: (job, place, facts) =>
      new Promise((resolve) => {
        const before = waiting.get(job)
        if (before !== undefined) waiting.set(job, { ...before, state: 'running', vwn: place.vwn })
        const end = (mustClean = true): void => {
          waiting.delete(job)
          resolve({ mustClean })
        }
        assigned.push({ job, place, facts, end })
        void place.session.closed.then(() => end())
        if (endsAtOnce) end()
      }),
    answer(answer) {
      answers.push(answer)
      if (answer.is === 'refused') waiting.delete(answer.job)
      changed()
    },
    traceOf: (job) => waiting.get(job)?.trace ?? null,
    scrubbed: (job, tookMs) => void self.scrubs.push({ job, tookMs }),
    acknowledge: () => undefined,
    recover: () => Promise.resolve(waiting.clear()),
    onChange: (listener) => void listeners.push(listener),
  }
  return self
}
