import fc from 'fast-check'
import { expect, expectTypeOf, test } from 'vitest'
import { formerOwner, mayShare, mismatch, ownerWords, policyIn, reusePolicies, sharersOf, type ScrubReceipt, type Sharer } from '../../core/reuse.ts'
import { isLive, step, type Owner, type Vwn } from '../../core/vwn.ts'
import type * as wire from '../../wire/bait.ts'
import { anna, digest, el9, job, limits, token, type, vwnWith } from './samples.ts'

const anyPolicy = fc.constantFrom(...reusePolicies)
/** Few of each, so that they meet. */
const anySharer: fc.Arbitrary<Sharer> = fc.record({ uid: fc.nat(3), gid: fc.nat(2), project: fc.constantFrom(null, 'higgs', 'top') })
const ownerOf = (who: Sharer): Owner => ({ ...who, user: `u${who.uid}`, group: `g${who.gid}` })

test('a policy divides jobs into classes: each with itself, both ways, and never over a third', () => {
  fc.assert(fc.property(anyPolicy, anySharer, anySharer, anySharer, (policy, a, b, c) => {
    expect(mayShare(policy, a, a)).toBe(true)
    expect(mayShare(policy, a, b)).toBe(mayShare(policy, b, a))
    if (mayShare(policy, a, b) && mayShare(policy, b, c)) expect(mayShare(policy, a, c)).toBe(true)
  }))
})

test('two users share only what their policy names, and nobody shares with root', () => {
  fc.assert(fc.property(anyPolicy, anySharer, anySharer, (policy, a, b) => {
    if (a.uid === b.uid || !mayShare(policy, a, b)) return
    expect(['same-group', 'same-project']).toContain(policy)
    expect([a.uid, b.uid]).not.toContain(0)
    if (policy === 'same-group') expect(a.gid).toBe(b.gid)
    else expect([a.project, a.project === null]).toEqual([b.project, false])
  }))
  expect(mayShare('same-project', { uid: 1, gid: 1, project: null }, { uid: 1, gid: 2, project: null })).toBe(true)
  expect(mayShare('same-group', { uid: 1, gid: 1, project: null }, { uid: 1, gid: 2, project: null })).toBe(false)
  expect(sharersOf('same-project', { uid: 0, gid: 0, project: 'higgs' })).toBe('user 0')
})

interface Visit {
  readonly who: Sharer
  /** The job is cancelled before anything of it gets in. */
  readonly reached: boolean
}

/** Everybody who wants is offered the VWN, one after the other: first by what placement asks, then by the row's own door. */
function history(policy: (typeof reusePolicies)[number], visits: readonly Visit[]): { readonly inside: readonly Sharer[]; readonly disagreed: number } {
  const [first, ...others] = visits
  if (first === undefined) return { inside: [], disagreed: 0 }
  const tell = (row: Vwn, event: Parameters<typeof step>[1]): Vwn => {
    const verdict = step(row, event, token, { nowMs: 0, generation: row.generation + 1 })
    return verdict.is === 'moved' ? verdict.next : row
  }
  const released = (row: Vwn, reached: boolean): Vwn => tell(tell(row, { kind: 'released', reached }), { kind: 'cleaned' })
  let row = vwnWith({ state: 'busy', owner: ownerOf(first.who), limits: { ...limits, reuse: policy, jobsRunMax: 99 } })
  const inside = first.reached ? [first.who] : []
  let disagreed = 0
  row = released(row, first.reached)
  for (const [index, { who, reached }] of others.entries()) {
    if (!isLive(row)) break
    const fits = mismatch(row, { type: el9, image: digest, network: 'isolated', shape: type.shape, most: type.shape, reuse: policy, owner: who }, 0) === null
    const taken = tell(row, { kind: 'assigned', job: job(`h1-${index + 2}`), owner: ownerOf(who) })
    if (fits !== (taken.state === 'busy')) disagreed += 1
    if (taken.state !== 'busy') continue
    if (reached) inside.push(who)
    row = released(taken, reached)
  }
  return { inside, disagreed }
}

test('over any history, whoever was in a VWN was allowed to share with everybody else who was', () => {
  let shared = 0
  fc.assert(fc.property(anyPolicy, fc.array(fc.record({ who: anySharer, reached: fc.boolean() }), { maxLength: 12 }), (policy, visits) => {
    const { inside, disagreed } = history(policy, visits)
    expect(disagreed, 'placement and the VWN itself say the same').toBe(0)
    for (const a of inside) for (const b of inside) expect(mayShare(policy, a, b)).toBe(true)
    if (policy === 'never') expect(inside.length).toBeLessThanOrEqual(1)
    if (new Set(inside.map(({ uid }) => uid)).size > 1) shared += 1
  }), { numRuns: 500 })
  expect(shared).toBeGreaterThan(5)
})

test('a receipt says whose jobs were there before: nobody, one user, or those who share', () => {
  fc.assert(fc.property(fc.constantFrom('same-user', 'same-group', 'same-project'), fc.array(anySharer, { minLength: 1, maxLength: 8 }), (reuse, all) => {
    const [first] = all
    const inside = all.filter((who) => first !== undefined && mayShare(reuse, first, who))
    inside.forEach((who, index) => {
      const before = inside.slice(0, index)
      const shared = before.some(({ uid }) => uid !== first?.uid)
      const expected = index === 0 ? 'nobody' : before.every(({ uid }) => uid === who.uid) ? 'same-user' : reuse
      expect(formerOwner({ reuse, owner: index === 0 ? null : (first ?? null), shared, jobsRun: index }, who)).toBe(expected)
    })
  }))
})

test('a guest without the agent is shared by nobody, and a type whose policy has changed takes no VWN of before', () => {
  expect(reusePolicies.map((policy) => policyIn('ssh', policy))).toEqual(['never', 'same-user', 'same-user', 'same-user'])
  expect(reusePolicies.map((policy) => policyIn('agent', policy))).toEqual(reusePolicies)
  const warm = vwnWith({ state: 'idle', limits: { ...limits, reuse: 'same-group' } })
  const want = { type: el9, image: digest, network: 'isolated', shape: type.shape, most: type.shape, owner: anna } as const
  expect(mismatch(warm, { ...want, reuse: 'same-user' }, 0)).toBe('its reuse is same-group')
  expect(mismatch(warm, { ...want, reuse: 'same-group' }, 0)).toBeNull()
  expect(mismatch({ ...warm, contact: 'ssh', limits }, { ...want, reuse: 'same-group' }, 0)).toBeNull()
})

test('a VWN is named after those who share it', () => {
  const who = { uid: 7, gid: 8, user: 'ada', group: 'cms', project: 'higgs' }
  expect(reusePolicies.map((policy) => ownerWords(policy, who))).toEqual(['ada', 'ada', 'group cms', 'project higgs'])
  expect(ownerWords('same-group', { ...who, group: '' })).toBe('group 8')
  expect(ownerWords('same-project', { ...who, project: null })).toBe('ada')
  expect(ownerWords('same-group', { ...who, uid: 0 })).toBe('ada')
})

test('the receipt that crosses the wire is the one that is decided on', () => {
  expectTypeOf<wire.ScrubReceipt>().toExtend<ScrubReceipt>()
})
