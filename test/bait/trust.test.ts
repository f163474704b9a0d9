import { expect, test } from 'vitest'
import { afterFailure, afterUnmade, failuresMax, fullTrust, type Trust } from '../../bait/templates/trust.ts'

/** What becomes of a template whose clones fail this often in a row. */
function fail(times: number, from: Trust = fullTrust): { trust: Trust; drops: number[] } {
  let trust = from
  const drops: number[] = []
  for (let failed = 1; failed <= times; failed += 1) {
    const next = afterFailure(trust, `failure ${failed}`)
    if (next.drop) drops.push(failed)
    trust = next.trust
  }
  return { trust, drops }
}

test('a template is thrown away after three failures in a row, made once more, then quarantined with the reason', () => {
  expect(fail(2)).toMatchObject({ drops: [], trust: { failed: 2, quarantined: null, last: 'failure 2' } })
  expect(fail(3)).toMatchObject({ drops: [3], trust: { failed: 0, secondChance: true, quarantined: null } })
  expect(fail(5).trust.quarantined).toBeNull()
  expect(fail(6).drops).toEqual([3, 6])
  expect(fail(6).trust.quarantined).toMatch(/3 clones in a row failed, and again after it was made anew; the last one: failure 6/)
})

test('what cannot be made is not tried for ever', () => {
  let trust = fullTrust
  for (let times = 1; times < failuresMax; times += 1) trust = afterUnmade(trust, 'no space')
  expect(trust.quarantined).toBeNull()
  expect(afterUnmade(trust, 'no space').quarantined).toMatch(/could not be made 3 times in a row; the last time: no space/)
})
