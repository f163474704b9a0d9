/** Where the reader is: which page, of what, at which moment, filtered how. All of it is in the address, so a link shows the same. */
import { filterFields, type Filter } from './filter.ts'
import { spans } from './times.ts'

export const pages = ['farm', 'vwn', 'job', 'types', 'times'] as const
export type Page = (typeof pages)[number]

export interface Place {
  readonly page: Page
  /** Of the VWN or job shown. */
  readonly id: string | null
  /** The moment shown; null: now. */
  readonly atMs: number | null
  /** How far back times are told; null: as far as usual. */
  readonly hours: number | null
  readonly filter: Filter
}

/** The place that an address names; what it does not understand is left out. */
export function placeOf(search: string): Place {
  const query = new URLSearchParams(search)
  const page = pages.find((one) => one === query.get('page')) ?? 'farm'
  const atMs = Number(query.get('at') ?? NaN)
  const filter = Object.fromEntries(filterFields.flatMap((field) => {
    const value = query.get(field)
    return value === null || value === '' ? [] : [[field, value]]
  }))
  return { page, id: query.get('id'), atMs: Number.isSafeInteger(atMs) && atMs > 0 ? atMs : null, hours: spans.find((span) => String(span) === query.get('hours')) ?? null, filter }
}

/** The address of a place, without the host. */
export function addressOf({ page, id, atMs, hours, filter }: Place): string {
  const query = new URLSearchParams()
  if (page !== 'farm') query.set('page', page)
  if (id !== null) query.set('id', id)
  if (atMs !== null) query.set('at', String(atMs))
  if (hours !== null) query.set('hours', String(hours))
  for (const field of filterFields) if (filter[field]) query.set(field, filter[field])
  const text = query.toString()
  return text === '' ? '/' : `/?${text}`
}
