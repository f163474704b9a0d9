import { expect, test } from 'vitest'
import { vwnState } from '../../cli/show/words.ts'
import { facts, table, type Column } from '../../cli/table.ts'
import { duration } from '../../core/words.ts'

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
  expect(table(columns, rows, null)).toBe(
    'ID                CPUS  WHY\n' +
    'h1                   2  there is room\n' +
    'host-with-a-name     -  Ünïcode ✓ and a line break\n',
  )
})

test('in a narrow terminal the columns that may be cut are cut, and no other', () => {
  const lines = table(columns, rows, 36).trimEnd().split('\n')
  expect(lines).toEqual(['ID                CPUS  WHY', 'h1                   2  there is ro…', 'host-with-a-name     -  Ünïcode ✓ a…'])
  expect(table(columns, rows, 5)).toContain('host-with-a-name     -  Ünïco…')
})

test('an empty table is its header', () => {
  expect(table(columns, [], 80)).toBe('ID  CPUS  WHY\n')
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
