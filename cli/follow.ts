/** Following a controller that may go away and come back. */
import { isVwnError, type VwnError } from '../core/errors.ts'
import { reconnectBackoff, waitMs } from '../core/retry.ts'
import { systemClock, type Clock } from '../kit/clock.ts'
import type { ServerEvent } from '../kit/server-events.ts'

export interface Following {
  /** Asked again after each break: it knows by then what was heard last. */
  readonly open: (signal: AbortSignal) => AsyncIterable<ServerEvent>
  readonly heard: (event: ServerEvent) => Promise<void> | void
  /** Nothing is heard any more; null: the controller ended it in order, as one does that is restarted. */
  readonly lost: (why: VwnError | null) => void
  readonly clock?: Clock
}

/** Hands on what the controller says until the signal aborts; resolves then. What it refuses, and what is no matter of being away, is thrown. */
export async function keepFollowing({ open, heard, lost, clock = systemClock }: Following, signal: AbortSignal): Promise<void> {
  let failures = 0
  while (!signal.aborted) {
    let why: VwnError | null = null
    try {
      for await (const event of open(signal)) {
        failures = 0
        await heard(event)
      }
    } catch (error) {
      if (signal.aborted) return
      if (!isVwnError(error, 'CONTROLLER_AWAY')) throw error
      why = error
    }
    lost(why)
    failures += 1
    await clock.sleep(waitMs(reconnectBackoff, failures, 0), signal).catch(() => undefined)
  }
}
