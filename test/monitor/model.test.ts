import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hostId, imageDigest, jobId, typeName, vwnId } from '../../core/ids.ts'
import { vwnStates } from '../../core/vwn.ts'
import { moreConsole, noConsole } from '../../monitor/model/console.ts'
import { farmOf, noFarm } from '../../monitor/model/farm.ts'
import { filterFields, select } from '../../monitor/model/filter.ts'
import { around, pastFarm } from '../../monitor/model/past.ts'
import { addressOf, pages, placeOf } from '../../monitor/model/place.ts'
import { makingDiagrams } from '../../monitor/model/making.ts'
import { diagramsOf, gathered } from '../../monitor/model/samples.ts'
import { axisWords, madeWords, rateOf, readyShare, spans, timeRange } from '../../monitor/model/times.ts'
import { layOut, noLayout, overlap, shareOf } from '../../monitor/model/tiles.ts'
import { waterfall } from '../../monitor/model/waterfall.ts'
import { seen } from '../../monitor/model/window.ts'
import { ago, bytes, jobSentence, mib, signOf, states, vwnWords } from '../../monitor/model/words.ts'
import type { MakingReply } from '../../wire/accounting.ts'
import type { FarmEvent, PastFarm } from '../../wire/history.ts'
import type { Sample } from '../../wire/look.ts'
import { aHost, aJob, aVwn, rows } from './sample.ts'

describe('a filter', () => {
  const farm = farmOf(rows({
    hosts: ['h1', 'h2', 'h3'].map((host) => aHost({ host: hostId(host) })),
    vwns: [
      aVwn({ state: 'busy', job: jobId('h1-1'), user: 'alice' }),
      aVwn({ vwn: vwnId('v2'), host: hostId('h2'), type: typeName('small'), image: imageDigest('b'.repeat(64)), paused: true }),
    ],
    jobs: [
      aJob({ state: 'running', vwn: vwnId('v1'), queue: 'fast', batchJobId: '4711' }),
      aJob({ job: jobId('h2-1'), host: hostId('h2'), name: 'fit.sh', user: 'bob', submittedAtMs: 500, why: 'no host has room' }),
    ],
  }))
  test.each([
    [{}, ['h1', 'h2', 'h3'], ['h2-1', 'h1-1']],
    [{ user: 'alice' }, ['h1'], ['h1-1']],
    [{ user: 'bob' }, [], ['h2-1']],
    [{ type: 'small' }, ['h2'], []],
    [{ state: 'paused' }, ['h2'], []],
    [{ state: 'busy' }, ['h1'], ['h1-1']],
    [{ state: 'waiting' }, [], ['h2-1']],
    [{ queue: 'fast' }, ['h1'], ['h1-1']],
    [{ image: 'bbbb' }, ['h2'], []],
    [{ job: '4711' }, ['h1'], ['h1-1']],
    [{ job: 'h1-1', user: 'bob' }, [], []],
    [{ text: 'ROOM' }, [], ['h2-1']],
    [{ text: 'h3' }, ['h3'], []],
    [{ text: 'h3', user: 'alice' }, [], []],
  ])('%j shows', (filter, hosts, jobs) => {
    const selected = select(farm, filter)
    expect([selected.tiles.map(({ host }) => host.host), selected.jobs.map(({ job }) => job)]).toEqual([hosts, jobs])
  })
  test('lists the first jobs of many, as if all were sorted', () => {
    const many = Array.from({ length: 250 }, (_, nth) => aJob({ job: jobId(`h1-${nth + 1}`), state: nth % 3 === 0 ? 'waiting' : 'running', submittedAtMs: (nth * 7_919) % 83 }))
    const order = many.toSorted((a, b) => Number(b.state === 'waiting') - Number(a.state === 'waiting') || a.submittedAtMs - b.submittedAtMs || (a.job < b.job ? -1 : 1))
    const { jobs, jobCount } = select(farmOf(rows({ generation: 1, jobs: many })), {})
    expect([jobs, jobCount]).toEqual([order.slice(0, 100), 250])
  })
  test('counts VWNs by state', () => {
    expect([...select(farm, {}).states]).toEqual([['busy', 1], ['paused', 1]])
    expect([...select(farm, { user: 'alice' }).states]).toEqual([['busy', 1]])
  })
})

test('an address says all of where the reader is', () => {
  const filter = fc.record(Object.fromEntries(filterFields.map((field) => [field, fc.string({ minLength: 1 })])), { requiredKeys: [] })
  const anywhere = fc.record({ page: fc.constantFrom(...pages), id: fc.option(fc.string()), atMs: fc.option(fc.integer({ min: 1, max: 2 ** 50 })), hours: fc.option(fc.constantFrom(...spans)), filter })
  fc.assert(fc.property(anywhere, (place) => {
    expect(placeOf(new URL(addressOf(place), 'http://farm').search)).toEqual(place)
  }))
  expect(addressOf(placeOf(''))).toBe('/')
  expect(placeOf('?page=nowhere&at=soon&hours=3&user=&evil=1')).toEqual({ page: 'farm', id: null, atMs: null, hours: null, filter: {} })
})

describe('on a tile', () => {
  const coming = fc.array(fc.oneof(fc.record({ id: fc.nat(30), share: fc.double({ min: 0, max: 1, noNaN: true }) }), fc.record({ id: fc.nat(30), share: fc.constant(null) })), { maxLength: 60 })
  test('every VWN has room, however many come and go, and none lies over another', () => {
    fc.assert(fc.property(coming, (steps) => {
      const shares = new Map<string, number>()
      let layout = noLayout
      for (const { id, share } of steps) {
        if (share === null) shares.delete(`v${id}`)
        else if (!shares.has(`v${id}`)) shares.set(`v${id}`, share)
        layout = layOut(layout, shares)
        expect([...layout.blocks.keys()].sort()).toEqual([...shares.keys()].sort())
      }
      const blocks = [...layout.blocks.values()]
      for (const [index, block] of blocks.entries()) {
        expect(block.column >= 0 && block.row >= 0 && block.column + block.columns <= layout.columns && block.row + block.rows <= layout.rows).toBe(true)
        expect(blocks.slice(index + 1).some((other) => overlap(block, other))).toBe(false)
      }
    }), { numRuns: 50 })
  })
  test('one that goes moves no other', () => {
    const full = layOut(noLayout, new Map([['v1', 0.25], ['v2', 0.25], ['v3', 0.25]]))
    const less = layOut(full, new Map([['v1', 0.25], ['v3', 0.25]]))
    expect([less.blocks.get('v1'), less.blocks.get('v3')]).toEqual([full.blocks.get('v1'), full.blocks.get('v3')])
    expect(layOut(less, new Map([['v1', 0.25], ['v3', 0.25], ['v4', 0.25]])).blocks.get('v4')).toEqual(full.blocks.get('v2'))
  })
  test('the share is of what it takes most of', () => {
    expect(shareOf({ cpus: 2, memoryMib: 100 }, { cpus: 8, memoryMib: 1_000 })).toBe(0.25)
    expect(shareOf({ cpus: 0, memoryMib: 500 }, { cpus: 8, memoryMib: 1_000 })).toBe(0.5)
    expect(shareOf({ cpus: 4, memoryMib: 1 }, { cpus: 0, memoryMib: 0 })).toBe(1)
  })
})

test('of a long list only what is on the screen is drawn', () => {
  expect(seen(1_000, { width: 100, height: 50 }, { width: 450, height: 200, scrollPx: 0 })).toEqual({ columns: 4, heightPx: 12_500, first: 0, end: 20, topPx: 0 })
  expect(seen(1_000, { width: 100, height: 50 }, { width: 450, height: 200, scrollPx: 500 })).toMatchObject({ first: 36, end: 60, topPx: 450 })
  expect(seen(10, { width: 100, height: 50 }, { width: 50, height: 200, scrollPx: 9_999 })).toMatchObject({ columns: 1, first: 9, end: 10 })
  expect(seen(0, { width: 100, height: 50 }, { width: 450, height: 200, scrollPx: 0 })).toMatchObject({ heightPx: 0, first: 0, end: 0 })
})

test('a receipt becomes bars that fill the width, one after the other', () => {
  expect(waterfall([{ phase: 'wait', ms: 250 }, { phase: 'run', ms: 500 }], 250)).toEqual([
    { phase: 'wait', ms: 250, from: 0, width: 0.25 }, { phase: 'run', ms: 500, from: 0.25, width: 0.5 }, { phase: 'other', ms: 250, from: 0.75, width: 0.25 },
  ])
  expect(waterfall([{ phase: 'wait', ms: 0 }], 0)).toEqual([{ phase: 'wait', ms: 0, from: 0, width: 0 }])
  expect(waterfall([], null)).toEqual([])
})

describe('in words', () => {
  test('every state has a sign of its own', () => {
    for (const state of vwnStates) if (state !== 'gone') expect(states).toHaveProperty(state)
    expect(new Set(Object.values(states).map(({ sign }) => sign)).size).toBe(Object.keys(states).length)
    expect(signOf('of tomorrow')).toBe('?')
  })
  test('a job says in one sentence what it waits for', () => {
    expect(jobSentence(aJob({ why: 'no host has room' }), null)).toBe('no host has room')
    expect(jobSentence(aJob(), null)).toMatch(/not looked at/)
    expect(jobSentence(aJob(), aVwn({ state: 'booting' }))).toBe('Waits for v1, which is booting.')
    expect(jobSentence(aJob(), aVwn({ state: 'busy' }))).toBe('Is on its way into v1.')
    expect(jobSentence(aJob({ state: 'running', vwn: vwnId('v1') }), aVwn({ state: 'busy' }))).toBe('Is running in v1 on h1.')
    expect(jobSentence(aJob({ state: 'running' }), null)).toBe('Is running on h1.')
  })
  test('a VWN is told in one line, a size in its unit, a time without tenths', () => {
    expect(vwnWords(aVwn({ cause: 'it did not start' }))).toBe('v1 idle, standard, nobody’s, no job, 2 cpus, 1024 MiB, it did not start')
    expect([mib(512), mib(1_536), bytes(null), bytes(3 * 1024 ** 2)]).toEqual(['512 MiB', '1.5 GiB', '-', '3 MiB'])
    expect([ago(1_000, 13_400), ago(2_000, 1_000)]).toEqual(['12 s', '0 ms'])
  })
})

describe('a moment of the past', () => {
  const { want: _want, fact: _fact, capacity: _capacity, broken: _broken, ...host } = aHost({ used: { cpus: 2, memoryMib: 1_024, scratchGib: 4 } })
  const unknown = { state: null, endedAtMs: null, made: null, why: null, outcome: null }
  const past: PastFarm = {
    atMs: 5_000,
    hosts: [{ ...host, want: null, fact: null, capacity: null, broken: null }],
    vwns: [{ ...aVwn({ state: 'busy', job: jobId('h1-1') }), paused: null }],
    jobs: [{ ...aJob({ vwn: vwnId('v1') }), ...unknown }, { ...aJob({ job: jobId('h1-2') }), ...unknown }],
  }
  test('looks like the present, without what nobody wrote down', () => {
    const farm = pastFarm(past, farmOf(rows({ hosts: [aHost()] })))
    expect([...farm.tiles.values()]).toMatchObject([{ host: { host: 'h1', capacity: { cpus: 16 }, used: { cpus: 2 }, fact: 'alive' }, vwns: [{ vwn: 'v1', state: 'busy', paused: false }] }])
    expect([...farm.jobs.values()].map(({ job, state }) => `${job} ${state}`)).toEqual(['h1-1 running', 'h1-2 waiting'])
    expect([...pastFarm(past, noFarm).tiles.values()]).toMatchObject([{ host: { capacity: { cpus: 2 } } }]) // a host that is no more
  })
  test('stands among the events before and after it', () => {
    const event = (id: number, atMs: number): FarmEvent => ({ id, atMs, vwn: vwnId('v1'), host: hostId('h1'), type: typeName('standard'), event: 'ready', from: 'booting', to: 'idle', job: null, why: null })
    const { events, last } = around([event(3, 30), event(1, 10)], [event(3, 30), event(4, 40)], 35)
    expect([events.map(({ id }) => id), last]).toEqual([[1, 3, 4], 1])
    expect(around([], [event(4, 40)], 35).last).toBe(-1)
  })
})

describe('what a VWN uses', () => {
  const sample = (atMs: number, cpuMs: number): Sample => ({ atMs, cpuMs, memoryBytes: 64 * 1024 ** 2, readBytes: 0, writtenBytes: cpuMs * 1024, toGuestBytes: null, fromGuestBytes: null })
  test('is curves that go on, with gaps for what is not known, and words for who cannot see them', () => {
    const known = gathered([sample(1_000, 0)], [sample(1_000, 0), sample(11_000, 5_000)])
    expect(known.map(({ atMs }) => atMs)).toEqual([1_000, 11_000])
    const [cpus, memory, disk, network] = diagramsOf(known)
    expect(cpus).toMatchObject({ names: ['processors'], lines: [[11], [0.5]], says: 'processors 0.50' })
    expect(memory?.lines[1]).toEqual([64])
    expect(disk?.says).toBe('read 0.00 MiB/s, written 0.49 MiB/s')
    expect(network).toMatchObject({ lines: [[11], [null], [null]], says: 'to the guest not known, from the guest not known' })
    expect(diagramsOf([]).map(({ lines }) => lines)).toEqual([[[], []], [[], []], [[], [], []], [[], [], []]])
    expect(gathered(known, Array.from({ length: 500 }, (_, nth) => sample(20_000 + nth, 0)))).toHaveLength(360)
  })
  test('what its guest says is put together, with what is missing, and is no more than can be shown', () => {
    const piece = (from: number, text: string) => ({ from, next: from + text.length, said: 100, text })
    const known = [piece(10, 'one\n'), piece(14, 'two\n'), piece(18, ''), piece(30, 'three\n')].reduce(moreConsole, noConsole)
    expect(known).toEqual({ text: 'one\ntwo\n\n[… 12 bytes left out …]\nthree\n', next: 36 })
    const much = moreConsole(known, piece(36, 'line\n'.repeat(60_000))).text
    expect(much.length).toBeGreaterThan(199_990)
    expect(much.length).toBeLessThanOrEqual(200_000)
    expect(much.startsWith('line\n')).toBe(true)
  })
})

describe('times', () => {
  const minutes = fc.array(fc.nat(1_000), { maxLength: 12_000 }).map((jobs) => jobs.map((each, nth) => ({ atMs: 1_800_000_000_000 + nth * 60_000, jobs: each })))
  test('a curve has few points, in order, and as many jobs as there were', () => {
    fc.assert(fc.property(minutes, (perMinute) => {
      const [atS, rate] = rateOf(perMinute)
      expect(atS.length).toBeLessThanOrEqual(200)
      expect(rate.length).toBe(atS.length)
      expect(atS).toEqual([...atS].sort((a, b) => a - b))
      const width = Math.max(1, Math.ceil(perMinute.length / 200))
      const total = rate.reduce((sum, mean, nth) => sum + mean * Math.min(width, perMinute.length - nth * width), 0)
      expect(total).toBeCloseTo(perMinute.reduce((sum, { jobs }) => sum + jobs, 0), 3)
    }), { numRuns: 30 })
  })
  test('below a curve stands the time of day, and the day where there are several', () => {
    const atS = (day: number, hour: number): number => new Date(2026, 10, day, hour, 30).getTime() / 1_000
    expect(axisWords([atS(22, 3), atS(22, 4)])).toEqual(['03:30', '04:30'])
    expect(axisWords([atS(20, 3), atS(22, 4)])).toEqual(['11-20 03:30', '11-22 04:30'])
    expect(axisWords([])).toEqual([])
    expect([timeRange(0, 3_600), timeRange(1_000, 1_000), timeRange(null, null)]).toEqual([[0, 3_600], [400, 1_000], [null, null]])
  })
  test('how jobs came by their VWNs is told, most frequent first', () => {
    expect(madeWords({ new: 2, ready: 6, reused: 9, bare: 0 })).toBe('9 used before, 6 fresh and ready, 2 made for it')
    expect([readyShare({ new: 2, ready: 6, reused: 9, bare: 0 }), readyShare({ new: 0, ready: 0, reused: 1, bare: 1 })]).toEqual([0.75, null])
  })
})

test('how VWNs of a type came up and why they failed is curves and a sentence', () => {
  const making: MakingReply = {
    fromMs: 0, toMs: 20_000, stepMs: 10_000,
    types: [{ type: typeName('standard'), made: { clone: { vwns: 3, halfMs: [300, null] }, boot: { vwns: 0, halfMs: [null, null] } }, failures: [{ code: 'VWN_DIED', counts: [0, 2] }] }],
  }
  expect(makingDiagrams(making, 'standard')).toMatchObject([
    { names: ['cloned'], lines: [[0, 10], [0.3, null]], says: '3 cloned, half of them at last within 300 ms' },
    { names: ['VWN_DIED'], lines: [[0, 10], [0, 2]], says: '2 VWN_DIED' },
  ])
  expect(makingDiagrams(making, 'small')).toMatchObject([{ names: [], says: 'None was made.' }, { names: [], says: 'None has failed.' }])
})
