/** What the bench makes of its numbers. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { lines, niceAbove, stacked } from '../../bench/pictures.ts'
import { amount, compare } from '../../bench/results.ts'
import { quantile, summarize } from '../../bench/stats.ts'
import { sharedRuns } from '../harness/shared-runs.ts'

test('quantiles lie between the values, and in order', () => {
  expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5)
  fc.assert(fc.property(fc.array(fc.nat(), { minLength: 1 }), (values) => {
    const found = [0, 0.5, 0.95, 0.99, 1].map((share) => quantile(values, share))
    expect(found).toEqual([...found].sort((a, b) => a - b))
    expect([found[0], found.at(-1)]).toEqual([Math.min(...values), Math.max(...values)])
  }))
})

test('a ratio is of medians, less what is allowed for, and says whether it holds', () => {
  expect(compare('a', [10, 30, 20], [100], { most: 1 / 4, note: '' })).toMatchObject({ ratio: 0.2, bound: '≤ 1/4', holds: true })
  expect(compare('a', [30], [10], { most: 1.3, allowMs: 10, note: '', phases: { boot: [1, 2, 3] } })).toMatchObject({ ratio: 2, holds: false, phases: { boot: summarize([1, 2, 3]) } })
  expect(amount('a', 25.01, 'MiB', { most: 25, note: '' })).toMatchObject({ value: 25, holds: false })
  expect(amount('a', 1, 'MiB', { note: '' })).toMatchObject({ bound: null, holds: true })
})

test('a picture has every line and every part, inside its frame', () => {
  expect(niceAbove(0.3)).toBe(0.5)
  expect([1, 11, 60].map(niceAbove)).toEqual([1, 20, 100])
  const drawn = lines({ name: 'c', x: 'x', y: 'y', note: '', lines: [{ name: 'a<b', points: [[0, 0], [10, 5]] }, { name: 'c', points: [[1, 1]] }] })
  expect(drawn.match(/<polyline/g)).toHaveLength(2)
  expect(drawn).toContain('points="64,312 696,40"')
  expect(drawn).toContain('a&lt;b')
  expect(stacked([{ name: 'one', parts: { a: 1, b: 3 } }], 'ms')).toMatch(/width="158".*width="474"/)
})

test('what two guests have in common is found at any offset, and nothing is found in random bytes', () => {
  const [one, two] = [randomBytes(10_000), randomBytes(10_000)]
  expect(sharedRuns([one, two])).toBe(0)
  one.copy(two, 4_321, 1_234, 1_234 + 20)
  expect(sharedRuns([one, two])).toBe(5)
})
