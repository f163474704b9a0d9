import { catalogue, explain, VwnError, vwnErrorIn } from '../core/errors.ts'
import { plainLines } from '../kit/plain.ts'

/** Says a failure once: message, code and what to do next; answers the exit status that belongs to it. */
export function sayFailure(error: unknown, say: (text: string) => void): number {
  const failure = vwnErrorIn(error)
  if (failure === null) {
    say(plainLines(`wnod: a bug of ours: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`))
    return 70
  }
  say(plainLines(`wnod: ${explain(error)} (${failure.code})\nhint: ${catalogue[failure.code].hint}`))
  return failure.entry.exit
}

/** A value that an option may have, or OPTION_INVALID with what was wrong. */
export function wholeNumber(option: string, atLeast: number, atMost: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= atLeast && value <= atMost) return value
    throw new VwnError('OPTION_INVALID', { option, value: text, problem: `a whole number from ${atLeast} to ${atMost} is wanted` })
  }
}
