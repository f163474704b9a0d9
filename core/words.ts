/** How people read what the programs count, on a terminal and on the page alike. */
import type { Outcome } from './failure.ts'

/** Milliseconds as a person reads them: `312 ms`, `6.2 s`, `3 min 5 s`, `2 h 14 min`, `3 d 2 h`. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return '-'
  if (ms < 1_000) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`
  const minutes = Math.floor(Math.round(ms / 1_000) / 60)
  if (minutes < 60) return `${minutes} min ${Math.round(ms / 1_000) % 60} s`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** How long ago that is. */
export const age = (sinceMs: number, nowMs: number): string => duration(Math.max(0, nowMs - sinceMs))

/** A moment as people write it, in this machine's time zone. */
export function moment(atMs: number | null): string | null {
  if (atMs === null) return null
  const at = new Date(atMs)
  const two = (value: number): string => String(value).padStart(2, '0')
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
}

/** How a job ended, in a few words. */
export function outcomeWords(outcome: Outcome): string {
  switch (outcome.is) {
    case 'exited':
      return `exit ${outcome.code}${memoryWords(outcome)}`
    case 'signalled':
      return `${outcome.signal}${outcome.coreDumped ? ' (core dumped)' : ''}${memoryWords(outcome)}`
    case 'refused':
      return `refused: ${outcome.failure.code}`
    case 'cancelled':
      return outcome.signal === null ? 'cancelled' : `cancelled by ${outcome.signal}`
    case 'lost':
      return `lost: ${outcome.failure.code}`
    case 'bare':
      return 'bare: on the host itself'
    default:
      return outcome satisfies never
  }
}

const memoryWords = ({ outOfMemory }: { readonly outOfMemory?: true | undefined }): string => (outOfMemory === true ? ' (out of memory)' : '')
