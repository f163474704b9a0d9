/** What came from elsewhere, made harmless for a terminal. */
import { stripVTControlCharacters } from 'node:util'

// A run of controls and line separators is a space. What nobody sees (joiners, selectors, changes of direction, half characters) is left
// out: terminals disagree about its width, and it can make a name look like another.
const breaking = /[\p{Cc}\p{Zl}\p{Zp}]+/gu
const unseen = /[\p{Cf}\p{Cs}\p{Variation_Selector}]/gu

/** One line that moves no cursor, sets no colour and rings no bell, whatever was in the text. */
export const plain = (text: string): string => text.replace(breaking, ' ').replace(unseen, '')

/** The same of each of its lines. */
export const plainLines = (text: string): string => text.split('\n').map(plain).join('\n')

/** A piece of a stream with nothing but its text, tabs and ends of lines. */
export const harmless = (text: string): string => stripVTControlCharacters(text).replace(/(?![\n\t])\p{Cc}/gu, '')

/** JSON that a terminal takes for text: the control characters that JSON leaves as they are, C1 among them, are written as `\u0085`. */
export const safeJson = (value: unknown, indent?: number): string =>
  JSON.stringify(value, null, indent).replace(/[\u007f-\u009f\u2028\u2029\p{Cf}]/gu, (text) => text.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''))
