/** The caller's terminal, while the job has it. */
import { spawnSync } from 'node:child_process'
import { constants, openSync } from 'node:fs'
import { ReadStream, WriteStream } from 'node:tty'

export interface Terminal {
  /** As it was before; safe to repeat. */
  restore(): void
}

/**
 * Rows and columns of the terminal on stdout. By an opening of our own: libuv puts another file in the place of the one it is given, a non-blocking
 * one, and what the job gets on the host itself must be its caller's.
 */
export function terminalSize(): { readonly rows: number; readonly cols: number } {
  const own = ownOpening()
  const terminal = new WriteStream(own ?? 1)
  const [cols, rows] = terminal.getWindowSize()
  if (own !== null) terminal.destroy()
  return { rows, cols }
}

/** Null where the terminal is another user's. */
function ownOpening(): number | null {
  try {
    return openSync('/proc/self/fd/1', constants.O_WRONLY | constants.O_NOCTTY)
  } catch {
    return null
  }
}

/**
 * Every key goes to the job as it is, interrupt and suspend keys among them, and its output comes as it is. By stty(1), because node's
 * raw mode still turns each line end of the output into two characters, which the terminal in the guest has done already.
 */
export function takeTerminal(): Terminal {
  const before = stty('-g').trim()
  if (before !== '') stty('raw', '-echo')
  else new ReadStream(0).setRawMode(true) // put back by node itself at its end
  return { restore: () => void (before !== '' && stty(before)) }
}

/** On the terminal of our stdout: a job that reads no more has taken our stdin away. */
const stty = (...args: string[]): string => spawnSync('stty', args, { stdio: [1, 'pipe', 'ignore'], encoding: 'utf8' }).stdout ?? ''
