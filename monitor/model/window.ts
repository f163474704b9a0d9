/** Which part of a long grid of equal boxes is on the screen: only that is drawn. */

export interface Box {
  readonly width: number
  readonly height: number
}

export interface Seen {
  readonly columns: number
  /** Of the whole grid, so that the scroll bar is true. */
  readonly heightPx: number
  readonly first: number
  /** One past the last. */
  readonly end: number
  /** Where the first row drawn begins. */
  readonly topPx: number
}

/** Rows drawn beyond each edge, so that scrolling shows no gap. */
const spare = 1

/** What to draw of `count` boxes (their gaps included) in a view this large, scrolled this far. */
export function seen(count: number, box: Box, view: Box & { readonly scrollPx: number }): Seen {
  const columns = Math.max(1, Math.floor(view.width / box.width))
  const rows = Math.ceil(count / columns)
  const firstRow = Math.min(Math.max(0, Math.floor(view.scrollPx / box.height) - spare), Math.max(0, rows - 1))
  const endRow = Math.min(rows, Math.ceil((view.scrollPx + view.height) / box.height) + spare)
  return { columns, heightPx: rows * box.height, first: firstRow * columns, end: Math.max(Math.min(count, endRow * columns), 0), topPx: firstRow * box.height }
}
