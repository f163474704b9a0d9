/** The ssh connection to one guest, for as long as the VWN lives: when it breaks, it is opened again, or the guest is given up. */
import { VwnError } from '../../core/errors.ts'
import type { Kit } from '../../kit/service.ts'
import type { Carried, GuestSession } from '../contracts.ts'
import { sessionTo, type Connect, type Meeting } from './guest.ts'

export interface Line {
  /** The open session, opened again if need be; VWN_SILENT when the guest is out of reach. */
  open(): Promise<GuestSession>
  /** While its guest stands still, whether the session lives is not asked. */
  stand(still: boolean): void
  /** All that sessions have carried since it is kept. */
  readonly carried: Carried
  close(): void
}

const reconnectMs = 30_000

/** Keeps a session. `onBroken` is told when it breaks by itself; `signal` ends all trying. */
export function keepLine(kit: Kit, first: GuestSession, how: { meeting: Meeting; connectGuest: Connect; onBroken: () => void; signal: AbortSignal }): Line {
  const { meeting, connectGuest, onBroken, signal } = how
  let session = first
  let before: Carried = { toGuestBytes: 0, fromGuestBytes: 0 }
  let broken = false
  let opening: Promise<GuestSession> | null = null

  const watch = (now: GuestSession): void => {
    session = now
    broken = false
    void now.closed.then(() => {
      broken = true
      if (!signal.aborted) onBroken()
    })
  }
  const carried = (): Carried => ({ toGuestBytes: before.toGuestBytes + session.carried.toGuestBytes, fromGuestBytes: before.fromGuestBytes + session.carried.fromGuestBytes })
  const again = async (): Promise<GuestSession> => {
    const late = new AbortController()
    using _deadline = kit.clock.after(reconnectMs, () => late.abort())
    try {
      const next = await sessionTo(kit, meeting, connectGuest, AbortSignal.any([late.signal, signal]))
      before = carried()
      watch(next)
      return session
    } catch (cause) {
      throw new VwnError('VWN_SILENT', { vwn: meeting.vwn, reconnectMs }, { cause })
    }
  }
  watch(first)
  return {
    async open() {
      if (!broken) return session
      opening ??= again().finally(() => (opening = null))
      return opening
    },
    stand: (still) => session.stand(still),
    get carried() {
      return carried()
    },
    close: () => session.close(),
  }
}
