/**
 * Drives one job through its life (core/job.ts): events come from its starter, its guest, the controller and the clock; what the new
 * state asks for is done here.
 *
 *   starter ─ signal, resize, gone ─┐                      ┌─▶ record on disk   before `run`, and at the end
 *   guest   ─ staged … collected ───┤                      ├─▶ contact          stage, run, signal, close
 *   clock, controller ──────────────┼─▶ deliver ─▶ step ─▶ ┼─▶ stillness        freeze, wake (still.ts)
 *   control ─ suspend … terminate ──┘                      └─▶ starter          placed, started, ended
 */
import { VwnError } from '../../core/errors.ts'
import { startPlace } from '../../core/directory.ts'
import { failure } from '../../core/failure.ts'
import type { VwnId } from '../../core/ids.ts'
import { acceptJob, hasEnded, step, type Job, type JobEffect, type JobEvent, type JobExit, type JobLimits } from '../../core/job.ts'
import type { Timer } from '../../kit/clock.ts'
import type { Kit } from '../../kit/service.ts'
import type { Answer, LiveJob, ScrubReceipt } from '../../wire/bait.ts'
import type { Outcome, PhaseName, Usage } from '../../wire/common.ts'
import { guestVersion, type RunTask } from '../../wire/guest.ts'
import type { ControlDone, ControlOrder } from '../../wire/hook.ts'
import type { PlaceFacts, ReadyVwn } from '../contracts.ts'
import { failureOf } from '../failures.ts'
import type { JobMessage, StarterLink } from '../starter-socket.ts'
import type { Contact, ContactEvents, OpenContact } from './contact.ts'
import type { JobRecord } from './record.ts'
import { stillGuest } from './still.ts'

export interface DriveDeps {
  readonly kit: Kit
  readonly limits: JobLimits
  readonly save: (record: JobRecord) => Promise<void>
  readonly openContact: (place: ReadyVwn) => OpenContact
  /** Called at every change of what `live` shows. */
  readonly onChange: () => void
  /** The job's last record, after it is on disk and before the starter hears of it. */
  readonly onEnded: (record: JobRecord) => void
}

export interface DrivenJob {
  readonly trace: string | null
  live(): LiveJob
  waits(): boolean
  assign(place: ReadyVwn, facts: PlaceFacts): Promise<{ mustClean: boolean }>
  answer(answer: Answer): void
  /** Carries out what somebody who may has asked for; resolves when it is done, and rejects with JOB_NOT_ENDED. */
  control(order: ControlOrder): Promise<ControlDone>
  /** Its end is on record, and the guest is free of it. */
  readonly gone: Promise<void>
}

/** How long a guest may take to notice that a job is over, before it is scrubbed all the same. */
const letGoMs = 5_000
/** What a job may take to be gone beside its grace: to be woken, to be forced twice, and to be let go of. */
const endMs = ({ stopMs }: JobLimits): number => 2 * stopMs + letGoMs + 5_000

type Identified = Pick<JobRecord, 'job' | 'trace' | 'identity' | 'want' | 'name' | 'submittedAtMs'>

/** Signals that change nothing in a process that has made no arrangements; all others cancel a job that has not started. */
const harmless: ReadonlySet<string> = new Set(['SIGCONT', 'SIGTSTP', 'SIGSTOP', 'SIGTTIN', 'SIGTTOU', 'SIGURG', 'SIGWINCH', 'SIGCHLD'])

/** Its starter is gone: on a bare node the job would have died with it, and at once. */
const abandoned: JobEvent = { kind: 'cancel', signal: null, graceMs: 0 }

/** A job that is on record as accepted; it lives until its end was told to its starter. */
export function driveJob(deps: DriveDeps, link: StarterLink, who: Identified): DrivenJob {
  const { kit } = deps
  const { log } = kit
  let { run } = link.submit
  const phases: Partial<Record<PhaseName, number>> = {}
  const freed = gate<{ mustClean: boolean }>()
  const over = gate<void>()
  let job: Job = acceptJob(who.job, kit.clock.nowMs(), deps.limits)
  /** The last state that is not an end: while the end is being recorded a Report must still know the job. */
  let shown: LiveJob['state'] = 'waiting'
  let contact: Contact | null = null
  let place: ReadyVwn | null = null
  let reused = false
  let scrubReceipt: ScrubReceipt | null = null
  let usage: Usage | null = null
  let waitsFor: string | null = null
  let deadline: Timer | null = null
  let starterGone = false
  let markMs = kit.clock.monotonicMs()
  const still = stillGuest({ stillness: () => place?.stillness ?? null, signal: (name) => contact?.signal(name) })

  const deliver = (event: JobEvent): boolean => {
    const verdict = step(job, event, kit.clock.nowMs())
    if (verdict.is === 'ignored') {
      log.debug({ event: event.kind, why: verdict.why }, 'job event ignored')
      return false
    }
    const before = job.state
    job = verdict.next
    if (job.state !== 'done' && job.state !== 'lost') shown = job.state
    if (before !== job.state) log.info({ from: before, to: job.state, vwn: job.vwn, event: event.kind }, 'job moves')
    deadline?.cancel()
    deadline = job.deadlineMs === null ? null : kit.clock.after(Math.max(0, job.deadlineMs - kit.clock.nowMs()), () => deliver({ kind: 'deadline' }))
    for (const effect of verdict.effects) act(effect)
    moves.splice(0).forEach((heard) => heard())
    deps.onChange()
    return true
  }
  /** Who waits for the job's next move. */
  const moves: (() => void)[] = []
  const settledIn = async (isSo: () => boolean): Promise<void> => {
    while (!isSo()) await new Promise<void>((resolve) => moves.push(resolve))
  }
  const act = (effect: JobEffect): void => {
    switch (effect.do) {
      case 'stage': return once('stage', () => contact?.stage())
      case 'run': return once('run', () => void start())
      case 'suspend': return still.signal('SIGTSTP')
      case 'pause': return still.freeze()
      case 'resume':
        still.wake()
        return still.signal('SIGCONT')
      case 'ask':
        still.wake()
        still.signal('SIGTERM')
        return still.signal('SIGCONT')
      case 'insist':
        still.wake()
        return still.signal('SIGKILL')
      case 'killVwn': return giveUp(effect.vwn)
      case 'collect':
        still.wake() // it ended at the very moment
        if (starterGone) deliver(abandoned) // nobody is left to take the rest
        return
      case 'end': return void end(effect.outcome)
      default: return effect satisfies never
    }
  }
  /** Effects may be repeated, these two may not be done twice. */
  const done = new Set<string>()
  const once = (what: 'stage' | 'run', carryOut: () => void): void => {
    if (done.has(what)) return
    done.add(what)
    carryOut()
  }
  const phase = (name: PhaseName): void => {
    const nowMs = kit.clock.monotonicMs()
    phases[name] = Math.max(0, nowMs - markMs)
    markMs = nowMs
  }
  const record = (): JobRecord => ({ v: 1, ...who, state: job.state, vwn: job.vwn, phases: { ...phases }, reused, scrubReceipt, end: null })

  /** Past this the job may have run: so it says on disk before the guest hears of it. */
  const start = async (): Promise<void> => {
    try {
      await deps.save(record())
    } catch (error) {
      deliver({ kind: 'failed', failure: failureOf(error, 'FILE_UNWRITABLE') })
      return
    }
    if (job.state !== 'starting') deliver({ kind: 'failed', failure: failure('CANCELLED') }) // cancelled meanwhile, and never told to run
    else contact?.run()
  }
  const giveUp = (vwn: VwnId): void => {
    place?.session.close()
    deliver({ kind: 'vwnLost', failure: failure('JOB_GUEST_LOST', `${vwn} was given up, the job did not end`) })
  }
  /** The VWN is free when the guest has heard that the job is over, or does not answer. */
  const letGo = async (): Promise<void> => {
    using late = kit.clock.after(letGoMs, () => freed.open({ mustClean: contact?.touched ?? false }))
    await contact?.close()
    freed.open({ mustClean: contact?.touched ?? false })
    late.cancel()
  }
  const end = async (outcome: Outcome): Promise<void> => {
    deadline?.cancel()
    void letGo()
    const last = { ...record(), end: { outcome, endedAtMs: kit.clock.nowMs(), usage } }
    try {
      await deps.save(last)
    } catch (error) {
      log.error({ err: error }, 'end of a job could not be recorded')
      // It would run, and our record would say for ever that it never did.
      if (outcome.is === 'bare') last.end.outcome = { is: 'refused', failure: failureOf(error, 'FILE_UNWRITABLE') }
    }
    deps.onEnded(last)
    over.open()
    link.tell({ kind: 'ended', outcome: last.end.outcome, phases: last.phases })
    link.end()
  }
  const fromGuest: ContactEvents = {
    onStaged: () => {
      if (run.stage) phase('stage')
      deliver({ kind: 'staged' })
    },
    onStarted: () => {
      phase('start')
      if (deliver({ kind: 'started' })) link.tell({ kind: 'started' })
    },
    onExited: (exit: JobExit, measured) => {
      phase('run')
      usage = measured
      deliver({ kind: 'exited', exit })
    },
    onCollected: () => {
      phase('collect')
      deliver({ kind: 'collected' })
    },
    onFailed: (why) => deliver({ kind: 'failed', failure: why }),
    onLost: (why) => deliver({ kind: 'vwnLost', failure: why }),
  }
  const onSignal = (name: string): void => {
    const running = ['running', 'suspended', 'stopping', 'collecting'].includes(job.state)
    if (name === 'SIGTSTP' && (deliver({ kind: 'suspend', pause: link.submit.suspend === 'pause' }) || job.pause !== 'never')) return
    if (name === 'SIGCONT' && job.state !== 'running' && deliver({ kind: 'resume' })) return
    if (running) still.signal(name)
    else if (!harmless.has(name)) deliver({ kind: 'cancel', signal: name })
  }
  const onMessage = (message: JobMessage): void => {
    switch (message.kind) {
      case 'signal': return onSignal(message.signal)
      case 'resize': return contact?.resize({ rows: message.rows, cols: message.cols })
      default: return message satisfies never
    }
  }
  const onGone = (): void => {
    starterGone = true
    if (!hasEnded(job)) deliver(abandoned)
  }
  const gone = Promise.all([over.opened, freed.opened]).then(() => undefined)
  const terminate = async (graceMs: number): Promise<void> => {
    const within = async (ms: number): Promise<boolean> => {
      const known = new AbortController()
      try {
        return await Promise.race([gone.then(() => true), kit.clock.sleep(ms, known.signal).then(() => false)])
      } finally {
        known.abort()
      }
    }
    // One that has ended by itself is about to deliver the rest of its output.
    if (job.state === 'collecting' && await within(graceMs)) return
    deliver({ kind: 'cancel', signal: graceMs === 0 ? 'SIGKILL' : 'SIGTERM', graceMs })
    if (!(await within(graceMs + endMs(deps.limits)))) throw new VwnError('JOB_NOT_ENDED', { job: who.job, vwn: job.vwn, state: job.state })
  }
  const control = async (order: ControlOrder): Promise<ControlDone> => {
    if (order.do === 'terminate') {
      await terminate(order.graceMs ?? deps.limits.stopMs)
      return 'ended'
    }
    if (order.do === 'resume') {
      const was = job.state
      deliver({ kind: 'resume' })
      await still.settled()
      return was === 'suspended' ? 'resumed' : 'unchanged'
    }
    const moved = deliver({ kind: 'suspend', pause: true })
    await settledIn(() => job.state !== 'suspended' || job.pause !== 'wanted')
    await still.settled()
    return moved || job.state === 'suspended' ? 'suspended' : 'unchanged'
  }
  link.tell({ kind: 'accepted', job: who.job })
  link.listen({ onMessage, onGone })
  return {
    trace: who.trace,
    live: () => ({ ...who, state: shown, vwn: job.vwn, phases: { ...phases } }),
    waits: () => job.state === 'waiting',
    assign(to, facts) {
      if (job.state !== 'waiting') return Promise.resolve({ mustClean: false })
      const start = startPlace(facts.directory, facts.mounts, { cwd: run.cwd === null ? null : Buffer.from(run.cwd, 'base64').toString('latin1'), stage: run.stage })
      const cannotMount = facts.mounts.length > 0 && to.spec.contact === 'ssh'
      if (start === null || cannotMount) {
        deliver({ kind: 'refused', failure: failure(cannotMount ? 'SHARE_UNSUPPORTED' : 'DIRECTORY_NOT_SHARED', `type=${to.spec.type}`) })
        return freed.opened
      }
      run = { ...run, stage: start === 'stage', cwd: start === 'home' ? null : run.cwd }
      phase('wait')
      if (facts.bootMs !== null) phases.boot = facts.bootMs
      if (facts.contactMs !== null) phases.contact = facts.contactMs
      // No millisecond belongs to two phases: what the VWN took to come up for this job was not spent waiting for a decision.
      phases.wait = Math.max(0, (phases.wait ?? 0) - (facts.bootMs ?? 0) - (facts.contactMs ?? 0))
      place = to
      reused = facts.reused
      scrubReceipt = facts.scrubReceipt
      link.tell({ kind: 'placed', vwn: to.vwn, type: to.spec.type, reused, stage: run.stage })
      const task: RunTask = { kind: 'run', v: guestVersion, job: who.job, trace: who.trace, identity: who.identity, run, memoryBytes: memoryBytesOf(who.want), mounts: [], stays: start === 'shared' }
      contact = deps.openContact(to)({ place: to, link, task, mounts: facts.mounts, on: fromGuest, log })
      deliver({ kind: 'assigned', vwn: to.vwn })
      return freed.opened
    },
    answer(answer) {
      if (job.state !== 'waiting') return
      switch (answer.is) {
        case 'refused': return void deliver({ kind: 'refused', failure: answer.failure })
        case 'bare':
          phase('wait')
          return void deliver(link.submit.bare ? { kind: 'bare' } : { kind: 'refused', failure: failure('BARE_IMPOSSIBLE') })
        case 'waits':
          if (answer.why === waitsFor) return
          waitsFor = answer.why
          return link.tell({ kind: 'waiting', why: answer.why })
        default: return answer satisfies never
      }
    },
    control,
    gone,
  }
}

/** What the batch system allows the job, to the byte; the VWN is larger, by what its guest needs for itself. */
const memoryBytesOf = ({ memoryMib }: JobRecord['want']): number | null => (memoryMib === null ? null : memoryMib * 1024 * 1024)

function gate<T>(): { readonly opened: Promise<T>; readonly open: (value: T) => void } {
  let open: (value: T) => void = () => {}
  const opened = new Promise<T>((resolve) => (open = resolve))
  return { opened, open }
}
