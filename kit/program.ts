/**
 * The life of a long-running program: it starts, works until TERM or INT, stops in order, and ends with an exit status that
 * a supervisor understands. A second TERM or INT ends it at once: what it left is what a crash would leave.
 */
import { explain, vwnErrorIn } from '../core/errors.ts'
import { systemClock } from './clock.ts'
import type { Log } from './log.ts'
import type { Kit, Service } from './service.ts'

export interface Program {
  readonly name: string
  readonly log: Log
  /** How long an orderly stop may take before the program ends anyway. */
  readonly stopWithinMs?: number
  /** Builds the program's parts; nothing runs before the answer is started. */
  readonly build: (kit: Kit) => Promise<Service>
}

/** Runs a program to its end; sets the exit status and says on stderr why it could not go on, if so. */
export async function runProgram(program: Program): Promise<void> {
  const { name, log, build, stopWithinMs = 20_000 } = program
  const ending = new AbortController()
  const told = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (ending.signal.aborted) process.exit(75)
        resolve(signal)
      })
    }
  })
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => {
      log.error({ err: error }, 'bug: the program ends; a restart heals')
      process.exit(70)
    })
  }
  try {
    const service = await build({ clock: systemClock, log, signal: ending.signal })
    const started = service.start()
    const signal = await Promise.race([told, started.then(() => service.ready).then(() => told)])
    log.info({ signal }, 'program stops')
    using _late = systemClock.after(stopWithinMs, () => {
      log.error({ stopWithinMs }, 'an orderly stop took too long')
      process.exit(75)
    })
    ending.abort()
    await service.stop()
    await started.catch(() => undefined) // it was told to stop while it started
    log.info('program stopped')
    process.exit(0)
  } catch (error) {
    process.stderr.write(complaint(name, error))
    process.exit(exitCodeOf(error))
  }
}

/** What to tell a person: the chain in one line, what to do in another. */
export function complaint(program: string, error: unknown): string {
  const known = vwnErrorIn(error)
  const stack = error instanceof Error ? `${error.stack ?? ''}\n` : ''
  return `${program}: ${explain(error)}\n${known === null ? stack : `  ${known.code}: ${known.entry.hint}\n`}`
}

/** The exit status that stands for this failure; 70 for a bug. */
export function exitCodeOf(error: unknown): number {
  return vwnErrorIn(error)?.entry.exit ?? 70
}
