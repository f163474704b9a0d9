/** What takes long, for a person at a terminal: one line on it, which is gone when it is over. */
import { readFileSync, writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { systemClock } from './clock.ts'
import { plain } from './plain.ts'

export interface Progress {
  /** This is so from now on. */
  say(words: string): void
  /** The line is gone, for good. */
  clear(): void
}

/** Where it takes no longer nothing is shown. */
const everyMs = 1_000

const wipe = '\r\u001b[K'

/** The answer of this work; while it goes on, the words and for how long stand on stderr, where that is a terminal. */
export async function withProgress<T>(words: string, work: () => Promise<T>): Promise<T> {
  const progress = startProgress(words)
  try {
    return await work()
  } finally {
    progress?.clear()
  }
}

/** Shows it on stderr; null where that is no terminal. */
export function startProgress(words: string): Progress | null {
  if (!isatty(2)) return null
  const beganMs = systemClock.monotonicMs()
  let [now, shown] = [words, false]
  const show = (): void => {
    if (!inForeground(readFileSync('/proc/self/stat', 'latin1'))) return
    shown = true
    write(lineOf(now, systemClock.monotonicMs() - beganMs))
  }
  const timer = systemClock.every(everyMs, show)
  return {
    say: (next) => { now = next },
    clear() {
      timer.cancel()
      if (shown) write(wipe)
      shown = false
    },
  }
}

/** Over what stands there, and not on into the next line where the terminal is too narrow. */
export const lineOf = (words: string, ms: number): string => `${wipe}\u001b[?7lwnod: ${Math.floor(ms / 1000)} s, ${plain(words)}\u001b[?7h`

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
