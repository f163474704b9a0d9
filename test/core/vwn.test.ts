import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { failure } from '../../core/failure.ts'
import {
  due, isLive, isSpare, isUnclaimed, legalNow, moves, reissue, requestVwn, step, vwnEventKinds, vwnStates, wantedOf, type Vwn, type VwnEvent, type VwnEventKind, type VwnState,
} from '../../core/vwn.ts'
import { ordersIn, type Move } from '../../core/orders.ts'
import type { LeaseToken } from '../../core/lease.ts'
import { anna, ben, cause, job, token, vwnWith } from './samples.ts'

/** Walks a VWN through events; each must move it. */
function after(events: readonly VwnEvent[], from: Vwn = vwnWith(), nowMs = 10): Vwn {
  return events.reduce((row, event) => {
    const verdict = step(row, event, token, { nowMs, generation: row.generation + 1 })
    if (verdict.is !== 'moved') throw new Error(`${event.kind} while ${row.state}: ${verdict.why}`)
    return verdict.next
  }, from)
}

const up: readonly VwnEvent[] = [{ kind: 'accepted' }, { kind: 'prepared' }, { kind: 'ready' }]
const release: VwnEvent = { kind: 'released', reached: true }

describe('a VWN', () => {
  test('made for a job is busy with it as soon as it is ready', () => {
    expect(after(up)).toMatchObject({ state: 'busy', job: 'h1-1', deadlineMs: null })
  })

  test('whose job ended before it was ready becomes idle and is free for the next one', () => {
    const idle = after([{ kind: 'accepted' }, { kind: 'released', reached: false }, { kind: 'prepared' }, { kind: 'ready' }])
    expect(idle).toMatchObject({ state: 'idle', job: null, jobsRun: 0 })
    expect(after([{ kind: 'assigned', job: job('h1-2'), owner: anna }], idle)).toMatchObject({ state: 'busy', job: 'h1-2' })
  })

  test('is scrubbed after a job, and goes straight to the one that was reserved meanwhile', () => {
    const cleaning = after([...up, release])
    expect(cleaning).toMatchObject({ state: 'cleaning', job: null, jobsRun: 1 })
    expect(after([{ kind: 'cleaned' }], cleaning).state).toBe('idle')
    expect(after([{ kind: 'assigned', job: job('h1-2'), owner: anna }, { kind: 'cleaned' }], cleaning)).toMatchObject({ state: 'busy', job: 'h1-2' })
  })

  test('needs no scrub when nothing of the job got in', () => {
    expect(after([...up, { kind: 'released', reached: false }])).toMatchObject({ state: 'idle', jobsRun: 0 })
  })

  test('that may not be used again stops after its job', () => {
    const never = vwnWith({ limits: { reuse: 'never', jobsRunMax: 9, ageMsMax: 1e9, idleMsMax: 1e9 } })
    expect(after([...up, release], never).state).toBe('stopping')
    expect(after([...up, release], vwnWith({ jobsRun: 2 })).state).toBe('stopping')
    expect(after([...up, release], vwnWith(), 2_000_000).state).toBe('stopping')
  })

  test('belongs to one user for life', () => {
    const idle = after([...up, release, { kind: 'cleaned' }])
    expect(step(idle, { kind: 'assigned', job: job('h1-2'), owner: ben }, token, { nowMs: 0, generation: 9 })).toEqual({ is: 'denied', why: 'it belongs to anna' })
  })

  test('that is busy cannot be stopped, only killed, and then going does not wait for the job', () => {
    const busy = after(up)
    expect(step(busy, { kind: 'stop', cause: null }, token, { nowMs: 0, generation: 9 })).toMatchObject({ is: 'denied', why: expect.stringContaining('h1-1') })
    expect(wantedOf(after([{ kind: 'kill', cause }], busy))).toEqual({ want: 'gone', insist: true, job: null })
    expect(wantedOf(after([{ kind: 'hostLost' }], busy))).toEqual({ want: 'gone', insist: false, job: null })
  })

  test('that was only requested is fenced, not dropped, when its host cannot be heard', () => {
    expect(after([{ kind: 'hostLost' }]).state).toBe('fencing')
    expect(after([{ kind: 'deadline' }])).toMatchObject({ state: 'fencing', cause: { code: 'VWN_BOOT_TIMEOUT' } })
  })

  test('keeps the first cause', () => {
    const gone = after([...up, { kind: 'exited', cause }, { kind: 'kill', cause: failure('VWN_REMOVED') }, { kind: 'reclaimed' }])
    expect(gone).toMatchObject({ state: 'gone', cause: { code: 'VWN_DIED' }, endedAtMs: 10, job: 'h1-1' })
  })

  test('made for nobody waits for whoever comes first, however long, and is theirs for life', () => {
    const { owner: _owner, job: _job, ...rest } = vwnWith()
    const ready = after(up, requestVwn({ ...rest, owner: null, job: null }, rest.id, token, { nowMs: 0, generation: 1 }))
    expect(ready).toMatchObject({ state: 'idle', pooled: true, deadlineMs: ready.limits.ageMsMax })
    expect([isUnclaimed(ready), isSpare(ready)]).toEqual([true, true])
    const taken = after([{ kind: 'assigned', job: job('h1-2'), owner: anna }], ready)
    expect(taken).toMatchObject({ state: 'busy', owner: anna, pooled: true })
    const idle = after([{ kind: 'released', reached: false }], taken)
    expect(idle).toMatchObject({ state: 'idle', owner: anna, deadlineMs: 10 + idle.limits.idleMsMax })
    expect([isUnclaimed(idle), isSpare(idle), isSpare(taken)]).toEqual([false, true, false])
  })

  test('that was told twice is not told again', () => {
    const idle = after([...up, release, { kind: 'cleaned' }])
    const busy = after([{ kind: 'assigned', job: job('h1-2'), owner: anna }], idle)
    expect(step(busy, { kind: 'assigned', job: job('h1-2'), owner: anna }, token, { nowMs: 0, generation: 9 }).is).toBe('ignored')
    expect(step(busy, { kind: 'assigned', job: job('h1-3'), owner: anna }, token, { nowMs: 0, generation: 9 }).is).toBe('denied')
    const kept = vwnWith()
    expect(step(kept, { kind: 'assigned', job: job('h1-1'), owner: anna }, token, { nowMs: 0, generation: 9 }).is).toBe('ignored')
  })

  test('on a silent host has no deadline but the end of the lease', () => {
    const row = vwnWith()
    expect(due(row, { alive: true, leaseEnded: false }, 1e9)).toEqual({ kind: 'deadline' })
    expect(due(row, { alive: false, leaseEnded: false }, 1e9)).toBeNull()
    expect(due(row, { alive: false, leaseEnded: true }, 1e9)).toEqual({ kind: 'hostLost' })
    expect(due(row, { alive: true, leaseEnded: false }, 1)).toBeNull()
  })

  test('shows what its bait was told of it: each change of the order once, with the event that led to it', () => {
    const [first, second] = [job('h1-1'), job('h1-2')]
    const moved = (event: string, to: VwnState, of: typeof first | null = null): Move => ({ atMs: 5, event, to, job: of, why: null })
    const orders = ordersIn([
      moved('requested', 'requested', first), moved('accepted', 'preparing', first), moved('prepared', 'booting', first), moved('ready', 'busy', first),
      moved('released', 'cleaning', first), moved('cleaned', 'idle'), moved('assigned', 'busy', second), moved('kill', 'stopping', second), moved('deadline', 'stopping', second), moved('reclaimed', 'gone', second),
    ])
    expect(orders.map(({ does, job: of, event }) => [does, of, event])).toEqual([
      ['make', first, 'requested'], ['keep', null, 'released'], ['serve', second, 'assigned'], ['kill', null, 'kill'], ['forget', null, 'reclaimed'],
    ])
  })

  test('waits as long again whenever it is asked to go once more', () => {
    const stopping = after([...up, { kind: 'kill', cause }], vwnWith(), 10)
    expect(after([{ kind: 'deadline' }], stopping, 70_000).deadlineMs).toBe(130_000)
  })
})

// ── the model ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Real { row: Vwn; nowMs: number; moves: Move[] }
/** The few facts that must hold; none of them mirrors the table. */
interface Model { everFenced: boolean; everStopping: boolean; leasesEnded: number; owner: number | null; jobsIn: number }

const walked = new Set<string>()
const jobs = [job('h1-1'), job('h1-2')]

function eventOf(kind: VwnEventKind, dice: number): VwnEvent {
  switch (kind) {
    case 'assigned': return { kind, job: jobs[dice % 2] ?? job('h1-1'), owner: dice % 5 === 0 ? ben : anna }
    case 'released': return { kind, reached: dice % 3 !== 0 }
    case 'failed': case 'rejected': return { kind, cause }
    case 'exited': case 'stop': case 'kill': return { kind, cause: dice % 2 === 0 ? cause : null }
    case 'fenced': return { kind, proof: 'reported' }
    default: return { kind }
  }
}

/** The orders that the moves imply have grown by what the bait is told now and was not before. */
function toldAsWanted(all: readonly Move[], before: Vwn, next: Vwn): void {
  const [told, more] = [ordersIn(all.slice(0, -1)), ordersIn(all)]
  const level = (vwn: Vwn): string => (vwn.state === 'gone' ? 'forgotten' : JSON.stringify(wantedOf(vwn)))
  expect(more.length - told.length).toBe(level(before) === level(next) ? 0 : 1)
  const last = more.at(-1)
  expect(last?.job).toBe(next.state === 'gone' ? null : wantedOf(next).job)
  expect(['end', 'kill', 'forget'].includes(last?.does ?? '')).toBe(!isLive(next))
}

/** What usually happens next, so that runs get far. */
const happy: Readonly<Record<VwnState, readonly VwnEventKind[]>> = {
  requested: ['accepted'], preparing: ['prepared'], booting: ['ready'], idle: ['assigned'], busy: ['released'], cleaning: ['cleaned', 'assigned', 'released'], stopping: ['reclaimed'], fencing: ['fenced'], gone: [],
}

class Send implements fc.Command<Model, Real> {
  readonly pick: 'happy' | 'legal' | 'anything'
  readonly dice: number
  readonly sender: LeaseToken
  sent = ''
  constructor(pick: Send['pick'], dice: number, sender: LeaseToken) {
    this.pick = pick
    this.dice = dice
    this.sender = sender
  }

  check = () => true

  run(model: Model, real: Real): void {
    const before = real.row
    const choices = this.pick === 'happy' ? happy[before.state] : this.pick === 'legal' ? legalNow(before) : vwnEventKinds
    const kind = choices[this.dice % Math.max(1, choices.length)] ?? 'accepted'
    const event = eventOf(kind, this.dice)
    this.sent = `${kind}@${this.sender.term}`
    real.nowMs += this.dice % 1000
    const verdict = step(before, event, this.sender, { nowMs: real.nowMs, generation: before.generation + (this.dice % 2) })
    if (this.sender.term !== token.term) expect(verdict.is).toBe('ignored')
    if (verdict.is !== 'moved') return
    const { next, effects } = verdict
    real.row = next
    walked.add(`${before.state} ${kind} ${next.state}`)
    real.moves.push({ atMs: real.nowMs, event: kind, to: next.state, job: next.job ?? before.job, why: null })
    toldAsWanted(real.moves, before, next)

    expect(moves[before.state]).toHaveProperty(kind)
    expect(reissue(next)).toEqual(effects) // recovery is re-entry
    expect(next.generation).toBeGreaterThan(before.generation)
    if (next.state === 'busy') expect(next.job).not.toBeNull()
    if (next.state === 'idle') expect(next.job).toBeNull()
    if (isLive(next) && next.state !== 'busy') expect(next.deadlineMs).toBeGreaterThanOrEqual(next.stateSinceMs) // nothing waits for ever
    model.owner ??= next.owner?.uid ?? null
    expect(next.owner?.uid ?? null).toBe(model.owner)
    model.everFenced ||= next.state === 'fencing'
    if (model.everFenced) expect(['fencing', 'gone']).toContain(next.state)
    model.everStopping ||= next.state === 'stopping'
    if (model.everStopping) expect(isLive(next)).toBe(false)
    if (before.state !== 'busy' && next.state === 'busy') model.jobsIn += 1
    expect(next.jobsRun).toBeLessThanOrEqual(model.jobsIn)
    expect(next.jobsRun).toBeLessThanOrEqual(next.limits.jobsRunMax)
    model.leasesEnded += effects.filter((effect) => effect.do === 'endLease').length
    expect(model.leasesEnded).toBe(next.state === 'gone' ? 1 : 0)
    if (before.cause !== null) expect(next.cause).toBe(before.cause)
  }

  toString = () => `${this.pick}:${this.sent}`
}

const picks = fc.oneof({ weight: 6, arbitrary: fc.constant('happy' as const) }, { weight: 3, arbitrary: fc.constant('legal' as const) }, { weight: 1, arbitrary: fc.constant('anything' as const) })
const senders = fc.oneof({ weight: 8, arbitrary: fc.constant(token) }, { weight: 1, arbitrary: fc.constantFrom({ term: 0, epoch: 9 }, { term: 2, epoch: 1 }) })
const commands = fc.commands([fc.tuple(picks, fc.nat(1000), senders).map(([pick, dice, sender]) => new Send(pick, dice, sender))], { maxCommands: 30, size: 'max' })

const arrows = vwnStates.flatMap((state) => Object.entries<readonly VwnState[]>(moves[state]).flatMap(([kind, targets]) => targets.map((target) => `${state} ${kind} ${target}`)))

test('no order of events breaks a promise, and every arrow is walked', { timeout: 60_000 }, () => {
  const { owner, job: reserved, ...rest } = vwnWith()
  const model = fc.property(commands, fc.boolean(), (run, owned) => {
    const row = requestVwn({ ...rest, owner: owned ? owner : null, job: owned ? reserved : null }, rest.id, token, { nowMs: 0, generation: 1 })
    fc.modelRun(() => ({ model: { everFenced: false, everStopping: false, leasesEnded: 0, owner: null, jobsIn: 0 }, real: { row, nowMs: 0, moves: [{ atMs: 0, event: 'requested', to: row.state, job: row.job, why: null }] } }), run)
  })
  for (let batch = 0; batch < 30 && walked.size < arrows.length; batch += 1) fc.assert(model, { numRuns: 100 })
  expect([...walked].sort()).toEqual(arrows.sort())
})
