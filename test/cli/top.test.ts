/** What `wnod top` makes of keys and changes, without a terminal. */
import fc from 'fast-check'
import { stripVTControlCharacters } from 'node:util'
import { expect, test } from 'vitest'
import { linesOf } from '../../cli/top/lines.ts'
import { startTop, step, type Ask, type Key, type Size, type Top, type TopEvent } from '../../cli/top/state.ts'
import { cells } from '../../cli/text.ts'
import { vwnStates } from '../../core/vwn.ts'
import { farmSchema, type Farm } from '../../wire/farm.ts'

const nowMs = 1_800_000_000_000
const amount = { cpus: 8, memoryMib: 16_384, scratchGib: 100 }
const host = (name: string, more: object = {}) => ({ host: name, want: 'open', fact: 'alive', capacity: amount, used: { cpus: 2, memoryMib: 512, scratchGib: 4 }, broken: null, ...more })
const vwn = (n: number, more: object = {}) => ({
  vwn: `v${n}`, host: `h${1 + (n % 2)}`, type: 'standard', state: 'idle', paused: false, sinceMs: nowMs - n * 1000, job: null, user: null, cpus: 2, memoryMib: 1024, scratchGib: 4,
  image: 'a'.repeat(64), cause: null, ...more,
})
const job = (n: number, more: object = {}) => ({
  job: `h1-${n}`, name: 'sim', host: 'h1', user: 'alice', queue: null, state: 'running', type: 'standard', vwn: `v${n}`, batchSystem: 'slurm', batchJobId: String(n),
  submittedAtMs: nowMs - n * 60_000, endedAtMs: null, made: 'new', why: null, outcome: null, ...more,
})
const farm = (generation: number, rows: { hosts?: object[]; vwns?: object[]; jobs?: object[] }): Farm => farmSchema.parse({ generation, nowMs, hosts: [], vwns: [], jobs: [], ...rows })

const size: Size = { rows: 12, columns: 80 }
const start = (rows: Parameters<typeof farm>[1], on = size): Top => startTop(farm(1, rows), on)

const named: Readonly<Record<string, Partial<Key>>> = {
  enter: { name: 'return', text: '\r' }, esc: { name: 'escape', text: '\u001b' }, up: { name: 'up', text: '\u001b[A' }, down: { name: 'down', text: '\u001b[B' }, back: { name: 'backspace', text: '\u007f' },
  pgdn: { name: 'pagedown' }, pgup: { name: 'pageup' }, end: { name: 'end' }, home: { name: 'home' }, tab: { name: 'tab', text: '\t' }, backtab: { name: 'tab', shift: true },
  'ctrl-c': { name: 'c', ctrl: true, text: '\u0003' }, 'ctrl-z': { name: 'z', ctrl: true, text: '\u001a' }, 'ctrl-l': { name: 'l', ctrl: true, text: '\f' }, 'ctrl-u': { name: 'u', ctrl: true, text: '\u0015' },
}
const key = (word: string): TopEvent =>
  ({ is: 'key', key: { name: /^[a-zA-Z]$/.test(word) ? word.toLowerCase() : undefined, ctrl: false, shift: /^[A-Z]$/.test(word), text: word, ...named[word] } })

/** Words of `named`, or single characters. */
function press(top: Top, ...words: string[]): { top: Top; asks: Ask[] } {
  let asks: Ask[] = []
  for (const word of words) {
    const next = step(top, key(word))
    top = next.top
    asks = [...next.asks]
  }
  return { top, asks }
}
const text = (top: Top): string => linesOf(top, false).map((line) => `${line.trimEnd()}\n`).join('')
const marked = (top: Top): string | undefined => linesOf(top, false).find((line) => line.startsWith('>'))?.split(/ +/)[1]

test('it shows what there is, how to go on, and that it is up to date', () => {
  const top = start({ hosts: [host('h1')], vwns: [vwn(1, { state: 'busy', job: 'h1-1', user: 'alice' }), vwn(2, { paused: true })], jobs: [job(1)] })
  expect(text(top)).toBe(`1 hosts | 2 VWNs: 1 busy, 1 idle | 1 jobs: 1 running                        live
 1 hosts  [2 vwns]  3 jobs   by VWN
  VWN    HOST    TYPE      STATE              SINCE  USER      JOB       CAUSE
> v1     h2      standard  busy               1.0 s  alice     h1-1      -
  v2     h1      standard  idle, paused       2.0 s  -         -         -






q quit  ? help  tab view  enter more  / filter  < > sort  r reverse
`)
})

test('three views', () => {
  const top = start({ hosts: [host('h1'), host('h2', { fact: 'silent', broken: 'no QEMU' })], vwns: [vwn(1)], jobs: [job(1), job(2, { state: 'waiting', vwn: null, why: 'no room on h1' })] })
  expect(text(press(top, 'tab').top)).toMatch(/\[3 jobs\].*\n.*JOB .*\n> h1-1 .* alice .*running.*\n {2}h1-2 .*waiting.*no room on h1\n/)
  expect(text(press(top, '1').top)).toMatch(/\[1 hosts\].*\n.*HOST .*\n> h1 +open +alive +2\/8 +512M\/16G .* 0 +2 +-\n {2}h2 +open +silent .*no QEMU\n/)
  expect(press(top, 'backtab').top.view).toBe('hosts')
})

test('what changes is taken in, and what is gone goes', () => {
  const top = start({ vwns: [vwn(1), vwn(2)], jobs: [job(1)] })
  const { top: next } = step(top, { is: 'changes', farm: farm(2, { vwns: [vwn(1, { state: 'gone' }), vwn(3, { state: 'booting' })], jobs: [job(1, { state: 'ended', outcome: { is: 'exited', code: 0 } })] }) })
  expect([next.ids, next.rows.jobs.size]).toEqual([['v2', 'v3'], 0])
  expect(step(next, { is: 'farm', farm: farm(9, { vwns: [vwn(7)] }) }).top.ids).toEqual(['v7'])
})

test('the chosen row stays chosen while others come and go; at the top one stays at the top', () => {
  const top = start({ vwns: [vwn(5), vwn(6), vwn(7)] })
  const more = farm(2, { vwns: [vwn(1)] })
  expect(marked(step(top, { is: 'changes', farm: more }).top)).toBe('v1')
  const chosen = press(top, 'down').top
  expect(marked(step(chosen, { is: 'changes', farm: more }).top)).toBe('v6')
  const without = step(chosen, { is: 'changes', farm: farm(2, { vwns: [vwn(6, { state: 'gone' })] }) }).top
  expect(marked(without)).toBe('v7')
})

test('a long list scrolls, and the chosen row is on the screen', () => {
  const top = start({ vwns: Array.from({ length: 100 }, (_, i) => vwn(i + 1)) })
  expect([press(top, 'end').top, press(top, 'pgdn').top, press(top, 'G', 'up').top, press(top, 'end', 'home').top, press(top, 'j', 'j', 'k').top].map(marked)).toEqual(['v100', 'v9', 'v99', 'v1', 'v2'])
})

test('a filter is typed, kept, and taken back', () => {
  const top = start({ vwns: [vwn(1, { user: 'alice' }), vwn(2, { user: 'bob' }), vwn(12, { user: 'bob', state: 'busy' })] })
  const typing = press(top, '/', 'b', 'o', 'b').top
  expect(typing.ids).toEqual(['v2', 'v12'])
  expect(text(typing)).toContain('/bob_  enter keeps')
  expect(press(typing, ' ', 'B', 'U', 'S', 'Y').top.ids).toEqual(['v12'])
  expect(press(typing, 'q').asks).toEqual([])
  expect(press(typing, 'back', 'back', 'back').top.ids).toEqual(['v1', 'v2', 'v12'])
  expect(press(typing, 'esc').top.ids).toEqual(['v1', 'v2', 'v12'])
  const kept = press(typing, 'enter').top
  expect(text(kept)).toContain('2 of 3 with bob')
  expect(text(press(kept, '/', 'x', 'enter').top)).toContain('no row has bobx')
  expect(press(kept, 'esc').top.ids).toEqual(['v1', 'v2', 'v12'])
})

test('rows are ordered by any column, either way, and what is not there comes last', () => {
  const top = start({ vwns: [vwn(1), vwn(2, { user: 'bob', cpus: 1 }), vwn(10, { user: 'alice', cpus: 16 })] })
  const by = (column: string, more: readonly string[] = []) => {
    let now = top
    while (!text(now).includes(`by ${column}`)) now = press(now, '>').top
    return press(now, ...more).top.ids
  }
  expect(by('USER')).toEqual(['v10', 'v2', 'v1'])
  expect(by('CPUS')).toEqual(['v2', 'v1', 'v10'])
  expect(by('CPUS', ['r'])).toEqual(['v10', 'v1', 'v2'])
  expect(by('USER', ['r'])).toEqual(['v2', 'v10', 'v1'])
  expect(by('SINCE')).toEqual(['v1', 'v2', 'v10'])
  expect(text(press(top, '<').top)).toContain('by CAUSE')
})

test('a row is looked at in full, again when it changes, and left', () => {
  const top = start({ vwns: [vwn(1), vwn(2)] })
  const open = press(top, 'down', 'enter')
  expect(open.asks).toEqual([{ do: 'look', view: 'vwns', id: 'v2' }])
  const told = step(open.top, { is: 'looked', view: 'vwns', id: 'v2', text: 'vwn  v2\nstate \u001b[31mbusy\n' }).top
  expect(text(told)).toMatch(/^VWN V2\nvwn {2}v2\nstate {2}\[31mbusy\n/m)
  expect(step(told, { is: 'looked', view: 'vwns', id: 'v1', text: 'other' }).top).toBe(told)
  expect(step(told, { is: 'changes', farm: farm(2, { vwns: [vwn(2, { state: 'gone' })] }) }).asks).toEqual([{ do: 'look', view: 'vwns', id: 'v2' }])
  expect(step(told, { is: 'changes', farm: farm(2, { vwns: [vwn(1)] }) }).asks).toEqual([])
  expect(press(told, 'esc').top.open).toBeNull()
})

test('a long text scrolls no further than to its end', () => {
  const open = press(start({ vwns: [vwn(1)] }), 'enter').top
  const told = step(open, { is: 'looked', view: 'vwns', id: 'v1', text: Array.from({ length: 30 }, (_, i) => `line ${i + 1}`).join('\n') }).top
  expect(text(press(told, 'end').top)).toMatch(/line 23\n(.*\n){6}line 30\n/)
  expect(text(press(told, 'end', 'pgdn', 'up').top)).toMatch(/^line 22\n/m)
})

test('a controller that is away is seen, for how long, and that it is back', () => {
  const top = step(start({ vwns: [vwn(1)] }), { is: 'lost', why: 'the controller does not answer' }).top
  const later = step(step(top, { is: 'clock', nowMs: nowMs + 12_000 }).top, { is: 'lost', why: 'the controller does not answer' }).top
  expect(text(later)).toMatch(/^the controller does not answer +STALE 12\.0 s\n/)
  expect(text(later)).toContain('13.0 s')
  expect(text(step(later, { is: 'heard', nowMs: nowMs + 13_000 }).top)).toMatch(/live\n/)
})

test.each([['q', 'quit'], ['ctrl-c', 'quit'], ['ctrl-z', 'suspend'], ['ctrl-l', 'redraw']])('%s asks for: %s', (word, wanted) => {
  const top = start({ vwns: [vwn(1)] })
  expect(press(top, word).asks).toEqual([{ do: wanted }])
  if (word !== 'q') expect(press(top, '/', word).asks).toEqual([{ do: wanted }])
})

test('the keys are explained', () => {
  const helped = press(start({}), '?').top
  expect(text(helped)).toContain('up down, j k    one row')
  expect(text(press(helped, 'j').top)).toMatch(/^none$/m)
})

const hostile = fc.string({ unit: fc.constantFrom('\u001b[2J', '\u009b', '漢', '👩\u200d👩', '\n', '\u202e', 'a', ' ', '-', 'e\u0301') })
const anyFarm = fc.record({
  hosts: fc.array(fc.integer({ min: 1, max: 3 }).map((n) => host(`h${n}`)), { maxLength: 2 }),
  vwns: fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.constantFrom(...vwnStates), hostile).map(([n, state, cause]) => vwn(n, { state, cause })), { maxLength: 12 }),
  jobs: fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), hostile, fc.boolean()).map(([n, name, ended]) => job(n, { name, user: name, state: ended ? 'ended' : 'running' })), { maxLength: 5 }),
})
const anyEvent: fc.Arbitrary<TopEvent> = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...Object.keys(named), ...'qjkgGr/<>?123 abv'.split(''), '漢').map(key) },
  { weight: 1, arbitrary: hostile.map(key) },
  { weight: 2, arbitrary: anyFarm.map((rows): TopEvent => ({ is: 'changes', farm: farm(2, rows) })) },
  { weight: 1, arbitrary: anyFarm.map((rows): TopEvent => ({ is: 'farm', farm: farm(3, rows) })) },
  { weight: 1, arbitrary: fc.constantFrom<TopEvent>({ is: 'lost', why: 'a\u001b[1mway' }, { is: 'heard', nowMs: nowMs + 1 }, { is: 'clock', nowMs: nowMs + 99_999 }) },
  { weight: 1, arbitrary: fc.record({ rows: fc.integer({ min: 0, max: 30 }), columns: fc.integer({ min: 0, max: 100 }) }).map((some): TopEvent => ({ is: 'resize', size: some })) },
  { weight: 2, arbitrary: fc.tuple(fc.integer({ min: 1, max: 5 }), hostile).map(([n, said]): TopEvent => ({ is: 'looked', view: 'vwns', id: `v${n}`, text: said })) },
)

test('whatever is pressed and whatever comes, there are never more lines than rows, none is wider than the terminal, and none does anything to it', () => {
  fc.assert(fc.property(anyFarm, fc.array(anyEvent, { maxLength: 30 }), (rows, events) => {
    let top = start(rows, { rows: 24, columns: 80 })
    for (const event of events) {
      top = step(top, event).top
      const coloured = linesOf(top, true)
      expect(coloured.map(stripVTControlCharacters)).toEqual(linesOf(top, false))
      expect(coloured.length).toBeLessThanOrEqual(top.size.rows)
      for (const line of linesOf(top, false)) {
        expect(cells(line)).toBeLessThanOrEqual(top.size.columns)
        expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u)
      }
      const chosen = top.ids[top.looks[top.view].cursor.index]
      if (top.ids.length > 0) expect(chosen).toBeDefined()
      if (chosen !== undefined && top.open === null && !top.help && top.size.rows > 1 && top.size.columns > 20) expect(marked(top)).toBe(chosen)
    }
  }), { numRuns: 60 })
})
