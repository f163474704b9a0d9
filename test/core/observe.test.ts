import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { JobId } from '../../core/ids.ts'
import { eventsFrom, type ObservedVwn, type Sight } from '../../core/observe.ts'
import { step, vwnStates, type Vwn, type VwnEvent } from '../../core/vwn.ts'
import { cause, job, token, vwn, vwnWith } from './samples.ts'

const seen = (state: ObservedVwn['state'], facts: Partial<ObservedVwn> = {}): ObservedVwn => ({ vwn: vwn('v1'), token, state, job: null, cause: null, ...facts })
interface Told { vwn?: ObservedVwn; live?: Record<string, string | null>; ended?: Record<string, string | null>; generation?: number; rebooted?: boolean }
/** A report; jobs are named with the VWN that they are or were in. */
function sight({ vwn: one, live = {}, ended = {}, generation = 0, rebooted = false }: Told): Sight {
  const jobs = (named: Record<string, string | null>) => new Map(Object.entries(named).map(([id, at]) => [job(id), { state: 'any', vwn: at === null ? null : vwn(at) }] as const))
  return { vwns: new Map(one === undefined ? [] : [[one.vwn, one]]), jobs: { live: jobs(live), ended: jobs(ended) }, ordersSeen: { term: 1, generation }, rebooted }
}
const kinds = (row: Vwn, told: Told): string[] => eventsFrom(row, sight(told)).map((event) => event.kind)
/** The row after all of its events. */
const walk = (row: Vwn, told: Told): Vwn => eventsFrom(row, sight(told)).reduce((now: Vwn, event: VwnEvent) => {
  const verdict = step(now, event, token, { nowMs: 5, generation: 100 }) // nobody has seen these orders yet
  if (verdict.is !== 'moved') throw new Error(verdict.why)
  return verdict.next
}, row)

const requested = vwnWith()
const waiting = { 'h1-1': null }

describe('a row follows its VWN', () => {
  test('through everything that was missed', () => {
    expect(kinds(requested, { vwn: seen('idle'), live: waiting })).toEqual(['accepted', 'prepared', 'ready'])
    expect(walk(requested, { vwn: seen('busy', { job: job('h1-1') }), live: { 'h1-1': 'v1' } })).toMatchObject({ state: 'busy', job: 'h1-1' })
    expect(walk(requested, { vwn: seen('idle'), ended: { 'h1-1': 'v1' } })).toMatchObject({ state: 'idle', job: null, jobsRun: 1 })
  })

  test('no further than it is', () => {
    expect(walk(requested, { vwn: seen('preparing'), live: waiting }).state).toBe('preparing')
    expect(walk(requested, { vwn: seen('booting'), live: waiting }).state).toBe('booting')
    expect(kinds(vwnWith({ state: 'booting' }), { vwn: seen('preparing'), live: waiting })).toEqual([])
  })

  test('and lets go of a job that ended before it came, without a scrub', () => {
    expect(walk(requested, { vwn: seen('preparing'), ended: waiting })).toMatchObject({ state: 'preparing', job: null })
    expect(walk(vwnWith({ state: 'busy' }), { vwn: seen('idle'), ended: waiting })).toMatchObject({ state: 'idle', jobsRun: 0 })
  })

  test('and lets go of a job that runs elsewhere', () => {
    expect(walk(vwnWith({ state: 'busy' }), { vwn: seen('idle'), live: { 'h1-1': 'v2' } })).toMatchObject({ state: 'idle', job: null, jobsRun: 0 })
  })

  test('and waits for the bait to attach the job', () => {
    expect(kinds(vwnWith({ state: 'busy' }), { vwn: seen('idle'), live: waiting })).toEqual([])
  })

  test('and is not clean before the bait says so', () => {
    const busy = vwnWith({ state: 'busy' })
    expect(walk(busy, { vwn: seen('busy', { job: job('h1-1') }), ended: { 'h1-1': 'v1' } }).state).toBe('cleaning')
    expect(walk(busy, { vwn: seen('cleaning'), ended: { 'h1-1': 'v1' } }).state).toBe('cleaning')
    expect(kinds(vwnWith({ state: 'cleaning', job: null }), { vwn: seen('busy', { job: job('h1-1') }) })).toEqual([])
  })

  test('to the next job that was reserved while it was cleaned', () => {
    expect(walk(vwnWith({ state: 'cleaning' }), { vwn: seen('busy', { job: job('h1-1') }), live: { 'h1-1': 'v1' } })).toMatchObject({ state: 'busy', job: 'h1-1' })
  })

  test('when it stops or is gone by itself, with the reason', () => {
    expect(walk(vwnWith({ state: 'idle', job: null }), { vwn: seen('stopping', { cause }) })).toMatchObject({ state: 'stopping', cause: { code: 'VWN_DIED' } })
    expect(walk(vwnWith({ state: 'booting' }), { vwn: seen('gone', { cause }), live: waiting })).toMatchObject({ state: 'gone', cause: { code: 'VWN_DIED' } })
    expect(kinds(requested, { vwn: seen('gone', { cause }), live: waiting })).toEqual(['rejected'])
  })

  test('but not one of another claim', () => {
    expect(kinds(requested, { vwn: seen('idle', { token: { term: 1, epoch: 0 } }), live: waiting })).toEqual([])
  })

  test('and gives up one that was made anew', () => {
    expect(kinds(vwnWith({ state: 'idle', job: null }), { vwn: seen('preparing') })).toEqual(['exited'])
  })
})

describe('a VWN that the report leaves out', () => {
  test('was there before: it is no more, but gone only when the bait has followed that it should be', () => {
    expect(walk(vwnWith({ state: 'idle', job: null }), { generation: 99 })).toMatchObject({ state: 'stopping', cause: { code: 'VWN_VANISHED' } })
    expect(kinds(vwnWith({ state: 'stopping', generation: 7 }), { generation: 6 })).toEqual([])
    expect(kinds(vwnWith({ state: 'stopping', generation: 7 }), { generation: 7 })).toEqual(['reclaimed'])
  })

  test('was only requested: it may be in the mail', () => {
    expect(kinds(requested, { live: waiting, generation: 99 })).toEqual([])
  })

  test('is being fenced: the bait that followed proves it, or the boot of the host', () => {
    const fencing = vwnWith({ state: 'fencing', generation: 7 })
    expect(eventsFrom(fencing, sight({ generation: 6 }))).toEqual([])
    expect(eventsFrom(fencing, sight({ generation: 7 }))).toEqual([{ kind: 'fenced', proof: 'reported' }])
    expect(eventsFrom(fencing, sight({ generation: 6, rebooted: true }))).toEqual([{ kind: 'fenced', proof: 'rebooted' }])
    expect(eventsFrom(fencing, sight({ vwn: seen('gone') }))).toEqual([{ kind: 'fenced', proof: 'reported' }])
    expect(eventsFrom(fencing, sight({ vwn: seen('busy') }))).toEqual([])
  })
})

test('whatever is seen, every event moves the row, and seeing the same again moves nothing', () => {
  const jobs: readonly (JobId | null)[] = [null, job('h1-1'), job('h1-2')]
  const row = fc.record({ state: fc.constantFrom(...vwnStates), job: fc.constantFrom(...jobs), generation: fc.nat(3) })
    .map(({ state, job: one, generation }) => vwnWith({ state, generation, job: state === 'busy' ? one ?? job('h1-1') : state === 'idle' ? null : one }))
  const where = fc.constantFrom(null, 'v1', 'v2')
  const told = fc.record({
    vwn: fc.option(fc.record({ state: fc.constantFrom('preparing', 'booting', 'idle', 'busy', 'cleaning', 'stopping', 'gone'), job: fc.constantFrom(...jobs) }), { nil: undefined }),
    live: fc.dictionary(fc.constantFrom('h1-1', 'h1-2'), where), ended: fc.dictionary(fc.constantFrom('h1-1', 'h1-2'), where), generation: fc.nat(4), rebooted: fc.boolean(),
  }).map(({ vwn: one, ...rest }): Told => ({ ...rest, ...(one === undefined ? {} : { vwn: seen(one.state, { job: one.job }) }) }))
  fc.assert(fc.property(row, told, (before, report) => {
    const after = walk(before, report)
    expect(kinds(after, report)).toEqual([])
  }), { numRuns: 1000 })
})
