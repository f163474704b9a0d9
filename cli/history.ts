/** `wnod history export` and `wnod times`: what was. */
import { writeAtomic } from '../kit/atomic-file.ts'
import { historyExportReplySchema, timesReplySchema, type HistoryEntry, type TimesReply, type TimesView } from '../wire/accounting.ts'
import { show, type Context } from './context.ts'
import { duration } from '../core/words.ts'
import { table, type Column, type Paper } from './table.ts'

/** All that is over, oldest first, as JSON lines: jobs, VWNs and what happened to them. On stdout, or in a file that is whole or not there. */
export async function exportHistory(context: Context, to: string | undefined): Promise<void> {
  if (to !== undefined) return writeAtomic(to, historyLines(context), { mode: 0o640 })
  for await (const lines of historyLines(context)) context.print(lines)
}

async function* historyLines({ api }: Context): AsyncGenerator<string> {
  for (let after: string | undefined; ; ) {
    const { entries, next } = await api.get('/history/export', historyExportReplySchema, { after })
    yield entries.flatMap(linesOf).map((line) => `${JSON.stringify(line)}\n`).join('')
    if (next === null) return
    after = next
  }
}

/** What happened to a VWN stands on lines of its own. */
function linesOf(entry: HistoryEntry): object[] {
  if (entry.kind === 'job') return [entry]
  const { events, ...vwn } = entry
  return [vwn, ...events.map((event) => ({ kind: 'event', vwn: entry.vwn, ...event }))]
}

/** Waits and hand-overs of late, by type and by host, and what went wrong. */
export async function times(context: Context, hours: number | undefined): Promise<void> {
  show(context, await context.api.get('/times', timesReplySchema, { hours }), (reply) => timesText(reply, context))
}

const percentiles = (title: string, of: (times: TimesView) => TimesView['waitMs']): readonly Column<TimesView>[] =>
  (['p50', 'p95', 'p99'] as const).map((name) => ({ title: name === 'p50' ? `${title} ${name}` : name, cell: (times) => duration(of(times)?.[name]), right: true }))

const columns: readonly Column<TimesView>[] = [
  { title: 'JOBS', cell: ({ jobs }) => jobs, right: true },
  ...percentiles('WAIT', ({ waitMs }) => waitMs),
  ...percentiles('HAND-OVER', ({ handoverMs }) => handoverMs),
  ...percentiles('BOOT', ({ bootMs }) => bootMs),
  { title: 'NEW', cell: ({ made }) => made.new, right: true },
  { title: 'READY', cell: ({ made }) => made.ready, right: true },
  { title: 'REUSED', cell: ({ made }) => made.reused, right: true },
  { title: 'BARE', cell: ({ made }) => made.bare, right: true },
]

function timesText({ byType, byHost, errors, fromMs, toMs }: TimesReply, paper: Paper): string {
  const ended = byType.reduce((sum, { jobs }) => sum + jobs, 0)
  const parts = [
    `${ended} jobs ended in ${duration(toMs - fromMs)}\n`,
    table([{ title: 'TYPE', cell: ({ type }) => type }, ...columns], byType, paper),
    table([{ title: 'HOST', cell: ({ host }) => host }, ...columns], byHost, paper),
    ...(errors.length === 0 ? [] : [table([{ title: 'ERROR', cell: ({ code }) => code }, { title: 'COUNT', cell: ({ count }) => count, right: true }], errors, paper)]),
  ]
  return parts.join('\n')
}
