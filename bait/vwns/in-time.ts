import { isVwnError, VwnError } from '../../core/errors.ts'
import type { Clock } from '../../kit/clock.ts'

/**
 * Does the work on a VM, which must heed its signal, within this time; `what` describes it in VWN_BOOT_TIMEOUT. What fails after that
 * failed for want of time, unless the VM has died.
 */
export async function inTime<T>(clock: Clock, withinMs: number, what: Record<string, string | number>, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const late = new AbortController()
  using _deadline = clock.after(withinMs, () => late.abort(new VwnError('VWN_BOOT_TIMEOUT', what)))
  try {
    return await work(AbortSignal.any([late.signal, signal]))
  } catch (error) {
    throw late.signal.aborted && !isVwnError(error, 'VWN_DIED') ? late.signal.reason : error
  }
}
