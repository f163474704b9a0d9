/** The caller's terminal, while the job has it. */
import { ReadStream, WriteStream } from 'node:tty'

export interface Terminal {
  /** As it was before; safe to repeat. */
  restore(): void
}

/** Rows and columns of the terminal on stdout. */
export function terminalSize(): { readonly rows: number; readonly cols: number } {
  const [cols, rows] = new WriteStream(1).getWindowSize()
  return { rows, cols }
}

/** Every key goes to the job as it is, interrupt and suspend keys among them. */
export function takeTerminal(): Terminal {
  const terminal = new ReadStream(0)
  terminal.setRawMode(true)
  return { restore: () => void terminal.setRawMode(false) }
}
