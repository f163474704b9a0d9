import { isVwnError, VwnError } from '../../core/errors.ts'
import type { Clock } from '../../kit/clock.ts'
import { gate } from '../../kit/service.ts'

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

/** What is waited for, or CANCELLED with the signal's reason. */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal, what: string): Promise<T> {
  const stop = gate()
  const abort = (): void => stop.refuse(new VwnError('CANCELLED', { what }, { cause: signal.reason }))
  if (signal.aborted) abort()
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([promise, stop.opened as Promise<never>])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
