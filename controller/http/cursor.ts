/** Lists page by page: a page says where it ended, and the next one begins behind that, whatever has come in front meanwhile. */
import { z } from 'zod'
import { VwnError } from '../../core/errors.ts'
import type { Place } from '../../db/queries/past.ts'
import { timeMsSchema } from '../../wire/common.ts'

const placeSchema = z.tuple([timeMsSchema, z.string()])

/** One page of rows, and the cursor of the next one; null where this is the last. `list` is asked for one row more than the page has. */
export function page<T>(limit: number, list: (limit: number) => readonly T[], placeOf: (row: T) => Place): { readonly rows: readonly T[]; readonly next: string | null } {
  const found = list(limit + 1)
  const rows = found.slice(0, limit)
  const last = rows.at(-1)
  if (found.length <= limit || last === undefined) return { rows, next: null }
  const { atMs, id } = placeOf(last)
  return { rows, next: Buffer.from(JSON.stringify([atMs, id])).toString('base64url') }
}

/** Where the page ended that this cursor came with; REQUEST_INVALID. */
export function afterCursor(cursor: string | undefined): { readonly afterMs: number; readonly afterId: string } | undefined {
  if (cursor === undefined) return undefined
  const place = placeSchema.safeParse(jsonIn(Buffer.from(cursor, 'base64url').toString('utf8'))).data
  if (place === undefined) throw new VwnError('REQUEST_INVALID', { parameter: 'cursor', problem: 'not the `next` of a page', cursor: cursor.slice(0, 100) })
  return { afterMs: place[0], afterId: place[1] }
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return null
  }
}
