/**
 * One job, from the `run` message to the last byte of its output.
 *
 *   prepare (mounts, account, cgroup, script, directory) ─▶ [unpack stage ─▶ staged] ─▶ start ─▶ started ─▶ … ─▶ exited ─▶ ENDs of the streams
 *
 * The job is its main process, as for every batch system: when that has ended, what its pipes hold is delivered, everything else
 * in its cgroup is killed, and only then do the streams end. A connection that breaks takes the job with it.
 */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { stream } from '../wire/frames.ts'
import type { FromAgent, RunTask, ToAgent } from '../wire/guest.ts'
import type { Limit } from '../wire/hook.ts'
import { makeAccount, type Account } from './accounts.ts'
import { makeCgroup, type Cgroup } from './cgroup.ts'
import { guestEnvironment } from './environment.ts'
import { StartError, type Connection, type Exit, type File, type Helper, type StartOptions, type Started } from './helper.ts'
import { remember } from './own-files.ts'
import { mountShares, type Shares } from './shares.ts'
import { placeScript } from './script.ts'
import type { Settings } from './settings.ts'
import { signalName, signalNumber } from './signals.ts'
import { encodeSpec } from './spec.ts'
import { openStage, type Stage } from './stage.ts'

export interface RunningJob {
  take(message: ToAgent): void
  /** The connection is gone: nothing of the job may stay. Resolves when nothing does. */
  abandon(): Promise<void>
}

/** How long killed processes may take to go; one that waits for a device may take longer, and then the VWN is not clean. */
const killMs = 10_000

/** Starts on the job at once; `over` is called when nothing is left to say. */
export function runJob(settings: Settings, helper: Helper, connection: Connection, task: RunTask, over: () => void): RunningJob {
  const say = (message: FromAgent): void => connection.say(message)
  const waitingSignals: number[] = []
  let cgroup: Cgroup | null = null
  let stageGroup: Cgroup | null = null
  let shares: Promise<Shares> | null = null
  let started: Started | null = null
  let flows: Flows | null = null
  let exited = false
  let abandoned = false

  const deliver = (signal: number): void => {
    if (started === null) waitingSignals.push(signal)
    else if (!exited) tryKill(-started.job, signal)
  }
  const work = async (): Promise<void> => {
    shares = mountShares(connection, task.mounts, dirname(settings.socket))
    await shares
    const account = step('account', () => makeAccount(settings, task.identity, task.mounts.map(({ at }) => at)))
    cgroup = step('cgroup', () => makeCgroup(settings.cgroups, task.job, task.memoryBytes))
    const argv = step('script', () => placeScript(settings, account, task))
    const stage = task.run.stage ? await stageOf(account) : null
    if (stage !== null) say({ kind: 'staged' })
    if (abandoned) return
    const begun = await connection.start(startOptions({ settings, task, account, cgroup, stage, argv }))
    started = begun
    const own = flowsOf(connection, task)
    flows = own
    if (abandoned) return end(begun) // meanwhile
    say({ kind: 'started', pid: begun.job })
    for (const signal of waitingSignals) deliver(signal)
    const exit = await begun.exit
    exited = true
    await finish(cgroup, exit, own, stage)
  }
  /** Kills what the cgroup does not hold, and lets go of its pipes. */
  const end = (begun: Started): void => {
    if (!exited) tryKill(-begun.job, 9)
    if (!exited && task.run.tty !== null) tryKill(begun.pid, 9)
    flows?.stopInput()
    flows?.cutOutput()
  }
  /** Nothing of the job is left, and nothing that was mounted for it. */
  const leave = async (): Promise<void> => {
    await Promise.all([cgroup?.remove(killMs), stageGroup?.remove(killMs)])
    const mounted = await shares?.catch(() => null)
    await mounted?.unmount()
  }
  const stageOf = async (account: Account): Promise<Stage> => {
    stageGroup = step('cgroup', () => makeCgroup(settings.cgroups, `${task.job}.stage`, null))
    return openStage({ connection, account, cgroup: stageGroup, cwd: task.run.cwd, folder: dirname(settings.socket) })
  }
  const finish = async (group: Cgroup, exit: Exit, flows: Flows, stage: Stage | null): Promise<void> => {
    say({ kind: 'exited', ...named(exit), outOfMemory: group.outOfMemory(), usage: group.usage() })
    flows.stopInput()
    if (!(await group.kill(killMs))) flows.cutOutput() // somebody who cannot be killed holds the pipes
    await flows.ended
    await stage?.collect()
  }

  work()
    .catch((error: unknown) => {
      if (error instanceof StartError) return say({ kind: 'failed', step: error.step, message: error.message.slice(0, 4096) })
      say({ kind: 'failed', step: 'agent', message: String(error).slice(0, 4096) })
    })
    .then(async () => {
      await leave()
      over()
    })
    .catch((error: unknown) => process.stderr.write(`agent: job ${task.job}, trace ${task.trace ?? 'none'}: ${String(error)}\n`))

  return {
    take(message) {
      if (message.kind === 'signal') {
        const signal = signalNumber(message.signal)
        if (signal !== null) deliver(signal)
      } else if (message.kind === 'resize' && started !== null && task.run.tty !== null && !exited) {
        helper.resize(started.pid, message.rows, message.cols).catch(() => undefined) // it is just ending
      }
    },
    async abandon() {
      abandoned = true
      if (started !== null) end(started)
      await leave()
    },
  }
}

interface Flows {
  /** Every outgoing stream has ended and its last byte was taken. */
  readonly ended: Promise<void>
  stopInput(): void
  cutOutput(): void
}

function flowsOf(connection: Connection, { run }: RunTask): Flows {
  const outgoing = [...(run.stdout === 'stream' ? [stream.stdout] : []), ...(run.stderr === 'stream' ? [stream.stderr] : [])]
  if (run.tty !== null && run.stderr === 'stream') connection.end(stream.stderr) // a terminal has no third stream
  return {
    ended: Promise.all(outgoing.map((each) => connection.done(each))).then(() => undefined),
    stopInput: () => connection.stop(stream.stdin),
    cutOutput: () => outgoing.forEach((each) => connection.cut(each)),
  }
}

interface Prepared {
  readonly settings: Settings
  readonly task: RunTask
  readonly account: Account
  readonly cgroup: Cgroup
  readonly stage: Stage | null
  readonly argv: readonly Buffer[]
}

function startOptions({ settings, task, account, cgroup, stage, argv }: Prepared): StartOptions {
  const { run } = task
  const tty = run.tty !== null
  const home = Buffer.from(account.home)
  const asked = run.cwd === null ? null : Buffer.from(run.cwd, 'base64')
  const directories = [...(stage === null ? [] : [stage.directory]), ...(asked === null ? [] : [asked]), home, Buffer.from('/')]
  const first = task.stays ? asked : directories.find((directory) => isFolder(directory)) ?? home
  const movedTo = asked !== null && first?.equals(asked) ? null : first
  const file = (of: 'stream' | 'null' | 'closed', as: number): File => (of === 'stream' ? as : of === 'closed' ? 'none' : 'null')
  const stderr = run.stderr === 'stdout' ? 'out' : file(run.stderr, stream.stderr)
  const spec = step('spec', () => encodeSpec({
    argv,
    env: guestEnvironment(run.env.map(bytes), { home: account.home, temp: '/tmp', movedTo }),
    directories: task.stays && asked !== null ? [asked] : directories,
    uid: account.uid,
    gid: account.gid,
    groups: account.groups,
    umask: run.umask,
    nice: run.nice,
    limits: limitsOf(settings, task),
    ignored: run.ignored,
    cgroupProcs: cgroup.procs,
    rows: run.tty?.rows ?? 0,
    cols: run.tty?.cols ?? 0,
  }))
  return { spec, tty, stdin: file(run.stdin, stream.stdin), stdout: file(run.stdout, stream.stdout), stderr: tty ? 'null' : stderr }
}

/** The most that a kernel can be told to allow. */
const filesMax = 2_147_483_584

/** The job's limits; a farm's nodes may allow more open files than a guest's kernel does at first, and no kernel allows any number. */
function limitsOf(settings: Settings, { run }: RunTask): readonly Limit[] {
  const limits = run.limits.map((limit) => (limit.name === 'nofile' ? { name: limit.name, soft: atMost(limit.soft), hard: atMost(limit.hard) } : limit))
  const files = limits.find(({ name }) => name === 'nofile')?.hard ?? 0
  const path = join(settings.kernel ?? '/proc/sys', 'fs/nr_open')
  if (files <= Number(readFileSync(path, 'latin1')) || settings.kernel === null) return limits
  const allowed = String(Math.ceil(files / 64) * 64)
  writeFileSync(path, allowed)
  remember(path, allowed)
  return limits
}

const atMost = (value: number | null): number => Math.min(value ?? filesMax, filesMax)

/** What fails here is this step's failure, and the job has not run. */
function step<T>(name: string, act: () => T): T {
  try {
    return act()
  } catch (error) {
    throw new StartError(name, error instanceof Error ? error.message : String(error))
  }
}

const named = (exit: Exit): { code: number | null; signal: string | null } =>
  ({ code: exit.code, signal: exit.signal === null ? null : signalName(exit.signal) })

const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64')

function isFolder(path: Buffer): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

function tryKill(pid: number, signal: number): void {
  try {
    process.kill(pid, signal)
  } catch {
    // it has ended by itself
  }
}
