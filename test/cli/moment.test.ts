import { expect, test } from 'vitest'
import { momentGiven } from '../../cli/failure.ts'

const moment = momentGiven('--since', { nowMs: () => 1_800_000_000_000 })

test.each([
  ['30s', 1_800_000_000_000 - 30_000],
  ['90m', 1_800_000_000_000 - 90 * 60_000],
  ['12h', 1_800_000_000_000 - 12 * 3_600_000],
  ['7d', 1_800_000_000_000 - 7 * 86_400_000],
  ['2026-11-22', new Date(2026, 10, 22).getTime()],
  ['2026-11-22T03:30', new Date(2026, 10, 22, 3, 30).getTime()],
  ['2026-11-22 14:30', new Date(2026, 10, 22, 14, 30).getTime()],
  ['2026-11-22T03:30:00Z', Date.UTC(2026, 10, 22, 3, 30)],
])('%s is a moment', (text, atMs) => {
  expect(moment(text)).toBe(atMs)
})

test.each(['', 'yesterday', '10 m', '7', '7w', '-7d', '22.11.2026', '2026-13-01', '1', '1969-01-01T00:00:00Z', '9999999d'])('%j is none', (text) => {
  expect(() => moment(text)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
})
