import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { typeName } from '../../core/ids.ts'
import { heardPending, nonePending, pendingOf, shareOf, type Pending, type PendingWord } from '../../core/pending.ts'
import { poolSettings } from '../../core/pool.ts'
import { h1, h2, type } from './samples.ts'

const { halfLifeMs } = poolSettings
const wide = typeName('wide')
const word = (jobs: Readonly<Record<string, number>>, facts: Partial<PendingWord> = {}): PendingWord =>
  ({ batchSystem: 'slurm', saidMs: 0, jobs: new Map(Object.entries(jobs).map(([name, number]) => [typeName(name), number])), ...facts })
const heard = (...words: readonly PendingWord[]): Pending => words.reduce((pending, one) => heardPending(pending, one, halfLifeMs), nonePending)
const of = (pending: Pending, nowMs = 0, name = type.name) => pendingOf(pending, name, nowMs, halfLifeMs)

describe('of pending jobs', () => {
  test('the newest word of each batch system counts, however often and in whatever order words come', () => {
    const [first, second, other] = [word({ el9: 8 }), word({ el9: 2, wide: 1 }, { saidMs: halfLifeMs }), word({ el9: 3 }, { batchSystem: 'lsf', saidMs: halfLifeMs })]
    const once = heard(first, second, other)
    expect(of(once, halfLifeMs)).toEqual({ pending: 5, pendingPeak: 7 })
    expect(of(once, halfLifeMs, wide)).toEqual({ pending: 1, pendingPeak: 1 })
    for (const again of [heard(first, second, second, first, other, first, other), heard(other, first, second)]) expect(again).toEqual(once)
    expect(heardPending(once, first, halfLifeMs)).toBe(once)
  })

  test('a type that is not named has none, and is forgotten once that has faded', () => {
    const emptied = heard(word({ el9: 8 }), word({}, { saidMs: 1 }))
    expect(of(emptied, 1)).toEqual({ pending: 0, pendingPeak: 8 })
    expect([...(heard(word({ el9: 8 }), word({}, { saidMs: 1 }), word({}, { saidMs: 5 * halfLifeMs })).get('slurm')?.demands.keys() ?? [])]).toEqual([])
  })

  test('what nobody says any more fades, also while there was nobody to hear it', () => {
    expect([0, 1, 2, 3, 4].map((halves) => of(heard(word({ el9: 8 })), halves * halfLifeMs).pending)).toEqual([8, 4, 2, 1, 1])
    expect(of(heard(word({ el9: 8 })), 10 * halfLifeMs)).toEqual({ pending: 0, pendingPeak: 0 })
    expect(of(heard(word({ el9: 8 }, { saidMs: -2 * halfLifeMs })), 0).pending).toBe(2)
  })

  test('hosts take an even share, all of them together all that there is', () => {
    fc.assert(fc.property(fc.nat(1_000), fc.integer({ min: 1, max: 9 }), (jobs, count) => {
      const hosts = Array.from({ length: count }, (_, index) => (`h${index}` as typeof h1))
      const shares = hosts.map((host) => shareOf(jobs, host, hosts))
      expect(shares.reduce((sum, share) => sum + share, 0)).toBe(jobs)
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
    }))
    expect([shareOf(5, h2, [h1]), shareOf(5, h1, [])]).toEqual([0, 0])
  })
})
