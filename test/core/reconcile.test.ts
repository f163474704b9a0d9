import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isNews, localStates, reconcile, type Action, type Local, type LocalState, type Wanted } from '../../core/reconcile.ts'
import { job, token } from './samples.ts'

const local = (state: LocalState, facts: Partial<Local> = {}): Local => ({ token, state, job: state === 'busy' ? job('h1-1') : null, jobOver: false, ...facts })
const run: Wanted = { token, want: 'run', insist: false, job: null }
const gone: Wanted = { ...run, want: 'gone' }
const later = { term: 2, epoch: 1 }
const waits = (): boolean => true
const does = (wanted: Wanted | null, here: Local | null): Action['do'] => reconcile(wanted, here, waits).do

describe('wanted × observed', () => {
  test.each<[string, Wanted | null, readonly Action['do'][]]>([
    //                          preparing booting idle        busy    cleaning    stopping dead       gone
    ['unknown', null, ['kill', 'kill', 'kill', 'kill', 'kill', 'kill', 'reclaim', 'forget']],
    ['an older claim', { ...run, token: later }, ['kill', 'kill', 'kill', 'kill', 'kill', 'kill', 'reclaim', 'forget']],
    ['run', run, ['wait', 'wait', 'rest', 'wait', 'wait', 'wait', 'reclaim', 'report']],
    ['gone', gone, ['kill', 'kill', 'shutdown', 'wait', 'shutdown', 'wait', 'reclaim', 'report']],
    ['gone, and insisted on', { ...gone, insist: true }, ['kill', 'kill', 'shutdown', 'kill', 'shutdown', 'kill', 'reclaim', 'report']],
  ])('%s', (_what, wanted, actions) => {
    expect(localStates.map((state) => does(wanted, local(state)))).toEqual(actions)
  })

  test('nothing there', () => {
    expect([null, run, gone].map((wanted) => does(wanted, null))).toEqual(['rest', 'prepare', 'report'])
  })

  test('orders from before this VWN change nothing', () => {
    for (const state of localStates) expect(does({ ...gone, insist: true }, local(state, { token: later }))).toBe('wait')
  })
})

test('a job is attached to an idle VWN, once, and only while it waits', () => {
  const wanted = { ...run, job: job('h1-1') }
  expect(reconcile(wanted, local('idle'), waits)).toEqual({ do: 'attach', job: 'h1-1' })
  expect(does({ ...wanted, want: 'gone' }, local('idle'))).toBe('shutdown')
  expect(reconcile(wanted, local('idle'), () => false).do).toBe('rest')
})

test('a VWN whose job is over is scrubbed, or goes', () => {
  expect(does(run, local('busy', { jobOver: true }))).toBe('clean')
  expect(does(gone, local('busy', { jobOver: true }))).toBe('shutdown')
})

test('a running job is never ended by orders that know it, unless they insist', () => {
  fc.assert(fc.property(fc.constantFrom(run, gone), fc.constantFrom(null, job('h1-1'), job('h1-2')), fc.boolean(), (wanted, reserved, waiting) => {
    expect(reconcile({ ...wanted, job: reserved }, local('busy'), () => waiting).do).toBe('wait')
  }))
})

test('orders are news for the process that they are for, by term, then by number; the same again is none', () => {
  const orders = (term: number, generation: number) => ({ session: 's1', term, generation })
  expect(isNews(orders(1, 0), 's1', null)).toBe(true)
  expect(isNews(orders(1, 2), 's1', orders(1, 1))).toBe(true)
  expect(isNews(orders(2, 1), 's1', orders(1, 9))).toBe(true)
  expect(isNews(orders(1, 1), 's1', orders(1, 1))).toBe(false)
  expect(isNews(orders(1, 9), 's1', orders(2, 1))).toBe(false)
  expect(isNews(orders(1, 2), 's2', null)).toBe(false)
  expect(isNews(orders(1, 2), 's2', orders(1, 1))).toBe(false)
})
