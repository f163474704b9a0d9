import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { typeName, vwnId } from '../../core/ids.ts'
import { offerMax, offersOn, resourceName } from '../../core/offers.ts'
import { plan } from '../../core/schedule.ts'
import { requestVwn, type Vwn, type VwnState } from '../../core/vwn.ts'
import { anna, ben, h1, h2, hostWith, job, jobWith, owner, token, type, vwnWith } from './samples.ts'

const farm = (vwns: readonly Vwn[] = []) => ({ vwns, holds: [], makeMs: () => 1_234.5 })
const offer = (vwns: readonly Vwn[] = [], host = hostWith(), of = type) => offersOn(host, [of], farm(vwns), 0)[0]
const idle = (id: string, facts: Partial<Vwn> = {}): Vwn => vwnWith({ id: vwnId(id), state: 'idle', job: null, ...facts })
const ready = (id: string, facts: Partial<Vwn> = {}): Vwn => idle(id, { owner: null, pooled: true, ...facts })
const busy = (id: string): Vwn => vwnWith({ id: vwnId(id), state: 'busy', job: job(`h1-${id.slice(1)}`) })

describe('a host offers', () => {
  test('as many as fit, in the time that making one has taken', () => {
    expect(offer()).toEqual({ type: 'el9', jobs: 4, ready: 0, inUse: 0, readyMs: 1_235 })
    expect(offer([busy('v1')])).toMatchObject({ jobs: 3, inUse: 1 })
  })

  test('what is ready at once, and counts it', () => {
    expect(offer([ready('v1'), ready('v2'), busy('v3')])).toEqual({ type: 'el9', jobs: 3, ready: 2, inUse: 1, readyMs: 0 })
  })

  test('the room of what stands in nobody\'s way', () => {
    const small = hostWith({ capacity: { cpus: 8, memoryMib: 1024, scratchGib: 64 } })
    expect(offer([idle('v1', { owner: ben }), ready('v2', { type: typeName('other') })], small)).toMatchObject({ jobs: 2, ready: 0 })
    expect(offer([idle('v1', { state: 'stopping' }), busy('v2')], small)).toMatchObject({ jobs: 0, readyMs: null })
  })

  test('no more than the limit of its type, wherever they are', () => {
    expect(offer([busy('v1'), vwnWith({ id: vwnId('v2'), host: h2, state: 'busy' })], hostWith(), { ...type, limit: 3 })).toMatchObject({ jobs: 1, inUse: 1 })
    expect(offer([], hostWith(), { ...type, limit: 0 })).toMatchObject({ jobs: 0 })
  })

  test('nothing of what waits for it already', () => {
    const hold = { host: h1, amount: { cpus: 0, memoryMib: 4096, scratchGib: 0 }, vwns: [] }
    expect(offersOn(hostWith(), [type], { ...farm(), holds: [hold] }, 0)).toMatchObject([{ jobs: 0 }])
  })

  test.each([[{ want: 'draining' as const }], [{ fact: 'silent' as const }], [{ images: [] }]])('nothing while it is %j', (facts) => {
    expect(offer([ready('v1')], hostWith(facts))).toMatchObject({ jobs: 0, ready: 0, readyMs: null })
  })

  test('a number that ends', () => {
    expect(offer([], hostWith({ capacity: { cpus: 1e6, memoryMib: 1e9, scratchGib: 1e9 } }))).toMatchObject({ jobs: offerMax })
  })
})

test('so many jobs, each of another user, do get a place, once what gives way is gone', () => {
  const states: readonly VwnState[] = ['requested', 'preparing', 'booting', 'idle', 'busy', 'cleaning', 'stopping', 'fencing']
  const anyVwn = fc.record({ state: fc.constantFrom(...states), owner: fc.constantFrom(null, anna, ben), own: fc.boolean(), memoryMib: fc.constantFrom(256, 512), hasJob: fc.boolean() })
  const anyHost = fc.record({ cpus: fc.integer({ min: 1, max: 12 }), memoryMib: fc.integer({ min: 300, max: 5_000 }), scratchGib: fc.integer({ min: 4, max: 40 }) })
  const seen = { offered: 0, evicted: 0 }
  fc.assert(fc.property(fc.array(anyVwn, { maxLength: 6 }), anyHost, fc.constantFrom(null, 2, 5), (rows, capacity, limit) => {
    const host = hostWith({ capacity })
    const of = { ...type, limit }
    let vwns: readonly Vwn[] = rows.map((row, nth) => {
      const working = row.state === 'busy' || (row.hasJob && row.owner !== null && row.state !== 'idle')
      return vwnWith({
        id: vwnId(`v${nth + 1}`), state: row.state, owner: row.state === 'busy' ? (row.owner ?? anna) : row.owner, job: working ? job(`h1-${nth + 900}`) : null,
        type: row.own ? type.name : typeName('other'), shape: { ...type.shape, memoryMib: row.memoryMib },
      })
    })
    const { jobs = 0 } = offer(vwns, host, of) ?? {}
    seen.offered += jobs
    const waiting = Array.from({ length: jobs }, (_, nth) => jobWith({ id: job(`h1-${nth + 1}`), owner: { ...owner('x'), uid: 5_000 + nth }, submittedAtMs: nth }))
    const mapping = { types: [of], rules: [], default: { name: 'all', match: {}, type: type.name, allow: [], limits: { perUser: null }, fallback: 'requeue' as const } }
    for (let turn = 0; turn <= jobs + rows.length; turn += 1) { // each turn gives a job its place, or has one VWN at least give way
      for (const decision of plan(waiting, { hosts: [host], vwns, mapping }, 0)) {
        if (decision.is === 'wait') seen.evicted += decision.evict.length
        if (decision.is === 'wait') vwns = vwns.filter(({ id }) => !decision.evict.includes(id))
        if (decision.is === 'reuse') vwns = vwns.map((vwn) => (vwn.id === decision.vwn ? { ...vwn, job: decision.job, owner: waiting.find(({ id }) => id === decision.job)?.owner ?? null, state: 'busy' } : vwn))
        if (decision.is === 'boot') vwns = [...vwns, requestVwn(decision.request, vwnId(`new-${decision.job}`), token, { nowMs: 0, generation: 0 })]
      }
    }
    expect(vwns.filter((vwn) => waiting.some(({ id }) => vwn.job === id))).toHaveLength(jobs)
  }), { numRuns: 400 })
  expect([seen.offered > 50, seen.evicted > 5]).toEqual([true, true])
})

test('a type is counted under one name in every batch system', () => {
  expect(['debian12', 'el9-gpu', 'el9.4'].map((name) => resourceName(typeName(name)))).toEqual(['vm_debian12', 'vm_el9_gpu', 'vm_el9_4'])
})
