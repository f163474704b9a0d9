import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hostId, jobId, vwnId } from '../../core/ids.ts'
import { apply, farmOf, noFarm, vwnIn, type Farm } from '../../monitor/model/farm.ts'
import type { Farm as FarmRows } from '../../wire/farm.ts'
import { aHost, aJob, aVwn, rows } from './sample.ts'

const hosts = ['h1', 'h2', 'h10'].map(hostId)

/** What happens next: to a VWN, a job or a host. VWNs and jobs keep their host, and what is gone stays gone. */
const step = fc.oneof(
  fc.record({ is: fc.constant('vwn' as const), of: fc.nat(11), state: fc.constantFrom('idle' as const, 'busy' as const, 'gone' as const) }),
  fc.record({ is: fc.constant('job' as const), of: fc.nat(11), state: fc.constantFrom('waiting' as const, 'running' as const, 'ended' as const) }),
  fc.record({ is: fc.constant('host' as const), of: fc.nat(2), state: fc.constantFrom('alive' as const, 'silent' as const) }),
)
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

/** The controller's side: rows by id, each with the generation that changed it last. */
class Played {
  generation = 1
  readonly hosts = new Map(hosts.map((host) => [host, { changed: 1, row: aHost({ host }) }]))
  readonly vwns = new Map<string, { changed: number; row: ReturnType<typeof aVwn> }>()
  readonly jobs = new Map<string, { changed: number; row: ReturnType<typeof aJob> }>()

  take({ is, of, state }: Step): void {
    const changed = ++this.generation
    const host = hosts[of % hosts.length] ?? hostId('h1')
    if (is === 'host') this.hosts.set(host, { changed, row: aHost({ host, fact: state }) })
    else if (is === 'vwn' && this.vwns.get(`v${of + 1}`)?.row.state !== 'gone') this.vwns.set(`v${of + 1}`, { changed, row: aVwn({ vwn: vwnId(`v${of + 1}`), host, state }) })
    else if (is === 'job' && this.jobs.get(`h1-${of + 1}`)?.row.state !== 'ended') this.jobs.set(`h1-${of + 1}`, { changed, row: aJob({ job: jobId(`h1-${of + 1}`), state }) })
  }
  since(generation: number): FarmRows {
    const news = <Row>(all: Iterable<{ changed: number; row: Row }>): Row[] => [...all].filter(({ changed }) => changed > generation).map(({ row }) => row)
    return rows({ generation: this.generation, nowMs: this.generation, hosts: news(this.hosts.values()), vwns: news(this.vwns.values()), jobs: news(this.jobs.values()) })
  }
  snapshot(): FarmRows {
    const all = this.since(0)
    return { ...all, vwns: all.vwns.filter(({ state }) => state !== 'gone'), jobs: all.jobs.filter(({ state }) => state !== 'ended') }
  }
}

/** In an order of its own where the order says nothing. */
const seen = ({ generation, tiles, jobs }: Farm) => ({ generation, tiles: [...tiles], jobs: [...jobs].sort(([a], [b]) => (a < b ? -1 : 1)) })

describe('changes', () => {
  test('lead to what a snapshot shows, however they are bundled, said twice or come late', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 40 }), fc.array(fc.record({ every: fc.integer({ min: 1, max: 5 }), again: fc.boolean() }), { minLength: 1, maxLength: 8 }), (steps, bundles) => {
      const played = new Played()
      let farm = farmOf(played.snapshot())
      let waiting: FarmRows[] = []
      let bundle = 0
      steps.forEach((one, index) => {
        const before = played.generation
        played.take(one)
        const { every, again } = bundles[bundle % bundles.length] ?? { every: 1, again: false }
        waiting.push(played.since(again ? Math.max(0, before - 3) : before))
        if ((index + 1) % every !== 0) return
        farm = apply(farm, again ? [...waiting, ...waiting] : waiting)
        waiting = []
        bundle += 1
      })
      farm = apply(farm, waiting)
      expect(seen(farm)).toEqual(seen(farmOf(played.snapshot())))
    }), { numRuns: 200 })
  })

  test('leave what they are not about as it was, so that it is not drawn again', () => {
    const farm = farmOf(rows({ hosts: [aHost(), aHost({ host: hostId('h2') })], vwns: [aVwn(), aVwn({ vwn: vwnId('v2'), host: hostId('h2') })], jobs: [aJob()] }))
    const next = apply(farm, [rows({ generation: 2, vwns: [aVwn({ state: 'busy' })] })])
    expect(next.tiles.get(hostId('h2'))).toBe(farm.tiles.get(hostId('h2')))
    expect(next.tiles.get(hostId('h1'))).not.toBe(farm.tiles.get(hostId('h1')))
    expect(next.jobs).toBe(farm.jobs)
  })

  test('of an older generation say only what time it is', () => {
    const farm = farmOf(rows({ generation: 5, hosts: [aHost()] }))
    expect(apply(farm, [rows({ generation: 5, nowMs: 9_000, hosts: [aHost({ fact: 'silent' })] })])).toEqual({ ...farm, nowMs: 9_000 })
    expect(apply(farm, [])).toBe(farm)
  })
})

test('hosts and VWNs stand in the order of their numbers', () => {
  const farm = farmOf(rows({ hosts: ['h10', 'h2'].map((host) => aHost({ host: hostId(host) })), vwns: ['v10', 'v9'].map((vwn) => aVwn({ vwn: vwnId(vwn), host: hostId('h2') })) }))
  expect([...farm.tiles.keys()]).toEqual(['h2', 'h10'])
  expect(farm.tiles.get(hostId('h2'))?.vwns.map(({ vwn }) => vwn)).toEqual(['v9', 'v10'])
  expect([vwnIn(farm, ({ vwn }) => vwn === 'v10')?.host, vwnIn(farm, ({ vwn }) => vwn === 'v11'), vwnIn(noFarm, () => true)]).toEqual(['h2', null, null])
})
