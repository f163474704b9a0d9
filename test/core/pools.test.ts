import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { add, fits, withoutCpus } from '../../core/amount.ts'
import { failure } from '../../core/failure.ts'
import { hostId, jobId, typeName, vwnId } from '../../core/ids.ts'
import type { Mapping, VwnType } from '../../core/mapping.ts'
import { held } from '../../core/placement.ts'
import { noDemand, poolSettings, type PoolPolicy } from '../../core/pool.ts'
import { experienceOf, planPools, usualMakeMs, type Fared, type HostPool, type PoolFarm } from '../../core/pools.ts'
import { requestVwn, type Vwn } from '../../core/vwn.ts'
import { anna, ben, h1, h2, hostWith, shuffled, token, type, vwnWith } from './samples.ts'

const policy = (min: number, max = 9): PoolPolicy => ({ min, max, memoryShare: 1 })
const pooled = (pool: PoolPolicy, facts: Partial<VwnType> = {}): VwnType => ({ ...type, pool, ...facts })
const mapping = (types: readonly VwnType[]): Mapping => ({ types, rules: [], default: null })
const ready = (name: string, facts: Partial<Vwn> = {}): Vwn => vwnWith({ id: vwnId(name), state: 'idle', owner: null, job: null, pooled: true, ...facts })
const busy = (name: string, facts: Partial<Vwn> = {}): Vwn => vwnWith({ id: vwnId(name), state: 'busy', job: jobId('h1-90'), ...facts })
const farm = (facts: Partial<PoolFarm> = {}): PoolFarm => ({
  hosts: [hostWith()], vwns: [], mapping: mapping([pooled(policy(1))]), holds: [], handOversOn: () => 0, demandFor: () => noDemand, pendingFor: () => noDemand,
  makingWith: () => ({ makeMs: usualMakeMs, failing: null, booted: null }), ...facts,
})
const pools = (facts: Partial<PoolFarm> = {}): readonly HostPool[] => planPools(farm(facts), poolSettings, 0)
const made = (all: readonly HostPool[]): number[] => all.map(({ requests }) => requests.length)

describe('a host', () => {
  test('asks for a VWN of nobody, as its type says', () => {
    const [pool] = pools()
    expect(pool?.requests).toEqual([{ host: h1, type: type.name, image: vwnWith().image, contact: 'agent', network: 'isolated', shape: type.shape, bootMs: type.bootMs, limits: type.limits, owner: null, job: null }])
    expect(pool?.plans).toMatchObject([{ wanted: 1, make: 1, ready: 0 }])
  })

  test('counts what is nobody\'s, whatever its state, and nothing else', () => {
    const vwns = [ready('v1'), ready('v2', { state: 'booting' }), ready('v3', { state: 'stopping' }), ready('v4', { owner: anna }), busy('v5'), ready('v6', { host: h2 })]
    expect(pools({ vwns, mapping: mapping([pooled(policy(2))]) })).toMatchObject([{ plans: [{ ready: 1, making: 1, going: 1, make: 0 }], requests: [], stops: [] }])
  })

  test('gives back what is wanted no more, and says why', () => {
    expect(pools({ vwns: [ready('v1')], mapping: mapping([pooled(policy(0))]) })).toMatchObject([{ stops: [{ vwn: 'v1', why: '0 are enough for what is asked now' }] }])
    expect(pools({ vwns: [ready('v1')], mapping: mapping([type]) })).toMatchObject([{ stops: [{ vwn: 'v1', why: '0 is the most' }] }])
    expect(pools({ vwns: [ready('v1')], hosts: [hostWith({ want: 'draining' })] })).toMatchObject([{ stops: [{ vwn: 'v1', why: expect.stringContaining('draining') as string }], requests: [] }])
  })

  test('that is not heard is left alone, as are types without a pool or an image', () => {
    expect(pools({ hosts: [hostWith({ fact: 'silent' })] })).toEqual([])
    expect(pools({ mapping: mapping([type]) })).toEqual([{ host: h1, plans: [], requests: [], stops: [] }])
    expect(pools({ hosts: [hostWith({ images: [] })] })).toEqual([{ host: h1, plans: [], requests: [], stops: [] }])
    expect(pools({ hosts: [hostWith({ images: [] })], vwns: [ready('v1')], mapping: mapping([pooled(policy(2))]) })).toMatchObject([{ plans: [{ why: expect.stringContaining('h1 does not have image el9') as string }], requests: [] }])
  })

  test('leaves room to jobs that wait, and wants no processors', () => {
    const hosts = [hostWith({ capacity: { cpus: 2, memoryMib: 1024, scratchGib: 64 } })]
    expect(made(pools({ hosts, vwns: [busy('v1')] }))).toEqual([1])
    expect(made(pools({ hosts, vwns: [busy('v1'), busy('v2')] }))).toEqual([0])
    expect(made(pools({ hosts, vwns: [busy('v1')], holds: [{ host: h1, amount: { cpus: 4, memoryMib: 256, scratchGib: 1 }, vwns: [] }] }))).toEqual([0])
    expect(made(pools({ hosts, vwns: [busy('v1')], holds: [{ host: h2, amount: { cpus: 4, memoryMib: 256, scratchGib: 1 }, vwns: [] }] }))).toEqual([1])
    expect([0, 7, 8].map((handOvers) => made(pools({ handOversOn: () => handOvers })))).toEqual([[1], [1], [0]]) // of its 8 processors one is left, or none
  })

  test('takes its share of what pends with batch systems, in turn with all open hosts that have the image', () => {
    const hosts = [hostWith(), hostWith({ id: h2 }), hostWith({ id: hostId('h3'), want: 'draining' }), hostWith({ id: hostId('h4'), images: [] })]
    const all = pools({ hosts, mapping: mapping([pooled(policy(0))]), pendingFor: () => ({ pending: 5, pendingPeak: 5 }) })
    expect(all.map(({ plans: [plan] }) => plan?.wanted)).toEqual([3, 2, 0, undefined])
    expect(all[1]?.plans[0]?.why).toBe('2 wanted, jobs pending: 2: makes 2')
    expect(pools({ mapping: mapping([pooled(policy(0))]), pendingFor: () => ({ pending: 0, pendingPeak: 2 }), vwns: [ready('v1')] })).toMatchObject([{ stops: [], plans: [{ wanted: 0, kept: 4 }] }])
  })

  test('says why those of a type are booted', () => {
    expect(pools({ makingWith: () => ({ makeMs: 6_000, failing: null, booted: 'its template is not used any more' }) })[0]?.plans[0]?.why).toBe('1 wanted, min is 1: makes 1; each is booted, for its template is not used any more')
  })

  test('makes none of a type that does not come up', () => {
    const [pool] = pools({ makingWith: () => ({ makeMs: 1, failing: 'v1 did not last', booted: null }) })
    expect(pool).toMatchObject({ requests: [], plans: [{ why: '1 wanted, min is 1: makes 0 of 1, for v1 did not last' }] })
  })
})

test('hosts share the places under the limit of a type', () => {
  const hosts = [hostWith({ id: h2 }), hostWith()]
  const limited = mapping([pooled(policy(2), { limit: 3 })])
  expect(made(pools({ hosts, mapping: limited }))).toEqual([2, 1])
  expect(made(pools({ hosts, mapping: limited, vwns: [busy('v1', { host: h2, owner: ben })] }))).toEqual([2, 0])
  expect(pools({ hosts, mapping: limited })[1]?.plans[0]?.why).toBe('2 wanted, min is 2: makes 1 of 2, for 2 of 3 VWNs of type el9 exist')
})

describe('experience', () => {
  const up = (makeMs: number): Fared => ({ vwn: vwnWith({ state: 'idle' }), makeMs })
  const failed = (name: string, atMs: number, facts: Partial<Vwn> = {}): Fared =>
    ({ vwn: ready(name, { state: 'gone', cause: failure('VWN_BOOT_TIMEOUT'), stateSinceMs: atMs, ...facts }), makeMs: null })

  test('is how long the newest took, in the middle', () => {
    expect(experienceOf([], 0)).toEqual({ makeMs: usualMakeMs, failing: null })
    expect(experienceOf([up(90_000), up(300), failed('v1', 0), up(400)], 0)).toEqual({ makeMs: 400, failing: null })
  })

  test('makes a type rest that does not come up, longer each time, but not for ever', () => {
    expect(experienceOf([failed('v1', 1_000)], 2_000).failing).toBe('v1 did not last (VWN_BOOT_TIMEOUT), and the next one is made a while later')
    expect(experienceOf([failed('v1', 1_000)], 12_000).failing).toBeNull()
    expect(experienceOf([failed('v10', 1_000), failed('v9', 500)], 12_000).failing).toMatch(/^v9, v10 did not last/)
    expect(experienceOf([5, 4, 3, 2, 1].map((each) => failed(`v${each}`, 1_000)), 602_000).failing).toBeNull()
    expect(experienceOf([failed('v1', 1_000)], 0).failing).toBeNull() // the clock was set
  })

  test('blames a type for what dies unused, not for what jobs, operators or silence ended', () => {
    const died = (facts: Partial<Vwn>): Fared => ({ ...failed('v1', 1_000, facts), makeMs: 300 })
    expect(experienceOf([died({})], 2_000).failing).not.toBeNull()
    for (const facts of [{ owner: anna }, { jobsRun: 1 }, { cause: null }, { cause: failure('VWN_REMOVED') }, { cause: failure('VWN_HOST_LOST') }, { createdAtMs: -100_000 }]) {
      expect(experienceOf([died(facts)], 2_000).failing).toBeNull()
    }
    const removed = failed('v2', 1_000, { cause: failure('VWN_REMOVED') })
    expect(experienceOf([removed, failed('v1', 1_000)], 2_000).failing).toMatch(/^v1 did not last/)
    expect(experienceOf([{ vwn: ready('v3', { state: 'booting' }), makeMs: null }, up(300), failed('v1', 1_000)], 2_000).failing).toBeNull()
  })
})

// ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

const kinds = [pooled(policy(1, 3)), pooled(policy(0, 4), { name: typeName('wide'), shape: { cpus: 3, memoryMib: 768, scratchGib: 8 }, limit: 3 }), { ...type, name: typeName('none') }]
const hostIds = ['h1', 'h2', 'h10'].map(hostId)
const anyVwn = fc.record({
  host: fc.constantFrom(...hostIds), of: fc.constantFrom(...kinds), mine: fc.boolean(), stateSinceMs: fc.nat(50),
  state: fc.constantFrom('idle' as const, 'booting' as const, 'requested' as const, 'stopping' as const, 'fencing' as const),
})
const anyFarm: fc.Arbitrary<PoolFarm> = fc.record({
  memory: fc.tuple(fc.nat(9), fc.nat(9), fc.nat(9)), vwns: fc.array(anyVwn, { maxLength: 12 }), held: fc.option(fc.nat(6), { nil: null }), silent: fc.nat(5), jobs: fc.nat(40), waits: fc.nat(4),
}).map(({ memory, vwns, held: amount, silent, jobs, waits }) => {
  const hosts = hostIds.map((id, index) => hostWith({ id, fact: silent === index ? 'silent' : 'alive', capacity: { cpus: 1, memoryMib: 256 * (memory[index] ?? 0), scratchGib: 64 } }))
  const rows: Vwn[] = []
  for (const [index, { of, mine, ...facts }] of vwns.entries()) {
    const row = vwnWith({ ...facts, id: vwnId(`v${index + 1}`), type: of.name, shape: of.shape, job: null, ...(mine ? {} : { owner: null, pooled: true }) })
    if (hosts.some((host) => host.id === row.host && fits(held([...rows, row], row.host), host.capacity))) rows.push(row)
  }
  return farm({
    hosts, vwns: rows, mapping: mapping(kinds), demandFor: () => ({ ...noDemand, arrived: jobs }), handOversOn: (host) => (waits === 0 && host === 'h1' ? 1 : 0),
    holds: amount === null ? [] : [{ host: h2, amount: { cpus: amount, memoryMib: 256 * amount, scratchGib: 1 }, vwns: [] }],
  })
})

test('whatever the farm looks like, a pool overcommits nothing, breaks no limit and stops only what is nobody\'s', () => {
  let asked = 0
  fc.assert(fc.property(anyFarm, (some) => {
    const all = planPools(some, poolSettings, 0)
    const requested = all.flatMap(({ requests }) => requests)
    asked += requested.length
    for (const host of some.hosts) {
      const mine = requested.filter((request) => request.host === host.id)
      if (mine.length === 0) continue
      const waiting = some.holds.filter((hold) => hold.host === host.id).map(({ amount }) => amount)
      const all = [...mine.map(({ shape }) => shape), ...waiting].reduce(add, held(some.vwns, host.id))
      expect(fits(withoutCpus(all), host.capacity)).toBe(true)
    }
    for (const each of kinds) {
      const exist = some.vwns.filter((vwn) => vwn.type === each.name).length
      expect(exist + requested.filter((request) => request.type === each.name).length).toBeLessThanOrEqual(Math.max(exist, each.limit ?? Infinity))
    }
    for (const { vwn, why } of all.flatMap(({ stops }) => stops)) {
      expect(some.vwns.find(({ id }) => id === vwn)).toMatchObject({ owner: null, job: null, state: expect.stringMatching(/^(requested|booting|idle)$/) as string })
      expect(why).not.toBe('')
    }
  }), { numRuns: 500 })
  expect(asked).toBeGreaterThan(100)
})

test('the order in which hosts, types and VWNs are named does not matter, and a pool comes to rest', () => {
  const both = anyFarm.chain((some) => fc.tuple(fc.constant(some), shuffled(some.hosts), shuffled(some.vwns), shuffled(kinds)))
  fc.assert(fc.property(both, ([some, hosts, vwns, types]) => {
    expect(planPools({ ...some, hosts, vwns, mapping: mapping(types) }, poolSettings, 0)).toEqual(planPools(some, poolSettings, 0))
    let rows = some.vwns
    let next = 100
    for (let turn = 0; turn < 40; turn += 1) {
      const all = planPools({ ...some, vwns: rows }, poolSettings, 0)
      const stopped = new Set(all.flatMap((pool) => pool.stops.map(({ vwn }) => vwn)))
      const requests = all.flatMap((pool) => pool.requests)
      if (stopped.size + requests.length === 0 && !rows.some(({ state }) => state === 'requested')) return
      rows = rows.filter(({ id, state }) => !stopped.has(id) && state !== 'stopping').map((row) => (row.owner === null && row.state === 'requested' ? { ...row, state: 'idle' as const } : row.state === 'requested' ? { ...row, state: 'booting' as const } : row))
      rows = [...rows, ...requests.map((request) => requestVwn(request, vwnId(`v${(next += 1)}`), token, { nowMs: 0, generation: 1 }))]
    }
    throw new Error('still something to do')
  }), { numRuns: 200 })
})
