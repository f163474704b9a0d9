import { describe, expect, test } from 'vitest'
import { mutants } from '../search/mutants.ts'
import { scenarios } from '../search/scenarios.ts'
import { draws, search, wander, type Bounds } from '../search/search.ts'
import { realBrain } from '../search/world.ts'

/** So far on every run, however fast the machine; `WNOD_SEARCH_S=600 npx vitest run test/core/search.test.ts` looks as far as it gets in that time. */
const seconds = process.env.WNOD_SEARCH_S === undefined ? null : Number(process.env.WNOD_SEARCH_S)
const bounds: Bounds = seconds === null ? { statesMax: 4_000, ms: Infinity } : { statesMax: Infinity, ms: seconds * 1000 }
const walksMin = 40
/** Far beyond every bug that is planted here. */
const beyond: Bounds = { statesMax: 40_000, ms: 200_000 }
const timeout = 4 * Math.max(60, seconds ?? 0) * 1000

describe('every state that a small farm can reach keeps the promises', () => {
  test.each(scenarios)('$name, and nothing goes wrong', { timeout }, (scenario) => {
    const found = search({ ...scenario, faults: 0 }, realBrain, bounds)
    expect(found.violation).toBeNull()
    expect(found.states).toBeGreaterThan(100)
  })

  test.each(scenarios)('$name, and something goes wrong', { timeout }, (scenario) => {
    const found = search(scenario, realBrain, bounds)
    process.stderr.write(`${scenario.name}: ${found.states} distinct states, ${found.transitions} transitions, ${found.quietStates} on quiet ways, ${found.complete ? 'all there are' : 'cut off'}, ${found.tookMs} ms\n`)
    expect(found.violation).toBeNull()
    expect(found.states).toBeGreaterThan(100)
  })
})

test('long ways with many faults keep them too', { timeout }, () => {
  const seed = Number(process.env.WNOD_SEED ?? Date.now() % 2 ** 31)
  const draw = draws(seed)
  const endMs = performance.now() + (seconds ?? 0) * 1000
  for (let walk = 0; walk < walksMin || performance.now() < endMs; walk += 1) {
    const scenario = scenarios[walk % scenarios.length] ?? scenarios[0]
    const violation = wander({ ...scenario, faults: 8, vwnsMax: 6 }, realBrain, 80, draw)
    expect(violation, `WNOD_SEED=${seed}, walk ${walk}, ${scenario.name}`).toBeNull()
  }
})

describe('a search finds planted bugs', () => {
  test.each(mutants)('$bug', { timeout }, ({ brain, breaks, scenario, faults }) => {
    const { [scenario]: farm = scenarios[0] } = scenarios
    const found = search({ ...farm, faults: faults ?? farm.faults }, brain, beyond)
    expect(found.violation?.promise).toMatch(breaks)
  })
})
