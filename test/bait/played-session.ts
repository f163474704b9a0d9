import { PassThrough } from 'node:stream'
import type { Carried, GuestSession } from '../../bait/contracts.ts'

/** An ssh session that is open until told otherwise. */
export function playedSession(carried: Carried = { toGuestBytes: 0, fromGuestBytes: 0 }): GuestSession & { breakOff(): void; readonly still: boolean } {
  let still = false
  let close: () => void = () => undefined
  const closed = new Promise<void>((resolve) => (close = resolve))
  const never = (): never => {
    throw new Error('not played')
  }
  return { closed, close, breakOff: close, openAgent: () => Promise.resolve(new PassThrough()), exec: never, listen: never, stand: (now) => void (still = now), get still() { return still }, carried, get client() { return never() } }
}
