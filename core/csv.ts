/** Lines of comma-separated values that are safe to open: a text stays a text, whatever is in it. */

/** A value of a line. */
export type CsvCell = string | number | boolean | null

/** One line, ended as RFC 4180 asks for. Null is an empty field. */
export const csvLine = (cells: readonly CsvCell[]): string => `${cells.map(csvField).join(',')}\r\n`

/** What spreadsheets take for the beginning of a formula; a number of ours is none. */
const formula = /^[=+\-@\t\r]/

function csvField(cell: CsvCell): string {
  if (cell === null) return ''
  const text = typeof cell === 'string' && formula.test(cell) ? `'${cell}` : String(cell)
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
