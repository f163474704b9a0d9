/** How the starter ends: exactly as the job did, so that the batch system sees no difference. */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import { parseLimits } from './surroundings.ts'

/** One line for whoever reads the job's stderr; the only words that are not the job's own. */
export function complain(line: string): void {
  const bytes = Buffer.from(`wnod: ${line}\n`)
  for (let at = 0, tries = 0; at < bytes.length && tries < 1000; tries += 1) {
    try {
      at += writeSync(2, bytes, at)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return
    }
  }
}

/** The number of a signal, real-time ones (`SIGRTMIN+3`) as glibc counts them; null for a name that Linux does not have. */
export function signalNumber(name: string): number | null {
  const realTime = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name)
  if (realTime === null) return (constants.signals as Readonly<Record<string, number>>)[name] ?? null
  const number = (realTime[1] === 'MIN' ? 34 : 64) + Number(`${realTime[2] ?? '+'}${realTime[3] ?? 0}`)
  return number >= 34 && number <= 64 ? number : null
}

/** Signals that would leave a core file of ours where the job's belongs. */
const dumpsCore: ReadonlySet<string> = new Set(['SIGQUIT', 'SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGSEGV', 'SIGXCPU', 'SIGXFSZ', 'SIGSYS'])

/** Dies by a signal, as the job did; where that cannot be, with the exit code that a shell would give. */
export function die(signal: string): void {
  const number = signalNumber(signal)
  if (number === null) process.exit(128)
  if (dumpsCore.has(signal)) forbidCore()
  if (number < 32 && number !== constants.signals.SIGKILL && number !== constants.signals.SIGSTOP) {
    // Listening to a signal and then no more leaves it with its default action, whatever node has set before.
    process.on(signal as NodeJS.Signals, () => {})
    process.removeAllListeners(signal)
  }
  process.kill(process.pid, number)
  setTimeout(() => process.exit(128 + number), 1000) // it did not work: a signal that is blocked, or that only stops
}

function forbidCore(): void {
  const core = parseLimits(readFileSync('/proc/self/limits', 'latin1')).find(({ name }) => name === 'core')
  if (core?.soft !== 0) spawnSync('prlimit', ['--pid', String(process.pid), '--core=0:'], { stdio: 'ignore' })
}
