/**
 * `wnod accounting`: what jobs have used, for people and for whoever does the accounts.
 *
 * Export and acknowledgement are a pair. An export begins behind the last record that was acknowledged and writes its file whole or not at all;
 * only the acknowledgement moves that mark. Killed at any moment between, the next export has the same records again, under the same numbers.
 */
import { sumsBy, type AccountingRecord, type Sum, type SumKey } from '../core/accounting.ts'
import { csvLine } from '../core/csv.ts'
import { VwnError } from '../core/errors.ts'
import { usageRecord, usageRecordsHead, usageRecordsTail } from '../core/usage-record.ts'
import { writeAtomic } from '../kit/atomic-file.ts'
import { accountingRecordSchema, accountingReplySchema, acknowledgedSchema } from '../wire/accounting.ts'
import type { Query } from './client.ts'
import { show, type Context } from './context.ts'
import { duration, moment } from '../core/words.ts'
import { facts, mebibytes, table, type Column } from './table.ts'

/** What records are printed as. */
export const recordFormats = ['jsonl', 'csv', 'ur'] as const
export type RecordFormat = (typeof recordFormats)[number]

interface Batch {
  readonly farm: string
  readonly records: readonly AccountingRecord[]
}

/** Records page by page, as many as there are. */
async function* batches({ api }: Context, query: Query): AsyncGenerator<Batch> {
  for (let after = query['after']; ; ) {
    const { next, ...batch } = await api.get('/accounting', accountingReplySchema, { ...query, after })
    yield batch
    if (next === null) return
    after = next
  }
}

const columns: readonly Column<AccountingRecord>[] = [
  { title: 'RECORD', cell: ({ record }) => record, right: true },
  { title: 'JOB', cell: ({ job }) => job },
  { title: 'BATCH', cell: ({ batchJobId }) => batchJobId, cut: true },
  { title: 'USER', cell: ({ user }) => user, cut: true },
  { title: 'GROUP', cell: ({ group }) => group, cut: true },
  { title: 'PROJECT', cell: ({ project }) => project, cut: true },
  { title: 'TYPE', cell: ({ type }) => type },
  { title: 'ENDED', cell: ({ endedAtMs }) => moment(endedAtMs) },
  { title: 'WALL', cell: ({ wallMs }) => duration(wallMs), right: true },
  { title: 'RUN', cell: ({ runMs }) => duration(runMs), right: true },
  { title: 'OVERHEAD', cell: ({ overheadMs }) => duration(overheadMs), right: true },
  { title: 'CPU', cell: ({ cpuUserMs, cpuSystemMs }) => (cpuUserMs === null ? null : duration(cpuUserMs + (cpuSystemMs ?? 0))), right: true },
  { title: 'MEMORY', cell: ({ memoryPeakBytes }) => mebibytes(memoryPeakBytes), right: true },
  { title: 'CAUSE', cell: causeWords, cut: true },
]

/** How it ended, with the number or name that goes with it. */
function causeWords({ cause, exitCode, signal, failure }: AccountingRecord): string {
  const which = exitCode ?? signal ?? failure
  return which === null ? cause : `${cause} ${which}`
}

const sumColumns = (by: SumKey): readonly Column<Sum>[] => [
  { title: by.toUpperCase(), cell: ({ key }) => key },
  { title: 'JOBS', cell: ({ jobs }) => jobs, right: true },
  { title: 'FAILED', cell: ({ failed }) => failed, right: true },
  { title: 'REUSED', cell: ({ reused }) => reused, right: true },
  { title: 'WALL', cell: ({ wallMs }) => duration(wallMs), right: true },
  { title: 'RUN', cell: ({ runMs }) => duration(runMs), right: true },
  { title: 'OVERHEAD', cell: ({ overheadMs }) => duration(overheadMs), right: true },
  { title: 'CPU', cell: ({ cpuMs }) => duration(cpuMs), right: true },
  { title: 'READ', cell: ({ readBytes }) => mebibytes(readBytes), right: true },
  { title: 'WRITTEN', cell: ({ writtenBytes }) => mebibytes(writtenBytes), right: true },
]

export interface AccountingAsked {
  readonly query: Query
  /** Undefined: as people read it. */
  readonly format: RecordFormat | 'table' | undefined
  readonly sumBy: SumKey | undefined
}

/** The records that are asked for, or their sums. */
export async function accounting(context: Context, { query, format = context.json ? 'jsonl' : 'table', sumBy }: AccountingAsked): Promise<void> {
  if (sumBy !== undefined) return printSums(context, query, format, sumBy)
  if (format === 'table') {
    const records: AccountingRecord[] = []
    for await (const batch of batches(context, query)) records.push(...batch.records)
    return context.print(table(columns, records, context))
  }
  for await (const text of formatted(batches(context, query), format)) context.print(text)
}

async function printSums(context: Context, query: Query, format: RecordFormat | 'table', by: SumKey): Promise<void> {
  if (format === 'ur') throw new VwnError('OPTION_INVALID', { option: '--format', value: format, problem: 'a usage record is of one job: leave --sum-by away' })
  const sums = sumsBy(by)
  for await (const { records } of batches(context, query)) records.forEach((record) => sums.add(record))
  const rows = sums.rows()
  if (format === 'table') return context.print(table(sumColumns(by), rows, context))
  const named = rows.map(({ key, ...rest }) => ({ [by]: key, ...rest }))
  if (format === 'jsonl') return context.print(named.map((row) => `${JSON.stringify(row)}\n`).join(''))
  const [first] = named
  context.print([...(first === undefined ? [] : [Object.keys(first)]), ...named.map((row) => Object.values(row))].map(csvLine).join(''))
}

const columnNames = accountingRecordSchema.keyof().options

const head: Readonly<Record<RecordFormat, string>> = { jsonl: '', csv: csvLine(columnNames), ur: usageRecordsHead }
const tail: Readonly<Record<RecordFormat, string>> = { jsonl: '', csv: '', ur: usageRecordsTail }

/** The text of a document in this format, piece by piece; nothing of it before the first page is there. */
async function* formatted(source: AsyncIterable<Batch>, format: RecordFormat): AsyncGenerator<string> {
  let before = head[format]
  for await (const { farm, records } of source) {
    yield before + records.map((record) => lineOf(record, format, farm)).join('')
    before = ''
  }
  yield tail[format]
}

function lineOf(record: AccountingRecord, format: RecordFormat, farm: string): string {
  switch (format) {
    case 'jsonl': return `${JSON.stringify(record)}\n`
    case 'csv': return csvLine(columnNames.map((name) => record[name]))
    case 'ur': return usageRecord(record, farm)
    default: return format satisfies never
  }
}

/** The file has every record that was not acknowledged yet; where there is none, no file is written. */
export async function exportRecords(context: Context, { to, format }: { readonly to: string; readonly format: RecordFormat }): Promise<void> {
  const { acknowledged } = await context.api.get('/accounting', accountingReplySchema, { after: Number.MAX_SAFE_INTEGER })
  const { records } = await context.api.get('/accounting', accountingReplySchema, { after: acknowledged, limit: 1 })
  if (records.length === 0) return context.say(`no record after ${acknowledged}, which is acknowledged: no file was written`)
  const written = { records: 0, last: acknowledged }
  const counted = async function* (): AsyncGenerator<Batch> {
    for await (const batch of batches(context, { after: acknowledged })) {
      written.records += batch.records.length
      written.last = batch.records.at(-1)?.record ?? written.last
      yield batch
    }
  }
  await writeAtomic(to, formatted(counted(), format), { mode: 0o640 })
  show(context, { file: to, format, first: acknowledged + 1, ...written }, (reply) => facts(Object.entries(reply)))
  context.say(`once they are taken: wnod accounting acknowledge ${written.last}`)
}

/** Whoever does the accounts has every record up to this one. */
export async function acknowledgeRecords(context: Context, record: number): Promise<void> {
  const reply = await context.api.order(`/accounting/acknowledge/${record}`, acknowledgedSchema)
  show(context, reply, (said) => facts(Object.entries(said)))
}
