/** How large the farm's memory has become. */
import type { Database } from '../open.ts'
import { statement, type Row } from '../statement.ts'

const rows = statement<Row & { jobs: number; vwns: number }>('select (select count(*) from job) as jobs, (select count(*) from vwn) as vwns')
const pages = statement<Row & { bytes: number }>('select page_count * page_size as bytes from pragma_page_count, pragma_page_size')

export interface HistorySize {
  readonly rows: { readonly jobs: number; readonly vwns: number }
  readonly bytes: number
}

/** Rows of what lives and of what is history, and the size of it all. */
export function historySize(db: Database): HistorySize {
  const { jobs = 0, vwns = 0 } = rows(db).get() ?? {}
  return { rows: { jobs, vwns }, bytes: pages(db).get()?.bytes ?? 0 }
}
