/**
 * A listing as people read it. Where the terminal is too narrow the columns that can be spared go, the least important first; then long
 * cells are cut with an ellipsis. Elsewhere it is whole.
 */
import { plain } from '../kit/plain.ts'
import { cells, pad, painted, type Tone } from './text.ts'

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string | number | null
  /** Numbers stand right. */
  readonly right?: boolean
  /** May be cut when the terminal is too narrow; the last such column gives way first. */
  readonly cut?: boolean
  /** May be left out when the terminal is too narrow; those with the highest number go first. */
  readonly spare?: number
  /** At least so wide, so that it stands still while what is in it changes. */
  readonly least?: number
  readonly tone?: (row: Row) => Tone | undefined
}

/** What a table is written on. */
export interface Paper {
  /** Columns of the terminal, or null where output goes elsewhere. */
  readonly width: number | null
  readonly colour: boolean
}

/** Paper without an edge. */
export const roll: Paper = { width: null, colour: false }

/** A table in parts, for those who show only some of its rows. */
export interface Laid {
  readonly header: string
  readonly lines: readonly string[]
}

const gap = '  '
const narrowest = 6
/** A column that may be cut is left this wide before others are left out for it. */
const legible = 14

/** The lines of the table, header first. */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], paper: Paper): string {
  const { header, lines } = lay(columns, rows, paper)
  return [header, ...lines].map((line) => `${line}\n`).join('')
}

/** Header and lines, none wider than the paper. */
export function lay<Row>(columns: readonly Column<Row>[], rows: readonly Row[], { width, colour }: Paper): Laid {
  const all = columns.map((column) => {
    const texts = rows.map((row) => cellText(column.cell(row)))
    return { column, texts, width: texts.reduce((most, text) => Math.max(most, cells(text)), Math.max(column.title.length, column.least ?? 0)) }
  })
  const shown = width === null ? all : clipped(narrowed(spared(all, width), width), width)
  const line = (cellOf: (one: (typeof shown)[number]) => { text: string; tone: Tone | undefined }): string =>
    shown.map((one, i) => {
      const { text, tone } = cellOf(one)
      const padded = pad(text, one.width, one.column.right)
      return painted(i === shown.length - 1 ? padded.trimEnd() : padded, tone, colour)
    }).join(gap).trimEnd()
  return {
    header: line(({ column }) => ({ text: column.title, tone: 'title' })),
    lines: rows.map((row, i) => line(({ column, texts }) => ({ text: texts[i] ?? '', tone: column.tone?.(row) }))),
  }
}

/** `name  value` lines for one thing. */
export function facts(pairs: readonly (readonly [string, string | number | null])[]): string {
  const width = Math.max(0, ...pairs.map(([name]) => name.length))
  return pairs.map(([name, value]) => `${plain(name).padEnd(width)}${gap}${cellText(value)}`.trimEnd() + '\n').join('')
}

/** Bytes as a person reads them. */
export const mebibytes = (bytes: number | null | undefined): string => (bytes === null || bytes === undefined ? '-' : `${(bytes / 1024 ** 2).toFixed(1)} MiB`)

interface Sized<Row> {
  readonly column: Column<Row>
  readonly texts: readonly string[]
  readonly width: number
}

const total = (columns: readonly { readonly width: number }[]): number =>
  columns.reduce((sum, { width }) => sum + width, 0) + gap.length * Math.max(0, columns.length - 1)

/** Without the columns that leave no room for the others. */
function spared<Row>(columns: readonly Sized<Row>[], width: number): readonly Sized<Row>[] {
  let kept = columns
  const least = (): number => total(kept.map(({ column, width: own }) => ({ width: column.cut === true ? Math.min(own, Math.max(legible, column.title.length)) : own })))
  const order = columns.filter(({ column }) => column.spare !== undefined).sort((a, b) => (b.column.spare ?? 0) - (a.column.spare ?? 0))
  for (const going of order) {
    if (least() <= width) break
    kept = kept.filter((one) => one !== going)
  }
  return kept
}

/** With the columns that may be cut as narrow as they must be. */
function narrowed<Row>(columns: readonly Sized<Row>[], width: number): readonly Sized<Row>[] {
  let over = total(columns) - width
  return columns.toReversed().map((one) => {
    const give = one.column.cut === true ? Math.max(0, Math.min(over, one.width - Math.max(narrowest, one.column.title.length))) : 0
    over -= give
    return { ...one, width: one.width - give }
  }).toReversed()
}

/** Where even that is too wide, as many columns as there is room for, and a piece of the next. */
function clipped<Row>(columns: readonly Sized<Row>[], width: number): readonly Sized<Row>[] {
  let left = width
  return columns.flatMap((one) => {
    const own = Math.min(one.width, left)
    left -= own + gap.length
    return own > 0 ? [{ ...one, width: own }] : []
  })
}

const cellText = (value: string | number | null): string => (value === null ? '-' : plain(String(value)))
