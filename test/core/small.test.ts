import fc from 'fast-check'
import { describe, expect, expectTypeOf, test } from 'vitest'
import { add, fits, shortOf, subtract, type Amount } from '../../core/amount.ts'
import { catalogue } from '../../core/errors.ts'
import { failure, type Failure, type Outcome } from '../../core/failure.ts'
import { compareIds } from '../../core/ids.ts'
import { compareTokens, nextToken, sameToken, showToken } from '../../core/lease.ts'
import { reconnectBackoff, spend, waitMs } from '../../core/retry.ts'
import { endOfUse } from '../../core/reuse.ts'
import { shapeOf } from '../../core/schedule.ts'
import type * as wire from '../../wire/common.ts'
import { limits, shuffled } from './samples.ts'

describe('an amount', () => {
  const anyAmount: fc.Arbitrary<Amount> = fc.record({ cpus: fc.nat(99), memoryMib: fc.nat(9999), scratchGib: fc.nat(99) })
  test('fits exactly when nothing of it is short', () => {
    fc.assert(fc.property(anyAmount, anyAmount, (want, free) => {
      expect(fits(want, free)).toBe(shortOf(want, free).length === 0)
      expect(fits(want, add(want, free))).toBe(true)
      expect(subtract(add(want, free), free)).toEqual(want)
    }))
  })
})

test('ids are ordered by their numbers, whatever order they come in', () => {
  const sorted = ['h1-1', 'h1-2', 'h1-10', 'h2-1', 'node01', 'node1', 'v9', 'v10', 'w']
  fc.assert(fc.property(shuffled(sorted), (ids) => {
    expect(ids.sort(compareIds)).toEqual(sorted)
  }))
})

test('a later claim is larger, in the same term or in the next', () => {
  const first = { term: 3, epoch: 7 }
  expect(nextToken(first, 3)).toEqual({ term: 3, epoch: 8 })
  expect(nextToken(first, 4)).toEqual({ term: 4, epoch: 1 })
  expect(nextToken(first, 2)).toEqual({ term: 3, epoch: 8 })
  expect(compareTokens({ term: 4, epoch: 1 }, first)).toBeGreaterThan(0)
  expect(sameToken(first, { ...first })).toBe(true)
  expect(showToken(first)).toBe('3.7')
})

describe('trying again', () => {
  test('waits longer each time, never longer than the longest, and not all at once', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 5000 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (attempt, random) => {
      const ms = waitMs(reconnectBackoff, attempt, random)
      expect(ms).toBeGreaterThanOrEqual((reconnectBackoff.baseMs * (1 - reconnectBackoff.jitter)) - 1)
      expect(ms).toBeLessThanOrEqual(reconnectBackoff.maxMs)
      expect(waitMs(reconnectBackoff, attempt + 1, random)).toBeGreaterThanOrEqual(ms)
    }))
  })

  test('is allowed so many times in a while, and again later', () => {
    const budget = { tries: 2, windowMs: 100 }
    const once = spend(budget, [], 0)
    const twice = once.is === 'allowed' ? spend(budget, once.spent, 50) : once
    expect(twice).toEqual({ is: 'allowed', spent: [0, 50] })
    expect(spend(budget, [0, 50], 60)).toEqual({ is: 'spent', againAtMs: 100 })
    expect(spend(budget, [0, 50], 100)).toEqual({ is: 'allowed', spent: [50, 100] })
    expect(spend({ tries: 0, windowMs: 100 }, [], 7)).toEqual({ is: 'spent', againAtMs: 107 })
  })
})

test('a VWN says why it may not be used again', () => {
  const used = { limits, jobsRun: 1, createdAtMs: 0 }
  expect(endOfUse(used, 0)).toBeNull()
  expect(endOfUse({ ...used, jobsRun: limits.jobsRunMax }, 0)).toBe('it has run 3 jobs, its limit')
  expect(endOfUse(used, limits.ageMsMax)).toBe('it is too old')
  expect(endOfUse({ ...used, limits: { ...limits, reuse: 'never' } }, 0)).toBe('its type is never reused')
  expect(endOfUse({ ...used, jobsRun: 0, limits: { ...limits, reuse: 'never' } }, 0)).toBeNull()
})

test('a failure speaks with the words of the catalogue', () => {
  expect(failure('VWN_DIED', 'v1')).toEqual({ code: 'VWN_DIED', message: `${catalogue.VWN_DIED.say} (v1)`, hint: catalogue.VWN_DIED.hint })
  expect(failure('VWN_DIED').message).toBe(catalogue.VWN_DIED.say)
})

test('what crosses the wire has the shapes that decisions are made of', () => {
  expectTypeOf<wire.Failure>().toEqualTypeOf<{ code: string; message: string; hint: string }>()
  expectTypeOf<wire.Failure>().toExtend<Failure>()
  expectTypeOf<wire.Outcome>().toExtend<Outcome>()
  expectTypeOf<Outcome>().toExtend<wire.Outcome>()
})

test('a job that asks for memory gets a VWN with more, for the guest itself; one that does not gets the usual one', () => {
  const usual = { cpus: 1, memoryMib: 1024, scratchGib: 4 }
  expect(shapeOf({ cpus: null, memoryMib: null, scratchGib: null }, usual)).toEqual(usual)
  expect(shapeOf({ cpus: 2, memoryMib: 1024, scratchGib: null }, usual)).toEqual({ cpus: 2, memoryMib: 1024 + 160 + 32, scratchGib: 4 })
  expect(shapeOf({ cpus: null, memoryMib: 1, scratchGib: 1 }, usual)).toEqual({ cpus: 1, memoryMib: 162, scratchGib: 1 })
})
