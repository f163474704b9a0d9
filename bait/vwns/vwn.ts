/**
 * One VWN on this host, from intent to nothing. The reconcile loop calls the verbs; every state is entered here and nowhere else.
 *
 *   preparing ─▶ booting ─▶ idle ─attach▶ busy ─clean▶ cleaning ─▶ idle
 *       └──────────┴─────────┴───────────┴────────────┴─▶ stopping ─▶ gone        told to go
 *                            └───────────┴────────────┴─▶ dead ─reclaim▶ gone      its VM ended, or never came to life
 *
 * One that is nobody's, and that no job has been in, is paused while it is idle: its guest takes no time of the host until a job comes. One
 * that has a job stands still while that is suspended, and is woken before anybody else is let in.
 *
 * The record (handles.ts) is written before the effect that it explains, so whatever moment the bait dies at, the next one knows.
 */
import { VwnError } from '../../core/errors.ts'
import type { Failure } from '../../core/failure.ts'
import type { JobId, VwnId } from '../../core/ids.ts'
import type { Local, LocalState } from '../../core/reconcile.ts'
import type { Sharer } from '../../core/reuse.ts'
import type { ObservedVwn } from '../../wire/bait.ts'
import type { Carried, Clean, CleanReport, ReadyVwn, Stillness } from '../contracts.ts'
import { failureOf, withConsole } from '../failures.ts'
import type { VmUsage } from '../hypervisor/hypervisor.ts'
import { serialTail } from '../serial-log.ts'
import type { EffectName, Means, Running } from './boot.ts'
import type { Meeting } from './guest.ts'
import type { Handle } from './handles.ts'
import { keepLine, type Line } from './line.ts'
import { napOf, type Nap } from './nap.ts'
import { prepareVwn } from './prepare.ts'

export interface LiveVwn {
  readonly id: VwnId
  readonly handle: Handle
  /** The job that it was booted for: to any other it comes warm. */
  readonly madeFor: JobId | null
  /** For the decision. */
  local(): Local
  /** For the Report. */
  observed(): ObservedVwn
  /** What it has used by now; null while no guest of it is available. */
  used(): Promise<Used | null>
  /** idle → busy, on record; null when it is not idle (any more), or its guest turned out to be out of reach. */
  attach(job: JobId, who: Sharer): Promise<ReadyVwn | null>
  /** The job has let go of it. */
  released(mustClean: boolean): void
  /** busy → idle by way of a scrub; null when there was nothing to scrub, or it failed and the VWN goes. */
  clean(scrub: Clean): Promise<CleanReport | null>
  /** Asks the VM to end, then insists; all its files are gone when it resolves. Safe to repeat. */
  stop(cause: Failure | null, insist: boolean): Promise<void>
  /** Removes what a dead VM left. */
  reclaim(): Promise<void>
  /** Lets go of everything here; the VM runs on for the next bait. */
  release(): Promise<void>
}

/** By the VM, and over the connection to its guest since this bait holds it. */
export type Used = VmUsage & Carried

/** What one VWN needs beside what it works with. */
export interface VwnDeps extends Means {
  readonly onChange: () => void
}

const cleanMs = 90_000
const askMs = 2_000

/** A new VWN; it starts to prepare itself at once. */
export function createVwn(deps: VwnDeps, handle: Handle, madeFor: JobId | null): LiveVwn {
  return liveVwn(deps, { handle, state: 'preparing', madeFor, running: null })
}

/** A VWN that a bait before this one made. With a job on record it is `busy` with one that is over: a scrub is due. */
export function adoptVwn(deps: VwnDeps, handle: Handle, running: Running): LiveVwn {
  return liveVwn(deps, { handle, state: handle.job === null ? 'idle' : 'busy', madeFor: null, running })
}

/** Only the record is left: what became of it. */
export function buriedVwn(deps: VwnDeps, handle: Handle): LiveVwn {
  return liveVwn(deps, { handle, state: 'gone', madeFor: null, running: null })
}

interface Beginning {
  readonly handle: Handle
  readonly state: 'preparing' | 'idle' | 'busy' | 'gone'
  readonly madeFor: JobId | null
  readonly running: Running | null
}

function liveVwn(deps: VwnDeps, from: Beginning): LiveVwn {
  const { kit, handles } = deps
  const log = kit.log.child({ vwn: from.handle.vwn })
  const paths = deps.paths.vm(from.handle.vwn)
  const stopping = new AbortController()
  let { handle } = from
  let running: Running | null = null
  let line: Line | null = null
  let nap: Nap | null = null
  let state: LocalState = from.state
  let job = { over: from.state === 'busy', mustClean: true }
  let saved: Promise<void> = Promise.resolve()
  let stop: Promise<void> | null = null
  let removal: Promise<void> | null = null

  const record = async (facts: Partial<Handle>): Promise<Handle> => {
    handle = { ...handle, ...facts }
    const now = handle
    saved = saved.catch(() => undefined).then(() => handles.save(now))
    await saved
    return now
  }
  const after = async (effect: EffectName): Promise<void> => deps.after(effect, handle)
  /** The job that it serves, or is made for. */
  const jobNow = (): JobId | null => (state === 'preparing' || state === 'booting' ? from.madeFor : handle.job)
  const enter = (next: LocalState): void => {
    if (state === next) return
    log.info({ from: state, to: next, job: jobNow(), tookMs: Math.round(kit.clock.nowMs() - handle.sinceMs), cause: handle.cause?.code }, 'vwn moves')
    state = next
    handle = { ...handle, sinceMs: kit.clock.nowMs() }
    deps.onChange()
  }
  const is = (one: LocalState): boolean => state === one
  /** The VM is no more: say why, with the guest's last words; reclaiming is the reconcile loop's next step. */
  const die = async (cause: Failure): Promise<void> => {
    if (state === 'stopping' || state === 'dead' || state === 'gone') return
    handle = { ...handle, cause: handle.cause ?? withConsole(cause, await serialTail(paths.serialLog)) }
    hangUp()
    enter('dead')
  }

  const prepare = async (): Promise<void> => {
    const ledger = {
      hurry: from.madeFor !== null,
      async record(facts: Partial<Handle>) {
        const now = await record(facts)
        if (facts.stage === 'spawned') enter('booting')
        return now
      },
    }
    const making = from.madeFor === null ? deps : { ...deps, kit: { ...kit, log: kit.log.child({ job: from.madeFor }) } }
    live(await prepareVwn(making, handle, ledger, stopping.signal))
    enter('idle')
    await after('ready')
    await rest()
  }
  /** From now on the VM's end and the connection's end are noticed. */
  const live = (now: Running): void => {
    running = now
    line = keepLine(kit, now.guest.session, {
      meeting: meetingOf(deps, handle), connectGuest: deps.connectGuest, signal: stopping.signal,
      onBroken: () => void (is('idle') && orElseEnd(mend)),
    })
    const { vm, guest: { port } } = now
    // A guest without agent runs on: nobody in it could set its clock to a fraction of a second.
    nap = port === null ? null : napOf(kit, { vm, port, line, vwn: handle.vwn, mayPause: () => is('idle') && isNobodys(), record: () => record({ paused: true }), onChange: deps.onChange }, stopping.signal)
    void now.vm.exit.then(({ code, signal, said }) => die(failureOf(new VwnError('VWN_DIED', { code, signal, said: said || undefined }), 'VWN_DIED')))
  }
  const hangUp = (): void => {
    line?.close()
    running?.guest.port?.close()
  }
  /** Never used, and not promised to anybody. */
  const isNobodys = (): boolean => from.madeFor === null && handle.owner === null && handle.job === null && handle.jobsRun === 0
  /** Of the hypervisor that runs this very VM: asked once. */
  let canPauseKnown: Promise<boolean> | null = null
  const canPause = (): Promise<boolean> => (canPauseKnown ??= deps.hypervisor.fingerprint().then(({ can }) => can.pause))
  const rest = async (): Promise<void> => {
    if (nap === null || !(await canPause())) return
    await nap.pause()
    if (nap.still) await after('paused')
  }
  const woken = async (): Promise<ReadyVwn> => {
    if (nap?.still === true) {
      const startedMs = kit.clock.monotonicMs()
      await nap.wake()
      log.info({ job: handle.job, tookMs: Math.round(kit.clock.monotonicMs() - startedMs) }, 'vwn woken')
      handle = { ...handle, paused: false } // on record with what comes next: until then a bait that finds it wakes it in vain
      await after('woken')
    }
    return reach()
  }
  const mend = async (): Promise<void> => {
    await woken()
    await rest()
  }
  const reach = async (): Promise<ReadyVwn> => {
    if (line === null) throw new VwnError('VWN_SILENT', { vwn: handle.vwn })
    return { vwn: handle.vwn, token: handle.token, spec: handle.spec, session: await line.open(), stillness: await stillnessOf(nap) }
  }
  /** For the job in it. */
  const stillnessOf = async (own: Nap | null): Promise<Stillness | null> => {
    if (own === null || !(await canPause())) return null
    const obey = async (step: () => Promise<void>): Promise<void> => void (await orElseEnd(step))
    return { freeze: () => obey(() => own.freeze()), wake: () => obey(() => own.wake()) }
  }

  /** A step that fails has left the VWN in a state that nobody knows: it goes. When the bait ends, the next one sees the record. */
  const orElseEnd = async <T>(step: () => Promise<T>): Promise<T | null> => {
    try {
      return await step()
    } catch (error) {
      if (!stopping.signal.aborted && !kit.signal.aborted) void end(failureOf(error, 'VWN_SILENT'), true)
      return null
    }
  }
  const scrubbed = async (scrub: Clean): Promise<CleanReport | null> => {
    await after('released')
    enter('cleaning')
    const late = new AbortController()
    using _deadline = kit.clock.after(cleanMs, () => late.abort(new VwnError('VWN_SILENT', { what: 'scrub', cleanMs })))
    const place = await woken()
    const report = await scrub(place, AbortSignal.any([late.signal, stopping.signal, kit.signal]))
    if (!is('cleaning')) return null
    if (report.left.length > 0) throw new VwnError('VWN_DIRTY', { left: report.left.join(', ').slice(0, 2000) })
    const { checked, tookMs } = report
    await record({ job: null, jobsRun: handle.jobsRun + 1, scrub: { checked: [...checked], tookMs, atMs: kit.clock.nowMs() } })
    await after('cleaned')
    if (is('cleaning')) enter('idle')
    return report
  }
  /** Nothing of the job got in; whether anything can is asked, for that may be why. */
  const untouched = async (): Promise<null> => {
    await record({ job: null })
    const place = await woken()
    if (handle.spec.contact === 'agent') (await place.session.openAgent(stopping.signal)).destroy()
    if (is('busy')) enter('idle')
    return null
  }

  const end = (cause: Failure | null, insist: boolean): Promise<void> => {
    if (state === 'dead' || state === 'gone') return remove()
    if (stop !== null) {
      if (insist) void running?.vm.kill().catch(() => undefined)
      return stop
    }
    handle = { ...handle, cause: handle.cause ?? cause }
    enter('stopping')
    stopping.abort(new VwnError('VWN_REMOVED', { vwn: handle.vwn }))
    stop = (async () => {
      await driven
      if (running !== null) await endVm(running, insist)
      await after('stopped')
      await remove()
    })().catch((error: unknown) => {
      log.error({ err: error }, 'vwn could not be removed, trying again')
      stop = null
      state = 'dead' // the loop comes back to reclaim it
    })
    return stop
  }
  const endVm = async ({ vm }: Running, insist: boolean): Promise<void> => {
    hangUp()
    if (!insist && nap?.still !== true) {
      await vm.shutdown().catch((error: unknown) => log.debug({ err: error }, 'vm does not listen'))
      await Promise.race([vm.exit, kit.clock.sleep(askMs)])
    }
    await vm.kill()
  }
  const remove = (): Promise<void> => {
    if (state === 'gone') return Promise.resolve()
    removal ??= (async () => {
      await driven
      if (running !== null) await running.vm.kill()
      await running?.serial.close()
      running = null
      await deps.cgroups.leave(`${deps.namePrefix}${handle.vwn}`)
      await handles.removeFiles(handle.vwn)
      await after('removed')
      // On a full disk there is no room even for this: then nothing at all is left of it.
      await record({ stage: 'gone', job: null, vm: null, sshPort: null, hostKey: null, clientKey: null }).catch(() => handles.forget(handle.vwn))
      enter('gone')
      await after('gone')
    })().finally(() => (removal = null))
    return removal
  }

  if (from.running !== null) live(from.running)
  const driven: Promise<void> = (from.state === 'preparing' ? prepare() : rest()).catch(async (error: unknown) => {
    if (!stopping.signal.aborted) await die(failureOf(error, 'HYPERVISOR_FAILED'))
  })

  return {
    id: handle.vwn,
    madeFor: from.madeFor,
    get handle() {
      return handle
    },
    local: () => ({ token: handle.token, state, job: state === 'busy' ? handle.job : null, jobOver: state === 'busy' && job.over }),
    observed: () => observedOf(handle, state, { madeFor: from.madeFor, paused: nap?.still === true }),
    async used() {
      const usage = await running?.vm.used()
      return usage && line !== null ? { ...usage, ...line.carried } : null
    },
    async attach(wanted, who) {
      if (!is('idle')) return null
      job = { over: false, mustClean: true }
      const owner = handle.owner ?? who
      const facts = { job: wanted, owner, shared: handle.shared || owner.uid !== who.uid }
      handle = { ...handle, ...facts }
      enter('busy')
      return orElseEnd(async () => {
        const [place] = await Promise.all([woken(), record(facts)])
        await after('assigned')
        return place
      })
    },
    released(mustClean) {
      job = { over: true, mustClean }
      deps.onChange()
    },
    async clean(scrub) {
      if (!is('busy') || !job.over) return null
      return orElseEnd(() => (job.mustClean ? scrubbed(scrub) : untouched()))
    },
    stop: end,
    reclaim: remove,
    async release() {
      const ending = stop ?? removal
      if (ending !== null) return ending
      stopping.abort(new VwnError('CANCELLED', { what: 'the bait ends' }))
      await driven
      if (is('dead')) return remove()
      if (running === null) return is('gone') ? undefined : handles.forget(handle.vwn) // it never came to life
      hangUp()
      running.vm.release()
      await running.serial.close()
    },
  }
}

/** How the guest of a VWN on record is reached. */
export function meetingOf(means: Means, handle: Handle): Meeting {
  const { sshPort, hostKey, clientKey } = handle
  if (sshPort === null || hostKey === null || clientKey === null) throw new Error(`${handle.vwn} was never reached`)
  return { ...handle, host: means.host, portSocket: means.paths.vm(handle.vwn).agentSocket, sshPort, hostKey, clientKey }
}

function observedOf(handle: Handle, state: LocalState, { madeFor, paused }: { readonly madeFor: JobId | null; readonly paused: boolean }): ObservedVwn {
  const { vwn, token, jobsRun, bootAttempt, sinceMs, phases, cause, accelerator, made, vm } = handle
  const waiting = state === 'preparing' || state === 'booting'
  return {
    vwn, token, jobsRun, bootAttempt, sinceMs, phases, cause, accelerator,
    state: state === 'dead' ? 'stopping' : state,
    job: waiting ? madeFor : state === 'idle' || state === 'gone' ? null : handle.job,
    pid: state === 'gone' ? null : (vm?.pid ?? null),
    paused: paused && (state === 'idle' || state === 'busy'),
    madeBy: made,
  }
}
