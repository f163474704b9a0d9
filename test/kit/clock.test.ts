import { expect, test } from 'vitest'
import { fakeClock, randomBytes, randomId, systemClock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'

test('a fake clock runs what falls due, in order, and nothing else', async () => {
  const clock = fakeClock(1_000)
  const ran: string[] = []
  clock.after(30, () => ran.push(`late@${clock.nowMs()}`))
  clock.after(10, () => ran.push(`early@${clock.nowMs()}`))
  const never = clock.after(20, () => ran.push('never'))
  never.cancel()
  await clock.advance(29)
  expect(ran).toEqual(['early@1010'])
  await clock.advance(1)
  expect(ran).toEqual(['early@1010', 'late@1030'])
  expect(clock.pending).toBe(0)
  expect(clock.monotonicMs()).toBe(30)
})

test('a repeated call repeats until it is cancelled, also from within', async () => {
  const clock = fakeClock()
  let turns = 0
  const timer = clock.every(100, () => {
    if (++turns === 3) timer.cancel()
  })
  await clock.advance(1_000)
  expect(turns).toBe(3)
  expect(clock.pending).toBe(0)
})

test('what a due call schedules within the same advance runs too', async () => {
  const clock = fakeClock()
  const ran: number[] = []
  const chain = async () => {
    for (const ms of [10, 10, 10]) {
      await clock.sleep(ms)
      ran.push(clock.monotonicMs())
    }
  }
  const done = chain()
  await clock.advance(30)
  await done
  expect(ran).toEqual([10, 20, 30])
})

test.each([
  ['fake', () => fakeClock()],
  ['system', () => systemClock],
])('a sleep on the %s clock ends early with the reason of its signal', async (_name, make) => {
  const clock = make()
  const stop = new AbortController()
  const reason = new Error('enough')
  const slept = clock.sleep(60_000, stop.signal)
  stop.abort(reason)
  await expect(slept).rejects.toBe(reason)
  await expect(clock.sleep(60_000, stop.signal)).rejects.toBe(reason)
})

test('the system clock calls', async () => {
  let ticks = 0
  let calls = 0
  using _ticking = systemClock.every(1, () => ticks++)
  using _called = systemClock.after(5, () => calls++)
  using _never = systemClock.after(60_000, () => calls++)
  const startedMs = systemClock.monotonicMs()
  await until(() => ticks >= 3 && calls > 0, { withinMs: 5_000 })
  expect(systemClock.monotonicMs() - startedMs).toBeGreaterThanOrEqual(4)
  expect(calls).toBe(1)
})

test('random names are names', () => {
  expect(randomId(16)).toMatch(/^[a-z2-9]{16}$/)
  expect(randomId()).not.toBe(randomId())
  expect(randomBytes(5)).toHaveLength(5)
})
