import { expect, test } from 'vitest'
import { explain, isVwnError } from '../../core/errors.ts'
import { fakeClock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'

test('answers what the probe answered, once it is true', async () => {
  let looks = 0
  expect(await until(() => (++looks >= 3 ? { looks } : null), { withinMs: 5_000 })).toEqual({ looks: 3 })
})

test('past the deadline it says what it waited for and the last value seen', async () => {
  const clock = fakeClock()
  let generation = 0
  const waited = until(() => ++generation < 0, { withinMs: 100, what: 'generation 7', clock }).catch((error: unknown) => error)
  await clock.advance(200)
  const error = await waited
  expect(isVwnError(error, 'DEADLINE_PASSED')).toBe(true)
  expect(explain(error)).toBe('did not happen in time (what="generation 7" withinMs=100 last=false)')
})

test('a probe that throws has not answered yet; its last error is the cause', async () => {
  let looks = 0
  const flaky = () => {
    if (++looks < 3) throw new Error('not there')
    return 'there'
  }
  expect(await until(flaky, { withinMs: 5_000 })).toBe('there')
  const never = () => Promise.reject(new Error('still not there'))
  expect(explain(await until(never, { withinMs: 20 }).catch((error: unknown) => error))).toMatch(/: still not there$/)
})

test('a probe that hangs does not outlive the deadline', async () => {
  const clock = fakeClock()
  const waited = until(() => new Promise<boolean>(() => undefined), { withinMs: 100, clock })
  const failed = expect(waited).rejects.toMatchObject({ code: 'DEADLINE_PASSED' })
  await clock.advance(100)
  await failed
  expect(clock.pending).toBe(0)
})

test('a signal ends the wait', async () => {
  const stop = new AbortController()
  const waited = until(() => false, { withinMs: 60_000, signal: stop.signal })
  stop.abort(new Error('shutting down'))
  await expect(waited).rejects.toMatchObject({ code: 'CANCELLED' })
  await expect(until(() => false, { withinMs: 60_000, signal: stop.signal })).rejects.toMatchObject({ code: 'CANCELLED' })
})
