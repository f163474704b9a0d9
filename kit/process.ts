/**
 * Processes are named by pid *and* start ticks, because pids are reused; a record that outlives the machine's boot also
 * keeps the boot id, because start ticks count from there. A zombie without other threads has ended: only its parent has not looked
 * yet. One whose first thread is dead while others still end holds its files, locks and sockets as before.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { VwnError } from '../core/errors.ts'
import { errnoOf } from './atomic-file.ts'
import { systemClock, type Clock } from './clock.ts'
import { until } from './until.ts'

/** One process of this boot of the machine, never mistaken for a later one with its pid. */
export interface ProcessRef {
  readonly pid: number
  readonly startTicks: number
}

/** Fields of /proc/PID/stat by proc(5)'s numbers, of which the name may hold blanks and parentheses. */
export function parseStat(text: string): { readonly state: string; readonly parent: number; readonly threads: number; readonly startTicks: number } | null {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ') // the first of these is field 3
  const [state, parent, threads, startTicks] = [fields[0], Number(fields[1]), Number(fields[17]), Number(fields[19])]
  if (state === undefined || !Number.isSafeInteger(parent) || !Number.isSafeInteger(startTicks)) return null
  return { state, parent, threads, startTicks }
}

/** The process that has this pid now, or null when none has or it has ended and only waits for its parent. */
export function processOf(pid: number): ProcessRef | null {
  const stat = parseStat(readProc(pid, 'stat')?.toString('latin1') ?? '')
  return stat === null || ((stat.state === 'Z' || stat.state === 'X') && stat.threads <= 1) ? null : { pid, startTicks: stat.startTicks }
}

/** True while that very process runs. */
export function isAlive(ref: ProcessRef): boolean {
  return processOf(ref.pid)?.startTicks === ref.startTicks
}

/** The program and its arguments, or null when the process is gone. */
export function commandLine(pid: number): readonly string[] | null {
  const bytes = readProc(pid, 'cmdline')
  if (bytes === null || bytes.length === 0) return null
  const text = bytes.toString('utf8')
  return (text.endsWith('\0') ? text.slice(0, -1) : text).split('\0')
}

/** Every process of the machine whose command line satisfies the test. */
export function findProcesses(wanted: (args: readonly string[], pid: number) => boolean): readonly ProcessRef[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const ref = processOf(Number(name))
      const args = commandLine(Number(name))
      return ref !== null && args !== null && wanted(args, Number(name)) ? [ref] : []
    })
}

/** Changes with every boot of the machine. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

/** Sends a signal to that very process; false when it is gone already. */
export function signalProcess(ref: ProcessRef, signal: NodeJS.Signals): boolean {
  if (!isAlive(ref)) return false
  try {
    return process.kill(ref.pid, signal)
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false
    throw error
  }
}

export interface KillOptions {
  /** How long it may take its time after TERM before KILL. */
  readonly termMs?: number
  /** How long the kernel may take after KILL before we give up with PROCESS_STUCK. */
  readonly killMs?: number
  readonly clock?: Clock
}

/** Asks, waits, insists. That very process is gone afterwards; says which of the two it took, if any. */
export async function killAndWait(ref: ProcessRef, options: KillOptions = {}): Promise<'gone before' | 'asked' | 'killed'> {
  const { termMs = 5_000, killMs = 10_000, clock = systemClock } = options
  const goneWithin = (withinMs: number): Promise<boolean> =>
    until(() => !isAlive(ref), { withinMs, clock, everyMs: 25 }).catch(() => false)

  if (!signalProcess(ref, 'SIGTERM')) return 'gone before'
  if (await goneWithin(termMs)) return 'asked'
  signalProcess(ref, 'SIGKILL')
  if (await goneWithin(killMs)) return 'killed'
  throw new VwnError('PROCESS_STUCK', { pid: ref.pid, killMs })
}

function readProc(pid: number, file: string): Buffer | null {
  try {
    return readFileSync(`/proc/${pid}/${file}`)
  } catch {
    return null // gone, or gone while we read
  }
}
