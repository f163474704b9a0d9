import { expect, test } from 'vitest'
import { vwnState } from '../../cli/show/words.ts'
import fc from 'fast-check'
import { stripVTControlCharacters } from 'node:util'
import { facts, roll, table, type Column, type Paper } from '../../cli/table.ts'
import { duration } from '../../core/words.ts'
import { harmless, plain, safeJson } from '../../kit/plain.ts'
import { cells, fit, pad, wantsColour } from '../../cli/text.ts'

const wide = (width: number): Paper => ({ width, colour: false })

interface Row { readonly id: string; readonly n: number | null; readonly why: string }
const columns: readonly Column<Row>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'CPUS', cell: (row) => row.n, right: true },
  { title: 'WHY', cell: (row) => row.why, cut: true },
]
const rows: readonly Row[] = [
  { id: 'h1', n: 2, why: 'there is room' },
  { id: 'host-with-a-name', n: null, why: 'Ünïcode ✓ and a\nline break' },
]

test('a table is as wide as its widest cells', () => {
  expect(table(columns, rows, roll)).toBe(
    'ID                CPUS  WHY\n' +
    'h1                   2  there is room\n' +
    'host-with-a-name     -  Ünïcode ✓ and a line break\n',
  )
})

test('in a narrow terminal the columns that may be cut are cut, and no other unless it must be', () => {
  const lines = table(columns, rows, wide(36)).trimEnd().split('\n')
  expect(lines).toEqual(['ID                CPUS  WHY', 'h1                   2  there is ro…', 'host-with-a-name     -  Ünïcode ✓ a…'])
  expect(table(columns, rows, wide(30))).toContain('host-with-a-name     -  Ünïco…')
})

test('columns that can be spared go first, the least important one before the others', () => {
  const sparing: readonly Column<Row>[] = [
    { title: 'ID', cell: (row) => row.id },
    { title: 'CPUS', cell: (row) => row.n, right: true, spare: 1 },
    { title: 'WHY', cell: (row) => row.why, cut: true, spare: 2 },
  ]
  const header = (width: number): string => table(sparing, rows, wide(width)).split('\n')[0] ?? ''
  expect([60, 38, 30, 18, 9].map(header)).toEqual(['ID                CPUS  WHY', 'ID                CPUS  WHY', 'ID                CPUS', 'ID', 'ID'])
  expect(table(sparing, rows, wide(9))).toBe('ID\nh1\nhost-wit…\n')
})

const hostile = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: fc.constantFrom('\u001b[31m', '\u001b]0;title\u0007', '\u009b2J', '\r', '\n', '\u2028', '\u202e', '\u200d', '\ufe0f', '漢', 'e\u0301', '👩\u200d👩', 'ｆ', '\ud800', 'a', ' ') }),
)
// A control that is no end of line, a change of direction or a separator; what styles are made of is taken out before.
const harm = /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u

test('whatever is in a cell, a table has one line for each row, none wider than the terminal, and nothing that a terminal would obey', () => {
  const any: readonly Column<string>[] = [
    { title: 'A', cell: (text) => text, cut: true, tone: () => 'bad' },
    { title: 'LONGER', cell: (text) => text.length, right: true, spare: 1 },
    { title: 'B', cell: (text) => text },
  ]
  fc.assert(fc.property(fc.array(hostile, { maxLength: 5 }), fc.integer({ min: 1, max: 100 }), fc.boolean(), (texts, width, colour) => {
    const text = table(any, texts, { width, colour })
    const lines = (colour ? stripVTControlCharacters(text) : text).split('\n')
    expect(lines).toHaveLength(texts.length + 2)
    for (const line of lines) {
      expect(cells(line)).toBeLessThanOrEqual(width)
      expect(line).not.toMatch(harm)
    }
    expect(facts(texts.map((text) => [text, text]))).not.toMatch(harm)
  }))
})

test('JSON for a terminal is the same JSON', () => {
  fc.assert(fc.property(hostile, (text) => {
    expect(safeJson({ text }, 2)).not.toMatch(harm)
    expect(JSON.parse(safeJson({ text }))).toEqual({ text })
  }))
})

test.each([
  ['debian12', 8], ['漢字', 4], ['ｆｕｌｌ', 8], ['e\u0301', 1], ['한글', 4], ['✓', 1], ['🚀', 2], ['', 0],
])('%s takes %i cells', (text, width) => {
  expect(cells(text)).toBe(width)
  expect(cells(pad(text, 10))).toBe(10)
})

test('a wide character that would stand half outside is left out', () => {
  expect([fit('漢字漢字', 6), fit('漢字漢字', 5), pad('漢字漢字', 4), fit('漢字', 0)]).toEqual(['漢字…', '漢字…', '漢… ', ''])
})

test('a name hides nothing, rings no bell, and leaves alone what stands beside it', () => {
  expect(plain('a\u202eb\u001b[2Jc\r\nd\u200be\u0007')).toBe('ab [2Jc de ')
  expect(harmless('\u001b[31mred\u001b[0m\ttab\r\n\u0007bell\u001b]0;title\u0007.\u009b')).toBe('red\ttab\nbell.')
})

test('there is colour on a terminal alone, and not where it is not wanted', () => {
  expect([[true, {}], [true, { NO_COLOR: '' }], [false, {}], [true, { NO_COLOR: '1' }], [true, { TERM: 'dumb' }]].map(([tty, env]) => wantsColour(tty as boolean, env as NodeJS.ProcessEnv)))
    .toEqual([true, true, false, false, false])
  const red: readonly Column<Row>[] = [{ title: 'ID', cell: (row) => row.id, tone: () => 'bad' }]
  expect(table(red, rows.slice(0, 1), { width: null, colour: true })).toBe('\u001b[1mID\u001b[22m\n\u001b[31mh1\u001b[39m\n')
  expect(table(red, rows.slice(0, 1), roll)).toBe('ID\nh1\n')
})

test('an empty table is its header', () => {
  expect(table(columns, [], wide(80))).toBe('ID  CPUS  WHY\n')
})

test('a thing is lines of names and values', () => {
  expect(facts([['host', 'h1'], ['free cpus', 3], ['cause', null]])).toBe('host       h1\nfree cpus  3\ncause      -\n')
})

test('a VWN that stands still says so beside its state', () => {
  expect([vwnState({ state: 'idle', paused: true }), vwnState({ state: 'busy', paused: false })]).toEqual(['idle, paused', 'busy'])
})

test.each([
  [0, '0 ms'], [999.4, '999 ms'], [6_240, '6.2 s'], [59_960, '1 min 0 s'], [185_000, '3 min 5 s'],
  [2 * 3_600_000 + 14 * 60_000, '2 h 14 min'], [74 * 3_600_000, '3 d 2 h'], [null, '-'],
])('%s ms reads as %s', (ms, words) => {
  expect(duration(ms)).toBe(words)
})
