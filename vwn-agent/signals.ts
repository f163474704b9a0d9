/** Linux's signals by name and number; real-time ones as glibc counts them, `SIGRTMIN+3`. */
import { constants } from 'node:os'

const realTimeMin = 34
const realTimeMax = 64
const named: Readonly<Record<string, number>> = constants.signals

/** The number of a signal; null for a name that Linux does not have. */
export function signalNumber(name: string): number | null {
  const realTime = /^SIGRTM(IN|AX)(?:([+-])(\d{1,2}))?$/.exec(name)
  if (realTime === null) return named[name] ?? null
  const from = realTime[1] === 'IN' ? realTimeMin : realTimeMax
  const number = from + (realTime[2] === '-' ? -1 : 1) * Number(realTime[3] ?? 0)
  return number >= realTimeMin && number <= realTimeMax ? number : null
}

/** The name of a signal's number. */
export function signalName(number: number): string {
  const name = Object.keys(named).find((each) => named[each] === number)
  if (name !== undefined) return name
  return number === realTimeMin ? 'SIGRTMIN' : `SIGRTMIN+${number - realTimeMin}`
}
