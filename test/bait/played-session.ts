import { PassThrough } from 'node:stream'
import type { GuestSession } from '../../bait/contracts.ts'

/** An ssh session that is open until told otherwise. */
export function playedSession(): GuestSession & { breakOff(): void } {
  let close: () => void = () => undefined
  const closed = new Promise<void>((resolve) => (close = resolve))
  const never = (): never => {
    throw new Error('not played')
  }
  return { closed, close, breakOff: close, openAgent: () => Promise.resolve(new PassThrough()), exec: never, get client() { return never() } }
}
