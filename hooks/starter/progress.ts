/** What a job waits for that has not begun, for a person at a terminal: one line on it, which is gone before the job's first byte. */
import { readFileSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'

export interface Progress {
  /** This is so from now on. */
  say(words: string): void
  /** The line is gone, for good. */
  clear(): void
}

/** Where it takes no longer nothing is shown. */
const everyMs = 1_000

const wipe = '\r\u001b[K'

/** Shows it on stderr; null where that is no terminal. */
export function startProgress(): Progress | null {
  if (!isatty(2)) return null
  const beganMs = performance.now()
  let [now, shown] = ['asking the bait of this host', false]
  const show = (): void => {
    if (!inForeground(readFileSync('/proc/self/stat', 'latin1'))) return
    shown = true
    write(lineOf(now, performance.now() - beganMs))
  }
  const timer = setInterval(show, everyMs)
  timer.unref()
  return {
    say: (words) => { now = words },
    clear() {
      clearInterval(timer)
      if (shown) write(wipe)
      shown = false
    },
  }
}

/** Over what stands there, and not on into the next line where the terminal is too narrow. */
export const lineOf = (words: string, ms: number): string => `${wipe}\u001b[?7lwnod: ${Math.floor(ms / 1000)} s, ${words.replace(/\p{C}+/gu, ' ')}\u001b[?7h`

/** Whether the terminal is ours: one who writes to it from the background may be stopped for it (`stty tostop`). By `/proc/self/stat`, as proc(5) has it. */
export function inForeground(stat: string): boolean {
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return group === foreground
}

function write(text: string): void {
  try {
    writeSync(2, text)
  } catch {
    // A terminal that takes nothing shows nothing.
  }
}
