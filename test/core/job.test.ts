import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { failure } from '../../core/failure.ts'
import { acceptJob, hasEnded, jobEventKinds, jobStates, legalNow, moves, reissue, step, type Job, type JobEvent, type JobEventKind, type JobState } from '../../core/job.ts'
import { job as jobId, vwn } from './samples.ts'

const accepted = (): Job => acceptJob(jobId('h1-1'), 0)
const lost: JobEvent = { kind: 'vwnLost', failure: failure('JOB_GUEST_LOST') }
const assigned: JobEvent = { kind: 'assigned', vwn: vwn('v1') }
const exited: JobEvent = { kind: 'exited', exit: { is: 'exited', code: 7 } }
const running: readonly JobEvent[] = [assigned, { kind: 'staged' }, { kind: 'started' }]
const cancel: JobEvent = { kind: 'cancel', signal: 'SIGTERM' }
const stop: JobEvent = { kind: 'suspend', pause: false }
const freeze: JobEvent = { kind: 'suspend', pause: true }

/** Walks a job through events; each must move it. */
const after = (events: readonly JobEvent[], from = accepted()): Job =>
  events.reduce((job, event) => {
    const verdict = step(job, event, 10)
    if (verdict.is !== 'moved') throw new Error(`${event.kind} while ${job.state}: ${verdict.why}`)
    return verdict.next
  }, from)

describe('a job', () => {
  test('that runs to its end has the exit status of its process', () => {
    expect(after([...running, exited, { kind: 'collected' }])).toMatchObject({ state: 'done', outcome: { is: 'exited', code: 7 }, partial: false })
  })

  test('that fails before the point of no return was refused, after it the worst is lost', () => {
    expect(after([assigned, lost]).outcome).toMatchObject({ is: 'refused', failure: { code: 'JOB_GUEST_LOST' } })
    expect(after([assigned, { kind: 'staged' }, lost])).toMatchObject({ state: 'lost', outcome: { is: 'lost' } })
    expect(after([...running, lost])).toMatchObject({ state: 'lost', outcome: { is: 'lost' } })
    expect(after([assigned, { kind: 'staged' }, { kind: 'failed', failure: failure('JOB_START_FAILED') }]).outcome?.is).toBe('refused')
  })

  test('whose guest died after it ended keeps its status; its output may be partial', () => {
    expect(after([...running, exited, lost])).toMatchObject({ state: 'done', partial: true, outcome: { is: 'exited', code: 7 } })
  })

  test('that is to run on the host itself is over for us, and only before it has a VWN', () => {
    expect(after([{ kind: 'bare' }])).toMatchObject({ state: 'done', vwn: null, outcome: { is: 'bare' } })
    expect(step(after([assigned]), { kind: 'bare' }, 10).is).toBe('ignored')
    expect(step(after([{ kind: 'bare' }]), cancel, 10).is).toBe('ignored')
  })

  test('that was suspended early starts and is suspended at once', () => {
    const suspended = after([stop, ...running])
    expect(suspended.state).toBe('suspended')
    expect(reissue(suspended)).toEqual([{ do: 'suspend' }])
    expect(reissue(after([{ kind: 'resume' }], suspended))).toEqual([{ do: 'resume' }])
  })

  test('that never stood still is not woken', () => {
    expect(reissue(after([stop, { kind: 'resume' }, ...running]))).toEqual([])
  })

  test('that is cancelled while it waits never runs, and dies by the signal that cancelled it', () => {
    expect(after([cancel])).toMatchObject({ state: 'done', outcome: { is: 'cancelled', signal: 'SIGTERM' } })
  })

  test('that is cancelled while it runs is asked, then forced, then loses its VWN', () => {
    const asked = after([...running, cancel])
    expect(reissue(asked)).toEqual([{ do: 'ask' }])
    const forced = after([{ kind: 'deadline' }], asked)
    expect(reissue(forced)).toEqual([{ do: 'insist' }])
    const given = after([{ kind: 'deadline' }], forced)
    expect(reissue(given)).toEqual([{ do: 'killVwn', vwn: 'v1' }])
    expect(after([lost], given)).toMatchObject({ state: 'done', outcome: { is: 'cancelled' } })
  })

  test('that gave no answer when it was told to start is stopped, and lost whatever it says later', () => {
    const stopping = after([assigned, { kind: 'staged' }, { kind: 'deadline' }])
    expect(after([exited, { kind: 'collected' }], stopping).outcome).toMatchObject({ is: 'lost', failure: { code: 'JOB_START_TIMEOUT' } })
    expect(after([{ kind: 'failed', failure: failure('JOB_START_FAILED') }], stopping).outcome?.is).toBe('refused')
    expect(after([lost], stopping).state).toBe('lost')
  })

  test('that the controller refuses says why', () => {
    expect(after([{ kind: 'refused', failure: failure('TYPE_UNKNOWN') }]).outcome).toMatchObject({ is: 'refused', failure: { code: 'TYPE_UNKNOWN' } })
  })

  test('waits for ever unless it was told not to', () => {
    expect(accepted().deadlineMs).toBeNull()
    const impatient = acceptJob(jobId('h1-1'), 5, { ...accepted().limits, waitMs: 100 })
    expect(impatient.deadlineMs).toBe(105)
    expect(after([{ kind: 'deadline' }], impatient).outcome).toMatchObject({ is: 'refused', failure: { code: 'JOB_WAITED_TOO_LONG' } })
  })

  test('keeps its deadline when it is suspended while it is staged', () => {
    const staging = after([assigned])
    expect(after([freeze], staging).deadlineMs).toBe(staging.deadlineMs)
  })
})

describe('a suspended job', () => {
  const signalled = after([...running, freeze])
  const frozen = after([{ kind: 'deadline' }], signalled)

  test('gets its signal first; its guest stands still a moment later, and once', () => {
    expect(reissue(signalled)).toEqual([{ do: 'suspend' }])
    expect(signalled.deadlineMs).toBe(10 + signalled.limits.pauseMs)
    expect(reissue(frozen)).toEqual([{ do: 'pause' }])
    expect(frozen.deadlineMs).toBeNull()
    expect(step(frozen, { kind: 'deadline' }, 20).is).toBe('ignored')
  })

  test('whose guest runs on may be told to stand still, but not twice', () => {
    const stopped = after([...running, stop])
    expect(stopped.deadlineMs).toBeNull()
    expect(step(stopped, stop, 20).is).toBe('ignored')
    expect(step(signalled, freeze, 20).is).toBe('ignored')
    expect(reissue(after([freeze], stopped))).toEqual([{ do: 'pause' }])
  })

  test('that was told so before it started stands still as soon as it has had its moment', () => {
    expect(after([freeze, ...running])).toMatchObject({ state: 'suspended', deadlineMs: 10 + signalled.limits.pauseMs })
    expect(after([freeze, { kind: 'resume' }, ...running]).state).toBe('running')
  })

  test('that goes on in time never stands still, and may be suspended anew', () => {
    const resumed = after([{ kind: 'resume' }], signalled)
    expect(resumed).toMatchObject({ state: 'running', deadlineMs: null, pause: 'never' })
    expect(reissue(after([freeze], after([{ kind: 'resume' }], frozen)))).toEqual([{ do: 'suspend' }])
  })

  test('that is cancelled is asked, or forced where its starter is gone', () => {
    expect(reissue(after([{ kind: 'cancel', signal: 'SIGTERM', graceMs: 500 }], frozen))).toEqual([{ do: 'ask' }])
    expect(reissue(after([{ kind: 'cancel', signal: null, graceMs: 0 }], frozen))).toEqual([{ do: 'insist' }])
  })
})

describe('a job that is told to end', () => {
  const ending = after([...running, { kind: 'cancel', signal: 'SIGTERM', graceMs: 500 }])

  test('has the time that it was given, then is forced', () => {
    expect(ending.deadlineMs).toBe(510)
    expect(after([{ kind: 'deadline' }], ending)).toMatchObject({ insisted: 1, deadlineMs: 10 + ending.limits.stopMs })
  })

  test('ends as it would on a bare node, by its own exit', () => {
    expect(after([exited, { kind: 'collected' }], ending).outcome).toEqual({ is: 'exited', code: 7 })
    expect(after([lost], ending).outcome).toEqual({ is: 'cancelled', signal: 'SIGTERM' })
  })

  test('is not told again, but may be forced at once', () => {
    expect(step(ending, { kind: 'cancel', signal: 'SIGTERM', graceMs: 100 }, 20).is).toBe('ignored')
    const forced = after([{ kind: 'cancel', signal: null, graceMs: 0 }], ending)
    expect(reissue(forced)).toEqual([{ do: 'insist' }])
    expect(step(forced, { kind: 'cancel', signal: null, graceMs: 0 }, 20).is).toBe('ignored')
  })
})

// ── the model ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Model { told: boolean; still: boolean; stopped: boolean; ends: number }
interface Real { job: Job; nowMs: number }
const walked = new Set<string>()

function eventOf(kind: JobEventKind, dice: number): JobEvent {
  switch (kind) {
    case 'assigned': return assigned
    case 'refused': return { kind, failure: failure('TYPE_UNKNOWN') }
    case 'failed': return { kind, failure: failure('JOB_START_FAILED') }
    case 'vwnLost': return lost
    case 'exited': return { kind, exit: dice % 2 === 0 ? { is: 'exited', code: dice % 256 } : { is: 'signalled', signal: 'SIGSEGV', coreDumped: false } }
    case 'cancel': return dice % 3 === 0 ? { kind, signal: 'SIGTERM' } : dice % 3 === 1 ? { kind, signal: 'SIGTERM', graceMs: dice } : { kind, signal: null, graceMs: 0 }
    case 'suspend': return { kind, pause: dice % 3 !== 0 }
    default: return { kind }
  }
}

const happy: Readonly<Record<JobState, readonly JobEventKind[]>> = {
  waiting: ['assigned', 'assigned', 'suspend', 'bare'], staging: ['staged'], starting: ['started', 'started', 'deadline'], running: ['exited', 'suspend', 'cancel'],
  suspended: ['resume', 'deadline', 'suspend', 'cancel'], stopping: ['exited', 'vwnLost', 'deadline', 'cancel'], collecting: ['collected'], done: [], lost: [],
}

class Send implements fc.Command<Model, Real> {
  readonly pick: 'happy' | 'legal' | 'anything'
  readonly dice: number
  sent = ''
  constructor(pick: Send['pick'], dice: number) {
    this.pick = pick
    this.dice = dice
  }

  check = () => true

  run(model: Model, real: Real): void {
    const before = real.job
    const choices = this.pick === 'happy' ? happy[before.state] : this.pick === 'legal' ? legalNow(before) : jobEventKinds
    const kind = choices[this.dice % Math.max(1, choices.length)] ?? 'collected'
    this.sent = kind
    real.nowMs += this.dice
    const verdict = step(before, eventOf(kind, this.dice), real.nowMs)
    if (verdict.is !== 'moved') return
    const { next, effects } = verdict
    real.job = next
    walked.add(`${before.state} ${kind} ${next.state}`)

    expect(moves[before.state]).toHaveProperty(kind)
    expect(reissue(next)).toEqual(effects)
    for (const effect of effects) {
      // Its guest stands still only after its signal, and runs before the job is told anything more.
      if (effect.do === 'pause') expect(model.stopped).toBe(true)
      if (effect.do === 'suspend') expect(model.still).toBe(false)
      model.stopped = effect.do === 'suspend' || effect.do === 'pause'
      model.still = effect.do === 'pause'
    }
    if (model.still) expect(next).toMatchObject({ state: 'suspended', deadlineMs: null })
    if (next.state === 'running') expect(model.still).toBe(false)
    if (next.state === 'stopping' && this.sent === 'cancel') expect(next.insisted > 0 || before.state !== 'stopping').toBe(true)
    if (before.state !== 'starting' && next.state === 'starting') {
      expect(model.told).toBe(false) // the guest is told once
      model.told = true
    }
    if (['running', 'suspended', 'stopping', 'collecting'].includes(next.state)) expect(model.told).toBe(true)
    if (next.outcome?.is === 'lost' || next.state === 'lost') expect(model.told).toBe(true)
    if (!model.told && next.outcome !== null) expect(['refused', 'cancelled', 'bare']).toContain(next.outcome.is)
    if (next.outcome?.is === 'bare') expect(model.told).toBe(false) // it is told once, on the host or in a guest
    if (next.outcome?.is === 'exited') expect(next.exit).toEqual(next.outcome)
    expect(next.outcome !== null).toBe(hasEnded(next))
    if (next.vwn === null) expect(['waiting', 'done']).toContain(next.state)
    if (['staging', 'starting', 'stopping', 'collecting'].includes(next.state)) expect(next.deadlineMs).not.toBeNull()
    model.ends += effects.filter((effect) => effect.do === 'end').length
    expect(model.ends).toBe(hasEnded(next) ? 1 : 0)
  }

  toString = () => `${this.pick}:${this.sent}`
}

const picks = fc.oneof({ weight: 6, arbitrary: fc.constant('happy' as const) }, { weight: 3, arbitrary: fc.constant('legal' as const) }, { weight: 1, arbitrary: fc.constant('anything' as const) })
const commands = fc.commands([fc.tuple(picks, fc.nat(1000)).map(([pick, dice]) => new Send(pick, dice))], { maxCommands: 20, size: 'max' })
const arrows = jobStates.flatMap((state) => Object.entries<readonly JobState[]>(moves[state]).flatMap(([kind, targets]) => targets.map((target) => `${state} ${kind} ${target}`)))

test('no order of events breaks a promise, and every arrow is walked', { timeout: 60_000 }, () => {
  const model = fc.property(commands, (run) => {
    fc.modelRun(() => ({ model: { told: false, still: false, stopped: false, ends: 0 }, real: { job: accepted(), nowMs: 0 } }), run)
  })
  for (let batch = 0; batch < 30 && walked.size < arrows.length; batch += 1) fc.assert(model, { numRuns: 100 })
  expect([...walked].sort()).toEqual(arrows.sort())
})
