import { catalogue, explain, VwnError, vwnErrorIn } from '../core/errors.ts'
import { systemClock, type Clock } from '../kit/clock.ts'
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

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** A moment as people give it: `2026-11-22`, `2026-11-22 03:30`, in this machine's time zone unless it names one, or so long ago: `30s`, `90m`, `12h`, `7d`. */
export function momentGiven(option: string, clock: Pick<Clock, 'nowMs'> = systemClock): (text: string) => number {
  return (text) => {
    const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
    const date = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text
    const atMs = count === undefined ? (/^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(date) : NaN) : clock.nowMs() - Number(count) * (unitMs[unit] ?? 0)
    if (atMs >= 0) return atMs
    throw new VwnError('OPTION_INVALID', { option, value: text, problem: 'a date (2026-11-22, 2026-11-22 03:30) or a time ago (30s, 90m, 12h, 7d) is wanted' })
  }
}
