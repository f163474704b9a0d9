/** A console as far as the page has it. */
import type { ConsoleReply } from '../../wire/look.ts'

export interface Console {
  readonly text: string
  /** Where to go on; null while nothing is known. */
  readonly next: number | null
}

export const noConsole: Console = { text: '', next: null }

/** Letters that the page keeps; of more, the last lines. */
export const keptMax = 200_000

/** With what came after it; what is missing between is said. */
export function moreConsole({ text, next }: Console, piece: ConsoleReply): Console {
  if (piece.next === next) return { text, next }
  const gap = next === null || piece.from <= next ? '' : `\n[… ${piece.from - next} bytes left out …]\n`
  const all = text + gap + piece.text
  return { next: piece.next, text: all.length <= keptMax ? all : all.slice(all.indexOf('\n', all.length - keptMax) + 1) }
}
