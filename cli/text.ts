/** Text on a terminal: its colour, and how many cells it takes. What came from elsewhere is made plain before (kit/plain.ts). */
import { styleText } from 'node:util'

/** What a word means to the reader; `quiet` is what need not be read. */
export type Tone = 'good' | 'warn' | 'bad' | 'quiet' | 'title' | 'chosen'

const styles = { good: 'green', warn: 'yellow', bad: 'red', quiet: 'gray', title: 'bold', chosen: 'inverse' } as const satisfies Record<Tone, Parameters<typeof styleText>[0]>

/** Whether stdout is to be coloured; https://no-color.org. */
export const wantsColour = (isTty: boolean, env: NodeJS.ProcessEnv): boolean => isTty && !env['NO_COLOR'] && env['TERM'] !== 'dumb'

/** The text in the colour of its tone, or as it is. */
export const painted = (text: string, tone: Tone | undefined, colour: boolean): string =>
  tone === undefined || !colour || text === '' ? text : styleText(styles[tone], text, { validateStream: false })

// East Asian Width W and F, and what is drawn as a picture unless told otherwise; UAX #11.
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18dff}\u{1aff0}-\u{1b2ff}\u{20000}-\u{3fffd}\p{Emoji_Presentation}]/u
const onTop = /[\p{Mn}\p{Me}\u1160-\u11ff]/u
const ascii = /^[\u0020-\u007e]*$/

const cellsOf = (character: string): number => (onTop.test(character) ? 0 : wide.test(character) ? 2 : 1)

/** How many cells of a terminal plain text takes. */
export const cells = (text: string): number => (ascii.test(text) ? text.length : [...text].reduce((sum, character) => sum + cellsOf(character), 0))

/** Plain text of at most so many cells; what had to be cut ends in an ellipsis. */
export function fit(text: string, width: number): string {
  if (cells(text) <= width) return text
  let [kept, room] = ['', width - 1]
  for (const character of text) {
    room -= cellsOf(character)
    if (room < 0) break
    kept += character
  }
  return width < 1 ? '' : `${kept}…`
}

/** Plain text of exactly so many cells. */
export function pad(text: string, width: number, right = false): string {
  const fitted = fit(text, width)
  const fill = ' '.repeat(Math.max(0, width - cells(fitted)))
  return right ? fill + fitted : fitted + fill
}
