/**
 * `wnod up`: a whole farm in one home.
 *
 *   check ─▶ prepare: settings, credentials ─▶ supervise: start what does not run ─▶ ready ─▶ … ─▶ take down
 *
 * Supervision is this process's, or with --detach that of one in the background, which runs the same `superviseFarm`. Killed
 * at any moment it leaves programs that the next `wnod up` takes over and `wnod down` stops.
 */
import { spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { isVwnError, VwnError } from '../../core/errors.ts'
import { systemClock } from '../../kit/clock.ts'
import { createLog } from '../../kit/log.ts'
import { claimPidFile, readPidFile } from '../../kit/pid-file.ts'
import { isAlive, processOf } from '../../kit/process.ts'
import type { Home } from '../../kit/paths.ts'
import { withProgress } from '../../kit/progress.ts'
import { until } from '../../kit/until.ts'
import type { Context } from '../context.ts'
import { programFile } from '../programs.ts'
import { takeDown } from './down.ts'
import { namedImages } from './mapping.ts'
import { farmPrograms, findCommand, prepareFarm, type FarmWishes } from './prepare.ts'
import { conditions, type Condition } from './ready.ts'
import { leaveSignal, readRecord, refuseForeign, type FarmRecord } from './record.ts'
import { logTail, runningProgram, supervisor } from './supervisor.ts'

/** A bait is ready when it has booted a probe guest, which under emulation takes its time. */
const readyMs = 180_000
/** Who ends so often before the farm was ever ready will not come up by itself. */
const deathsMax = 4

export interface UpOptions extends FarmWishes {
  readonly detach?: boolean
}

/** The farm is up; returns when it was stopped, or with `detach` as soon as it is ready. */
export async function up(context: Context, options: UpOptions): Promise<void> {
  const record = await recordFor(context, options)
  if (options.detach !== true) return superviseFarm(context, record)
  const log = openSync(context.home.log('farm'), 'a', 0o600)
  const child = spawn(process.execPath, [programFile('wnod.js'), 'supervise', '--home', context.home.home], {
    detached: true, stdio: ['ignore', log, log], env: { ...process.env, WNOD_IMAGES: record.images },
  })
  closeSync(log)
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
  child.unref()
  const keeper = processOf(child.pid ?? 0)
  const check = (): void => {
    if (keeper === null || !isAlive(keeper)) throw new VwnError('FARM_NOT_READY', { log: context.home.log('farm'), said: logTail(context.home.log('farm')) })
  }
  // Programs that are taken over are ready at once; whoever says `wnod down` next must find their new supervisor.
  const claimed = { name: 'supervisor', lacks: async () => ((await readPidFile(context.home.pid('farm')))?.pid === child.pid ? null : 'it has not started yet') }
  await waitReady(context, [claimed, ...conditions(context.home, context.api, record)], check)
  context.say(`the farm is up, ${shownAt(context.home)}; \`wnod down${context.home.home === '/var/lib/wnod' ? '' : ` --home ${context.home.home}`}\` stops it`)
}

/** The address of the monitor, as the controller that is ready has written it. */
const shownAt = ({ controllerUrl }: Home): string => `${readFileSync(controllerUrl, 'utf8').trim()} shows it in a browser`

/** Keeps the farm's programs running until this process is told to stop, then takes the farm down. */
export async function superviseFarm(context: Context, told?: FarmRecord): Promise<void> {
  const { home } = context
  const record = told ?? (await readRecord(home))
  if (record === null) throw new VwnError('FARM_FOREIGN', { home: home.home, because: 'there is no farm.json' })
  await using _claim = await claimPidFile(home.pid('farm')).catch((error: unknown) => {
    throw isVwnError(error, 'PROGRAM_RUNNING') ? new VwnError('FARM_UP', { home: home.home }, { cause: error }) : error
  })
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', leaveSignal] as const) process.on(signal, () => stop.abort(signal))
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()))

  const programs = farmPrograms(home, record)
  const keeper = supervisor({ clock: systemClock, log: createLog({ program: 'farm', level: 'warn' }), signal: stop.signal }, programs)
  await keeper.start()
  try {
    await waitReady(context, conditions(home, context.api, record), () => {
      const dying = programs.find((program) => keeper.deaths(program.name) >= deathsMax)
      if (dying !== undefined) throw new VwnError('FARM_NOT_READY', { program: dying.name, log: dying.log, said: logTail(dying.log) })
    }, stop.signal)
    context.say(`the farm is up, ${shownAt(home)}; Ctrl-C stops it and removes what it made`)
    await stopped
  } catch (error) {
    if (!stop.signal.aborted) {
      await keeper.stop()
      await takeDown(context, { keep: true }) // its logs say what was wrong
      throw error
    }
  }
  await keeper.stop()
  if (stop.signal.reason !== leaveSignal) await takeDown(context, { keep: false })
}

/** Made anew, unless programs of a farm whose supervisor was killed still run: those are taken over as they are. */
async function recordFor(context: Context, options: UpOptions): Promise<FarmRecord> {
  const { home } = context
  const keeper = await readPidFile(home.pid('farm'))
  if (keeper !== null) throw new VwnError('FARM_UP', { home: home.home, pid: keeper.pid })
  const record = await readRecord(home)
  if (record === null) refuseForeign(home)
  else if (await someRun(context, record)) {
    if (options.baits !== undefined && options.baits !== record.hosts.length) throw new VwnError('FARM_UP', { home: home.home, baits: record.hosts.length })
    context.say('programs of this farm still run: they are taken over')
    return record
  }
  for (const command of ['nats-server', 'qemu-system-x86_64']) findCommand(command)
  return prepareFarm(home, options, await namedImages(home.images))
}

async function someRun({ home }: Context, record: FarmRecord): Promise<boolean> {
  const running = await Promise.all(farmPrograms(home, record).map(runningProgram))
  return running.some((ref) => ref !== null)
}

/** Says what has become ready, as it does; `check` throws when waiting has become pointless. */
async function waitReady(context: Context, wanted: readonly Condition[], check: () => void, signal?: AbortSignal): Promise<void> {
  const startedMs = systemClock.monotonicMs()
  let lacks: string | null = null
  const hopeless: Error[] = []
  for (const condition of wanted) {
    const holds = async (): Promise<boolean> => {
      try {
        check()
        lacks = await condition.lacks()
        return lacks === null
      } catch (error) {
        hopeless.push(error instanceof Error ? error : new Error(String(error)))
        return true
      }
    }
    await withProgress(`waiting for ${condition.name}`, () => until(holds, { withinMs: readyMs, what: condition.name, ...(signal !== undefined && { signal }) })).catch((error: unknown) => {
      if (!isVwnError(error, 'DEADLINE_PASSED')) throw error
      const log = context.home.log(condition.name)
      throw new VwnError('FARM_NOT_READY', { program: condition.name, lacks, log, said: logTail(log) })
    })
    if (hopeless[0] !== undefined) throw hopeless[0]
    context.say(`${condition.name} is ready (${((systemClock.monotonicMs() - startedMs) / 1000).toFixed(1)} s)`)
  }
}
