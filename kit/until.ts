import { inspect } from 'node:util'
import { VwnError } from '../core/errors.ts'
import { systemClock, type Clock } from './clock.ts'

export interface UntilOptions {
  readonly withinMs: number
  /** What is waited for, for the message of the failure. */
  readonly what?: string
  /** The longest pause between two looks; the first ones follow sooner. */
  readonly everyMs?: number
  readonly clock?: Clock
  readonly signal?: AbortSignal
}

type Falsy = false | null | undefined | 0 | ''

/**
 * Looks until the probe answers something true, and returns that. A probe that throws has not answered yet. Past the
 * deadline, also when a probe hangs, it fails with DEADLINE_PASSED and the last value seen.
 */
export async function until<T>(probe: () => T | Promise<T>, options: UntilOptions): Promise<Exclude<T, Falsy>> {
  const { withinMs, what, everyMs = 50, clock = systemClock, signal } = options
  const over = new AbortController()
  using _deadline = clock.after(withinMs, () => over.abort())
  const ended = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal])
  const stopped = aborted(ended)

  let last: unknown = 'nothing'
  let cause: unknown
  for (let pauseMs = 2; ; pauseMs = Math.min(pauseMs * 2, everyMs)) {
    try {
      const answer = await Promise.race([Promise.resolve(probe()), stopped])
      if (answer === gaveUp) break
      if (answer) return answer as Exclude<T, Falsy>
      last = answer
      cause = undefined
    } catch (error) {
      last = 'an error'
      cause = error
    }
    if (ended.aborted) break
    await clock.sleep(pauseMs, ended).catch(() => undefined)
    if (ended.aborted) break
  }
  if (signal?.aborted) throw new VwnError('CANCELLED', { what }, { cause: signal.reason })
  throw new VwnError('DEADLINE_PASSED', { what, withinMs, last: inspect(last, { breakLength: Infinity }).slice(0, 500) }, { cause })
}

const gaveUp = Symbol('gave up')

const aborted = (signal: AbortSignal): Promise<typeof gaveUp> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(gaveUp), { once: true }))
