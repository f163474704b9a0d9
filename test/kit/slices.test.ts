import fc from 'fast-check'
import { expect, test } from 'vitest'
import { systemClock } from '../../kit/clock.ts'
import { openSlices } from '../../kit/slices.ts'
import { until } from '../../kit/until.ts'

/** A clock that goes on by so much each time somebody looks. */
const stepping = (stepMs: number): { monotonicMs: () => number } => {
  let ms = 0
  return { monotonicMs: () => (ms += stepMs) }
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('everything is done once, in order, whatever comes meanwhile', async () => {
  await fc.assert(fc.asyncProperty(fc.array(fc.array(fc.nat(2), { maxLength: 20 }), { maxLength: 5 }), fc.constantFrom(0, 1, 3, 10), async (bursts, stepMs) => {
    using slices = openSlices(stepping(stepMs))
    const [asked, done]: [number[], number[]] = [[], []]
    const ask = (more: number): void => {
      const number = asked.length
      asked.push(number)
      slices.add(() => {
        done.push(number)
        for (let nth = 0; nth < more; nth += 1) ask(0)
      })
    }
    for (const burst of bursts) {
      for (const more of burst) ask(more)
      await turn()
    }
    await until(() => done.length === asked.length, { withinMs: 5_000, everyMs: 1, what: 'all is done' })
    expect(done).toEqual(asked)
  }), { numRuns: 50 })
})

test('a slice is short, and others have their turn after it', async () => {
  using slices = openSlices(stepping(1))
  let done = 0
  for (let nth = 0; nth < 100; nth += 1) slices.add(() => void (done += 1))
  const seen: number[] = []
  while (done < 100) {
    await turn()
    seen.push(done)
  }
  expect(seen.length).toBeGreaterThan(10)
  expect(seen.every((now, nth) => now - (seen[nth - 1] ?? 0) <= 5)).toBe(true)
})

test('disposed of, it does nothing more; what fails stops nobody behind it', async () => {
  const caught: unknown[] = []
  const listener = (error: unknown): void => void caught.push(error)
  const others = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', listener)
  try {
    const slices = openSlices(systemClock)
    let done = 0
    slices.add(() => { throw new Error('no') })
    slices.add(() => void (done += 1))
    await until(() => done === 1, { withinMs: 5_000, everyMs: 1, what: 'what comes after a failure' })
    expect(caught).toMatchObject([{ message: 'no' }])
    slices.add(() => void (done += 1))
    slices[Symbol.dispose]()
    await turn()
    await turn()
    expect(done).toBe(1)
  } finally {
    process.removeListener('uncaughtException', listener)
    for (const other of others) process.on('uncaughtException', other)
  }
})
