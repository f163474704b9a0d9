import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { afterRestart, attest, closedBecause, hear, leaseEnded, newHost, patience, silence, wantHost, type Heartbeat, type Host } from '../../core/host.ts'
import { h1 } from './samples.ts'

const beat = (facts: Partial<Heartbeat> = {}): Heartbeat => ({
  bootId: 'b1', session: 's1', startedAtMs: 1, seq: 1, ordersSeen: { term: 0, generation: 0 }, capacity: { cpus: 1, memoryMib: 1, scratchGib: 1 }, images: [], broken: null, ...facts,
})
/** A host after these heartbeats; each must be news. */
const heard = (...beats: Partial<Heartbeat>[]): Host => beats.reduce((host: Host, facts) => {
  const news = hear(host, beat(facts), 1000)
  if (news.is === 'ignored') throw new Error(news.why)
  return news.next
}, newHost(h1))

describe('a host', () => {
  test('that was never heard is silent, and has no lease to end', () => {
    expect(newHost(h1)).toMatchObject({ want: 'open', fact: 'silent' })
    expect(leaseEnded(newHost(h1), 1e12)).toBe(false)
  })

  test('is alive when it is heard, silent when it has missed its heartbeats, and lost when the lease is over', () => {
    const host = heard({})
    const late = 1000 + patience.heartbeatMs * patience.missedMax
    expect(silence(host, late)).toBe(host)
    const silent = silence(host, late + 1)
    expect(silent.fact).toBe('silent')
    expect(leaseEnded(silent, late + 1)).toBe(false)
    expect(leaseEnded(silent, 1001 + patience.leaseMs)).toBe(true)
    expect(leaseEnded(host, 1001 + patience.leaseMs)).toBe(false)
  })

  test('is heard once for each report, and never backwards', () => {
    const host = heard({ seq: 4 })
    expect(hear(host, beat({ seq: 4 }), 0).is).toBe('ignored')
    expect(hear(host, beat({ seq: 3 }), 0).is).toBe('ignored')
    expect(hear(host, beat({ seq: 5 }), 0).is).toBe('news')
    const restarted = heard({ seq: 4 }, { session: 's2', startedAtMs: 9, seq: 1 })
    expect(hear(restarted, beat({ seq: 5 }), 0)).toEqual({ is: 'ignored', why: 'from a bait process that has a successor' })
  })

  test('has proved everything gone when it has booted', () => {
    expect(hear(heard({}), beat({ session: 's2', startedAtMs: 2, bootId: 'b2' }), 0)).toMatchObject({ is: 'news', rebooted: true })
    expect(hear(heard({}), beat({ session: 's2', startedAtMs: 2 }), 0)).toMatchObject({ is: 'news', rebooted: false })
    expect(hear(newHost(h1), beat(), 0)).toMatchObject({ is: 'news', rebooted: false })
  })

  test('can be declared dead only while it cannot be heard, and is alive again when it is', () => {
    expect(attest(heard({}))).toBeNull()
    const fenced = attest({ ...heard({}), fact: 'silent' })
    expect(fenced?.fact).toBe('fenced')
    expect(hear(fenced ?? newHost(h1), beat({ seq: 2 }), 0)).toMatchObject({ is: 'news', next: { fact: 'alive' } })
  })

  test('keeps what the operator wants of it whatever is heard', () => {
    expect(hear(wantHost(heard({}), 'draining'), beat({ seq: 2 }), 0)).toMatchObject({ next: { want: 'draining', fact: 'alive' } })
  })

  test('is not blamed for the silence while the controller was away', () => {
    const back = afterRestart(heard({}), 1e9)
    expect(back.fact).toBe('silent')
    expect(leaseEnded(back, 1e9 + patience.leaseMs)).toBe(false)
    expect(leaseEnded(back, 1e9 + patience.leaseMs + 1)).toBe(true)
  })

  test('says why nothing is placed there', () => {
    expect(closedBecause(heard({}))).toBeNull()
    expect(closedBecause(wantHost(heard({}), 'draining'))).toMatch(/draining/)
    expect(closedBecause(wantHost(heard({}), 'closed'))).toMatch(/closed/)
    expect(closedBecause(newHost(h1))).toMatch(/not been heard/)
  })
})

test('whatever way reports come, the host ends where the newest one is', () => {
  const beats = [1, 2, 3].flatMap((session) => [1, 2, 3].map((seq) => beat({ session: `s${session}`, startedAtMs: session, seq })))
  fc.assert(fc.property(fc.array(fc.constantFrom(...beats), { minLength: 1 }), (mail) => {
    const end = mail.reduce((host, one) => {
      const news = hear(host, one, 0)
      return news.is === 'news' ? news.next : host
    }, newHost(h1))
    const newest = [...mail].sort((a, b) => b.startedAtMs - a.startedAtMs || b.seq - a.seq)[0]
    expect([end.session, end.seq]).toEqual([newest?.session, newest?.seq])
  }))
})
