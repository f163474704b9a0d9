/**
 * Keeps the programs of a local farm running. Wanted is that each runs; observed is its process, which may be our child or one
 * that a former supervisor left: both are named by pid and start ticks, so a supervisor that was killed is simply replaced.
 *
 *   turn: for each program    alive → fine    ended → wait a growing pause → adopt by its pid file, or spawn again
 */
import { spawn } from 'node:child_process'
import { closeSync, copyFileSync, existsSync, openSync, readFileSync, renameSync, statSync, truncateSync } from 'node:fs'
import { waitMs, type Backoff } from '../../core/retry.ts'
import { tail } from '../../kit/command.ts'
import { claimPidFile, readPidFile } from '../../kit/pid-file.ts'
import { findProcesses, isAlive, processOf, type ProcessRef } from '../../kit/process.ts'
import { loop, type Kit, type Loop } from '../../kit/service.ts'

/** One program and how to run it. */
export interface FarmProgram {
  readonly name: string
  readonly command: readonly [string, ...string[]]
  readonly log: string
  readonly pidFile: string
}

export interface Supervisor extends Loop {
  /** How often this program has ended without being told to. */
  deaths(name: string): number
}

interface Observed {
  ref: ProcessRef | null
  startedMs: number
  failures: number
  deaths: number
  notBeforeMs: number
}

const everyMs = 500
const restartBackoff: Backoff = { baseMs: 100, factor: 2, maxMs: 15_000, jitter: 0 }
/** Who has run so long is well: the next pause is short again. */
const wellAfterMs = 10_000
const logBytesMax = 16 * 1024 * 1024

/** A loop that starts what does not run. Stopping it leaves the programs alone. */
export function supervisor(kit: Kit, programs: readonly FarmProgram[]): Supervisor {
  const observed = new Map<string, Observed>(
    programs.map((program) => [program.name, { ref: null, startedMs: 0, failures: 0, deaths: 0, notBeforeMs: 0 }]),
  )
  let wake: () => void = () => undefined

  const look = async (program: FarmProgram, seen: Observed): Promise<void> => {
    const nowMs = kit.clock.monotonicMs()
    boundLog(program.log)
    if (seen.ref !== null && isAlive(seen.ref)) {
      if (nowMs - seen.startedMs > wellAfterMs) seen.failures = 0
      return
    }
    if (seen.ref !== null) {
      seen.ref = null
      seen.deaths += 1
      seen.failures += 1
      const pauseMs = waitMs(restartBackoff, seen.failures, 0)
      seen.notBeforeMs = nowMs + pauseMs
      kit.log.warn({ name: program.name, waitMs: pauseMs, said: logTail(program.log) }, 'program ended; it is started again')
      kit.clock.after(pauseMs, () => wake())
    }
    if (nowMs < seen.notBeforeMs) return
    const running = await runningProgram(program)
    seen.ref = running ?? (await startProgram(program, () => wake()))
    seen.startedMs = nowMs
    kit.log.info({ name: program.name, pid: seen.ref?.pid }, running === null ? 'program started' : 'running program taken over')
  }
  const keeper = loop(kit, { name: 'supervisor', everyMs, wake: (listener) => void (wake = listener) }, async () => {
    for (const program of programs) {
      const seen = observed.get(program.name)
      if (seen !== undefined) await look(program, seen)
    }
  })
  return { ...keeper, deaths: (name) => observed.get(name)?.deaths ?? 0 }
}

/** Starts a program in a session of its own, so that no terminal's Ctrl-C and no death of ours reaches it. */
export async function startProgram(program: FarmProgram, onExit: () => void = () => undefined): Promise<ProcessRef | null> {
  const [file, ...args] = program.command
  const log = openSync(program.log, 'a', 0o600)
  try {
    const child = spawn(file, args, { detached: true, stdio: ['ignore', log, log], env: programEnv() })
    child.once('exit', onExit)
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject))
    child.unref()
    const ref = child.pid === undefined ? null : processOf(child.pid)
    if (ref !== null) await claimPidFile(program.pidFile, ref.pid)
    return ref
  } finally {
    closeSync(log)
  }
}

/** The process that runs this program, if any: as recorded, or, where nobody lived to record it, as its command line tells. */
export async function runningProgram(program: FarmProgram): Promise<ProcessRef | null> {
  const recorded = await readPidFile(program.pidFile)
  if (recorded !== null) return recorded
  const wanted = JSON.stringify(program.command)
  return findProcesses((args) => JSON.stringify(args) === wanted)[0] ?? null
}

/** The last words of a program's log. */
export function logTail(file: string): string {
  return existsSync(file) ? tail(readFileSync(file, 'utf8').slice(-4096)) : ''
}

/** Programs get what they need of our environment and nothing that a caller happened to have. */
function programEnv(): NodeJS.ProcessEnv {
  const kept = ['HOME', 'USER', 'LOGNAME', 'LANG', 'TZ', 'TMPDIR', 'XDG_RUNTIME_DIR', 'NODE_V8_COVERAGE'] as const
  const env: NodeJS.ProcessEnv = { PATH: searchPath() }
  for (const name of kept) if (process.env[name] !== undefined) env[name] = process.env[name]
  return env
}

/** Debian keeps nats-server and mkfs where the PATH of ordinary users, who have /usr/bin, does not look. */
export function searchPath(): string {
  const folders = (process.env['PATH'] ?? '').split(':').filter((folder) => folder !== '')
  const more = folders.includes('/usr/bin') ? ['/usr/local/sbin', '/usr/sbin', '/sbin'] : []
  return [...new Set([...folders, ...more])].join(':')
}

/** Programs append to their log and never reopen it: it is copied aside and cut in place. */
function boundLog(file: string): void {
  const size = statSync(file, { throwIfNoEntry: false })?.size ?? 0
  if (size <= logBytesMax) return
  copyFileSync(file, `${file}.1.new`)
  renameSync(`${file}.1.new`, `${file}.1`)
  truncateSync(file, 0)
}
