import fc from 'fast-check'
import { expect, test } from 'vitest'
import { hostId, typeName } from '../../core/ids.ts'
import { percentiles, timesBook, type TimedJob } from '../../core/times.ts'

const job = (over: Partial<TimedJob> = {}): TimedJob =>
  ({ host: hostId('h1'), type: typeName('el9'), made: 'new', bare: false, endedAtMs: 90_000, phases: { wait: 10, boot: 200, contact: 5, stage: 3, start: 4, run: 9 }, failure: null, ...over })

test('a percentile is a value that there was, and so many are not above it', () => {
  expect(percentiles([])).toBeNull()
  expect(percentiles([7])).toEqual({ p50: 7, p95: 7, p99: 7 })
  fc.assert(fc.property(fc.array(fc.nat(1_000), { minLength: 1 }), (values) => {
    const { p50, p95, p99 } = percentiles(values) ?? { p50: NaN, p95: NaN, p99: NaN }
    for (const [value, share] of [[p50, 0.5], [p95, 0.95], [p99, 0.99]] as const) {
      expect(values).toContain(value)
      expect(values.filter((one) => one <= value).length).toBeGreaterThanOrEqual(share * values.length)
      expect(values.filter((one) => one < value).length).toBeLessThan(share * values.length)
    }
  }))
})

test('jobs are counted by type, by host and by minute, hits of the pool beside its misses', () => {
  const book = timesBook(61_000, 181_000)
  book.add(job())
  book.add(job({ made: 'ready', phases: { wait: 2, stage: 1, start: 1 }, host: hostId('h2'), endedAtMs: 121_000 }))
  book.add(job({ made: null, bare: true, phases: { wait: 1 }, type: null }))
  book.add(job({ made: null, phases: {}, failure: 'TYPE_UNKNOWN' }))
  book.addFailure('VWN_DIED')
  book.addFailure('VWN_DIED')
  const { byType, byHost, perMinute, errors } = book.totals()
  expect(byType).toMatchObject([
    { type: 'el9', jobs: 3, waitMs: { p50: 2, p99: 215 }, handoverMs: { p50: 2, p99: 7 }, bootMs: { p50: 205 }, made: { new: 1, ready: 1, reused: 0, bare: 0 } },
    { type: null, jobs: 1, waitMs: { p50: 1 }, handoverMs: null, bootMs: null, made: { bare: 1 } },
  ])
  expect(byHost.map(({ host, jobs }) => [host, jobs])).toEqual([['h1', 3], ['h2', 1]])
  expect(perMinute).toEqual([{ atMs: 60_000, jobs: 3 }, { atMs: 120_000, jobs: 1 }, { atMs: 180_000, jobs: 0 }])
  expect(errors).toEqual([{ code: 'VWN_DIED', count: 2 }, { code: 'TYPE_UNKNOWN', count: 1 }])
})
