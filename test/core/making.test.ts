import { expect, test } from 'vitest'
import { typeName } from '../../core/ids.ts'
import { makingIn } from '../../core/making.ts'

const [small, large] = [typeName('small'), typeName('large')]

test('of each type is told how long half of its VWNs took in each step, cloned and booted apart, and how many failed of what', () => {
  const made = [
    { type: small, madeBy: 'clone' as const, atMs: 100, tookMs: 5 }, { type: small, madeBy: 'clone' as const, atMs: 109, tookMs: 7 }, { type: small, madeBy: 'clone' as const, atMs: 105, tookMs: 1_000 },
    { type: small, madeBy: 'boot' as const, atMs: 119, tookMs: 70 }, { type: large, madeBy: 'boot' as const, atMs: 100, tookMs: 1 },
  ]
  const failed = [{ type: large, code: 'VWN_DIED', atMs: 129 }, { type: large, code: 'VWN_DIRTY', atMs: 100 }, { type: large, code: 'VWN_DIED', atMs: 120 }]
  expect(makingIn({ fromMs: 100, stepMs: 10, steps: 3 }, made, failed)).toEqual([
    { type: large, made: { clone: { vwns: 0, halfMs: [null, null, null] }, boot: { vwns: 1, halfMs: [1, null, null] } }, failures: [{ code: 'VWN_DIED', counts: [0, 0, 2] }, { code: 'VWN_DIRTY', counts: [1, 0, 0] }] },
    { type: small, made: { clone: { vwns: 3, halfMs: [7, null, null] }, boot: { vwns: 1, halfMs: [null, 70, null] } }, failures: [] },
  ])
  expect(makingIn({ fromMs: 0, stepMs: 10, steps: 3 }, [], [])).toEqual([])
})
