/** A listing as people read it: columns as wide as they must be, cut with an ellipsis only where a terminal is too narrow. */

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => string | number | null
  /** Numbers stand right. */
  readonly right?: boolean
  /** May be cut when the terminal is too narrow; the last such column gives way first. */
  readonly cut?: boolean
}

const gap = '  '
const narrowest = 6

/** The lines of the table, header first; `width` null is as wide as it gets. */
export function table<Row>(columns: readonly Column<Row>[], rows: readonly Row[], width: number | null): string {
  const cells = rows.map((row) => columns.map((column) => plain(column.cell(row))))
  const widths = columns.map((column, i) => Math.max(column.title.length, ...cells.map((line) => lengthOf(line[i] ?? ''))))
  if (width !== null) narrow(columns, widths, width)
  const line = (texts: readonly string[]): string =>
    columns.map((column, i) => pad(fit(texts[i] ?? '', widths[i] ?? 0), widths[i] ?? 0, column.right ?? false)).join(gap).trimEnd()
  return [line(columns.map((column) => column.title)), ...cells.map(line)].map((text) => `${text}\n`).join('')
}

/** `name  value` lines for one thing. */
export function facts(pairs: readonly (readonly [string, string | number | null])[]): string {
  const width = Math.max(0, ...pairs.map(([name]) => name.length))
  return pairs.map(([name, value]) => `${name.padEnd(width)}${gap}${plain(value)}`.trimEnd() + '\n').join('')
}

function narrow<Row>(columns: readonly Column<Row>[], widths: number[], width: number): void {
  let over = widths.reduce((sum, one) => sum + one, 0) + gap.length * (columns.length - 1) - width
  for (let i = columns.length - 1; i >= 0 && over > 0; i -= 1) {
    const [column, now] = [columns[i], widths[i] ?? 0]
    if (column?.cut !== true) continue
    const least = Math.max(narrowest, column.title.length)
    const give = Math.min(over, Math.max(0, now - least))
    widths[i] = now - give
    over -= give
  }
}

/** What came from elsewhere must not move the cursor or break the line. */
const plain = (value: string | number | null): string => (value === null ? '-' : String(value).replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' '))

const lengthOf = (text: string): number => [...text].length
const fit = (text: string, width: number): string => (lengthOf(text) <= width ? text : `${[...text].slice(0, Math.max(0, width - 1)).join('')}…`)
const pad = (text: string, width: number, right: boolean): string => {
  const fill = ' '.repeat(Math.max(0, width - lengthOf(text)))
  return right ? fill + text : text + fill
}
