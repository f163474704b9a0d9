/**
 * Where on its host's tile a VWN is drawn: a rectangle of cells, as large as its share of the host. One that is drawn stays where it is
 * while others come and go, so that nobody clicks the wrong one; only when a new one finds no room are all placed anew.
 */
import type { Amount } from '../../core/amount.ts'

export interface Block {
  readonly column: number
  readonly row: number
  readonly columns: number
  readonly rows: number
}

export interface Layout {
  /** Cells of the tile; finer where the host has many small VWNs. */
  readonly columns: number
  readonly rows: number
  readonly blocks: ReadonlyMap<string, Block>
}

const coarse = { columns: 12, rows: 4 } as const
/** Shares round up to whole cells, so a full host may need finer ones. */
const shrink = 0.8

export const noLayout: Layout = { ...coarse, blocks: new Map() }

/** What a VWN takes of its host: of what it takes most of. */
export function shareOf({ cpus, memoryMib }: Pick<Amount, 'cpus' | 'memoryMib'>, capacity: Pick<Amount, 'cpus' | 'memoryMib'>): number {
  return Math.min(1, Math.max(cpus / Math.max(1, capacity.cpus), memoryMib / Math.max(1, capacity.memoryMib)))
}

/** Every one of them somewhere, none over another, none outside; what was drawn before stays if it can. */
export function layOut(before: Layout, shares: ReadonlyMap<string, number>): Layout {
  const kept = new Map([...before.blocks].filter(([id]) => shares.has(id)))
  const added = addAll(before, kept, shares, 1)
  if (added !== null) return added
  for (let fine = 1, fill = 1; ; fine *= 2, fill *= shrink) {
    const anew = addAll({ columns: coarse.columns * fine, rows: coarse.rows * fine }, new Map(), shares, fill)
    if (anew !== null) return anew
  }
}

type Grid = Pick<Layout, 'columns' | 'rows'>
type Size = Pick<Block, 'columns' | 'rows'>

function addAll(grid: Grid, kept: ReadonlyMap<string, Block>, shares: ReadonlyMap<string, number>, fill: number): Layout | null {
  const blocks = new Map(kept)
  for (const [id, share] of shares) {
    if (blocks.has(id)) continue
    const room = firstRoom(grid, [...blocks.values()], sizeOf(grid, share * fill))
    if (room === null) return null
    blocks.set(id, room)
  }
  return { columns: grid.columns, rows: grid.rows, blocks }
}

/** As many cells as the share says, at least one: few of them to spare, and rather twice as wide as high than a strip. */
function sizeOf({ columns, rows }: Grid, share: number): Size {
  const cells = Math.max(1, Math.floor(share * columns * rows))
  const sizes = Array.from({ length: rows }, (_, index) => ({ rows: index + 1, columns: Math.ceil(cells / (index + 1)) })).filter((size) => size.columns <= columns)
  const ugliness = (size: Size): number => (size.rows * size.columns) / cells + Math.abs(Math.log2(size.columns / size.rows) - 1) / 5
  return sizes.reduce((best, size) => (ugliness(size) < ugliness(best) ? size : best))
}

function firstRoom(grid: Grid, taken: readonly Block[], size: Size): Block | null {
  for (let row = 0; row + size.rows <= grid.rows; row += 1) {
    for (let column = 0; column + size.columns <= grid.columns; column += 1) {
      const block = { column, row, ...size }
      if (!taken.some((other) => overlap(block, other))) return block
    }
  }
  return null
}

/** Whether two blocks share a cell. */
export const overlap = (a: Block, b: Block): boolean =>
  a.column < b.column + b.columns && b.column < a.column + a.columns && a.row < b.row + b.rows && b.row < a.row + a.rows
