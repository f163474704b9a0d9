/**
 * The terminal while `wnod top` has it: an alternate screen without cursor, keys as they are pressed. However the process ends, short of
 * SIGKILL, the terminal is as it was before.
 */
import { writeSync } from 'node:fs'
import { emitKeypressEvents } from 'node:readline'
import type { ReadStream, WriteStream } from 'node:tty'
import type { Key, Size } from './state.ts'

export interface Terminal {
  readonly input: ReadStream
  readonly output: WriteStream & { readonly fd: number }
}

export interface Screen extends Disposable {
  readonly size: Size
  /** These lines are shown, and nothing else. A terminal that does not keep up gets the next ones. */
  draw(lines: readonly string[]): void
  /** The next lines are all drawn, whatever is thought to be there. */
  forget(): void
  /** The terminal is as it was before, until `take`. */
  leave(): void
  take(): void
}

export interface Listeners {
  readonly key: (key: Key) => void
  readonly resize: () => void
  /** Nobody is at the terminal any more. */
  readonly gone: () => void
}

// Alternate screen, no cursor, no line that goes on by itself in the next; and back.
const enter = '\u001b[?1049h\u001b[?25l\u001b[?7l'
const exit = '\u001b[?7h\u001b[?25h\u001b[?1049l'
const home = '\u001b[H'
const restOfLine = '\u001b[K'
const restOfScreen = '\u001b[J'

/** The terminal, taken; disposing of it gives it back. */
export function openScreen({ input, output }: Terminal, on: Listeners): Screen {
  let taken = false
  let before = ''
  const take = (): void => {
    if (taken) return
    taken = true
    before = ''
    input.setRawMode(true)
    output.write(enter)
  }
  const leave = (): void => {
    if (!taken) return
    taken = false
    tryWrite(output, exit)
    if (!input.destroyed) input.setRawMode(false)
  }
  const pressed = (_text: string | undefined, key: { name?: string; ctrl?: boolean; shift?: boolean; sequence?: string }): void =>
    on.key({ name: key.name, ctrl: key.ctrl ?? false, shift: key.shift ?? false, text: key.sequence })

  emitKeypressEvents(input)
  input.on('keypress', pressed)
  input.once('end', on.gone).once('error', on.gone)
  output.on('resize', on.resize)
  process.on('exit', leave)
  take()
  input.resume()
  return {
    get size() { return { rows: output.rows, columns: output.columns } },
    draw(lines) {
      // Cleared before it is written: after a line that is as wide as the screen the cursor stands on its last character.
      const frame = home + lines.map((line) => restOfLine + line).join('\r\n') + (lines.length < output.rows ? `\r\n${restOfScreen}` : '')
      if (!taken || frame === before || output.writableNeedDrain) return
      before = frame
      output.write(frame)
    },
    forget() { before = '' },
    leave,
    take,
    [Symbol.dispose]() {
      leave()
      process.off('exit', leave)
      output.off('resize', on.resize)
      input.off('keypress', pressed).off('end', on.gone)
      input.pause()
    },
  }
}

/** Written before the process goes on to its end; a terminal that has hung up takes nothing. */
function tryWrite({ fd }: Terminal['output'], text: string): void {
  try {
    writeSync(fd, text)
  } catch {
    // Nobody sees it any more.
  }
}
