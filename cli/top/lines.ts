/** The screen of `wnod top` as lines of text: never more than it has rows, never wider than it has columns. */
import { age } from '../../core/words.ts'
import { lay } from '../table.ts'
import { plain } from '../../kit/plain.ts'
import { cells, fit, pad, painted, type Tone } from '../text.ts'
import { bodyRows, lookOf, onView, type Top } from './state.ts'
import { viewNames } from './views.ts'

const listKeys = 'q quit  ? help  tab view  enter more  / filter  < > sort  r reverse'
const detailKeys = 'q quit  ? help  esc back  up down scroll'
const typingKeys = 'enter keeps the filter, esc takes it back'

const helpText = `1 2 3, tab      hosts, VWNs, jobs
up down, j k    one row
pgup pgdn       one screen
home end, g G   first and last row
enter, right    the row in full, with what happened to it
esc, left       back; in a list: no filter
/               filter: every word must occur in the row
< >             order by the column before, or after
r               the other way round
ctrl-l          draw again
ctrl-z          to the shell; \`fg\` comes back
q, ctrl-c       quit`.split('\n')

/** The lines to show. */
export function linesOf(top: Top, colour: boolean): readonly string[] {
  const { rows, columns } = top.size
  const paint = (text: string, tone: Tone | undefined): string => painted(fit(text, columns), tone, colour)
  const { title, body } = top.help ? { title: paint('KEYS', 'title'), body: helpText.map((line) => fit(line, columns)) } : top.open === null ? list(top, colour) : detail(top, top.open, colour)
  const room = bodyRows(top.size)
  const filled = [...body.slice(0, room), ...Array.from({ length: Math.max(0, room - body.length) }, () => '')]
  // In the order in which they go when there is no room for all of them.
  const around = { tabs: rows >= 5, footer: rows >= 4, title: rows >= 3, head: rows >= 1 }
  return [
    ...(around.head ? [head(top, colour)] : []),
    ...(around.tabs ? [tabs(top, colour)] : []),
    ...(around.title ? [title] : []),
    ...filled,
    ...(around.footer ? [footer(top, paint)] : []),
  ]
}

interface Middle {
  readonly title: string
  readonly body: readonly string[]
}

/** The chosen row is marked twice, so that it is seen without colour too. */
function list(top: Top, colour: boolean): Middle {
  const { filter, cursor } = lookOf(top)
  const { columns } = top.size
  const width = Math.max(0, columns - marked.length)
  return onView(top, (view) => {
    const part = top.ids.slice(cursor.from, cursor.from + bodyRows(top.size)).flatMap((id) => view.rows.get(id) ?? [])
    const { header, lines } = lay(view.columns, part, { width, colour })
    const chosenLine = lay(view.columns, part, { width, colour: false }).lines[cursor.index - cursor.from]
    const body = lines.map((line, i) => (i === cursor.index - cursor.from ? painted(pad(`${marked}${chosenLine ?? ''}`, columns), 'chosen', colour) : fit(unmarked, columns) + line))
    const none = fit(filter === '' ? 'none' : `no row has ${plain(filter)}`, columns)
    return { title: fit(unmarked, columns) + header, body: body.length === 0 ? [painted(none, 'quiet', colour)] : body }
  })
}

const marked = '> '
const unmarked = '  '

function detail({ size }: Top, { view, id, lines, from }: NonNullable<Top['open']>, colour: boolean): Middle {
  const title = painted(fit(`${view.slice(0, -1)} ${id}`.toUpperCase(), size.columns), 'title', colour)
  return { title, body: (lines.length === 0 ? ['...'] : lines.slice(from)).map((line) => fit(plain(line), size.columns)) }
}

/** What there is in all, and whether that is still so. */
function head({ rows, lost, nowMs, size: { columns } }: Top, colour: boolean): string {
  const status = fit(lost === null ? 'live' : `STALE ${age(lost.sinceMs, nowMs)}`, columns)
  const counts = [
    `${rows.hosts.size} hosts`,
    counted(`${rows.vwns.size} VWNs`, [...rows.vwns.values()]),
    counted(`${rows.jobs.size} jobs`, [...rows.jobs.values()]),
  ].join(' | ')
  const left = columns - cells(status) - 1
  return (left > 0 ? `${pad(lost === null ? counts : plain(lost.why), left)} ` : '') + painted(status, lost === null ? 'good' : 'bad', colour)
}

function counted(all: string, rows: readonly { readonly state: string }[]): string {
  const counts = new Map<string, number>()
  for (const { state } of rows) counts.set(state, (counts.get(state) ?? 0) + 1)
  return counts.size === 0 ? all : `${all}: ${[...counts].sort().map(([state, count]) => `${count} ${state}`).join(', ')}`
}

function tabs(top: Top, colour: boolean): string {
  const { sort, filter } = lookOf(top)
  const names = viewNames.map((name, i) => (name === top.view ? `[${i + 1} ${name}]` : ` ${i + 1} ${name} `)).join(' ')
  const order = `by ${sort.column}${sort.falling ? ', falling' : ''}`
  const filtered = filter === '' ? '' : `  ${top.ids.length} of ${top.rows[top.view].size} with ${plain(filter)}`
  return painted(fit(`${names}  ${order}${filtered}`, top.size.columns), 'quiet', colour)
}

function footer(top: Top, paint: (text: string, tone: Tone | undefined) => string): string {
  if (top.typing !== null) return paint(`/${plain(lookOf(top).filter)}_  ${typingKeys}`, 'title')
  return paint(top.open === null && !top.help ? listKeys : detailKeys, 'quiet')
}
