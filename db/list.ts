/** Pages of rows, newest first. One statement for each set of filters, so that each is answered from the index that is made for it. */
import type { Database } from './open.ts'
import { given, statement, type Row } from './statement.ts'

/** Where a page of a list begins, and how long it is. */
export interface PageAsked {
  /** Where the page before ended. */
  readonly afterMs?: number | undefined
  readonly afterId?: string | undefined
  readonly limit: number
}

interface Listed {
  /** The column by which rows are young or old; ids, whose numbers grow, break ties. */
  readonly at: string
  /** What a filter of this name asks of a row. */
  readonly conditions: Readonly<Record<string, string>>
}

/** Lists the rows of a table that meet the conditions of all filters that have a value. */
export function filtered<R extends Row>(table: string, { at, conditions }: Listed): (db: Database, filter: PageAsked & Readonly<Record<string, unknown>>) => R[] {
  const statements = new Map<string, ReturnType<typeof statement<R>>>()
  return (db, filter) => {
    const { afterMs, afterId = '', ...asked } = given(filter)
    const where = Object.entries(conditions).flatMap(([name, condition]) => (name in asked ? [condition] : []))
    if (afterMs !== undefined) where.push(`${at} <= @afterMs and (${at}, length(id), id) < (@afterMs, length(@afterId), @afterId)`)
    const text = `select * from ${table} ${where.length === 0 ? '' : `where ${where.join(' and ')}`} order by ${at} desc, length(id) desc, id desc limit @limit`
    const list = statements.get(text) ?? statement<R>(text)
    statements.set(text, list)
    const named = Object.fromEntries(Object.entries(asked).filter(([, value]) => value !== true))
    return list(db).all({ ...named, ...(afterMs !== undefined && { afterMs, afterId }) })
  }
}
