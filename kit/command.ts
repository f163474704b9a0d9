import { execa } from 'execa'
import { VwnError } from '../core/errors.ts'

export interface CommandOptions {
  readonly timeoutMs?: number
  readonly input?: string | Uint8Array
  readonly cwd?: string
  /** Variables beside our own environment; undefined removes one. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Exit statuses that are no failure. */
  readonly okExits?: readonly number[]
  readonly signal?: AbortSignal
}

export interface CommandResult {
  readonly exit: number
  readonly stdout: string
  readonly stderr: string
}

const outputBytesMax = 16 * 1024 * 1024
const tailChars = 400

/**
 * Runs a helper to its end, never through a shell; it dies with us. Fails with COMMAND_MISSING, COMMAND_TIMEOUT,
 * CANCELLED, or COMMAND_FAILED with the end of what it said on stderr.
 */
export async function run(file: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const { timeoutMs = 60_000, input, cwd, env, okExits = [0], signal } = options
  const command = [file, ...args].join(' ').slice(0, 200)
  if (signal?.aborted) throw new VwnError('CANCELLED', { command }, { cause: signal.reason })
  const result = await execa(file, args, {
    reject: false,
    timeout: timeoutMs,
    forceKillAfterDelay: 2_000,
    maxBuffer: outputBytesMax,
    ...(input === undefined ? { stdin: 'ignore' } : { input }),
    ...(cwd !== undefined && { cwd }),
    ...(env !== undefined && { env }),
    ...(signal !== undefined && { cancelSignal: signal }),
  })
  const { stdout, stderr, exitCode, signal: diedBy } = result
  if (exitCode !== undefined && okExits.includes(exitCode) && !result.timedOut && !result.isCanceled && !result.isMaxBuffer) {
    return { exit: exitCode, stdout, stderr }
  }
  const { cause } = result
  if (result.timedOut) throw new VwnError('COMMAND_TIMEOUT', { command, timeoutMs, stderr: tail(stderr) })
  if (result.isCanceled) throw new VwnError('CANCELLED', { command }, { cause: signal?.reason })
  if (result.code === 'ENOENT') throw new VwnError('COMMAND_MISSING', { command: file }, { cause })
  throw new VwnError('COMMAND_FAILED', { command, exit: exitCode, diedBy, stderr: tail(stderr) }, { cause })
}

/** The last words of an output, on one line. */
export function tail(output: string): string {
  return output.trim().slice(-tailChars).replace(/\s*\n\s*/g, ' | ')
}
