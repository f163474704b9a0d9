import { constants } from 'node:os'

const names = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]))

/** The name of a signal by its number; real-time ones by their distance from the first, as glibc counts. */
export const signalName = (number: number): string => names.get(number) ?? (number >= 34 && number <= 64 ? `SIGRTMIN+${number - 34}` : `SIG${number}`)
