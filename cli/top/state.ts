/**
 * What `wnod top` knows and shows, without a terminal or a controller: one event in, the next state out, and what is to be done about it.
 *
 *   keys, size ──┐                       ┌─▶ lines of text (screen.ts)
 *   farm, changes┼─▶ step(top, event) ─▶ top
 *   what was     │                       └─▶ asks: look at a row in full, leave the screen
 *   looked at ───┘
 */
import type { Farm } from '../../wire/farm.ts'
import { plain } from '../../kit/plain.ts'
import { chosen, hostsView, jobsView, viewNames, vwnsView, type Rows, type Sort, type View, type ViewName } from './views.ts'

export interface Size {
  readonly rows: number
  readonly columns: number
}

/** Which row is chosen. Without an id it is the first, whichever that is. */
interface Cursor {
  readonly id: string | null
  readonly index: number
  /** The first row on the screen. */
  readonly from: number
}

/** How one list is looked at. */
interface Look {
  readonly sort: Sort
  readonly filter: string
  readonly cursor: Cursor
}

/** One row in full. */
interface Detail {
  readonly view: ViewName
  readonly id: string
  readonly lines: readonly string[]
  readonly from: number
}

export interface Top {
  readonly rows: Rows
  readonly view: ViewName
  readonly looks: Readonly<Record<ViewName, Look>>
  /** Ids of the rows of this view that the filter lets through, in order. */
  readonly ids: readonly string[]
  /** What the filter was before it was typed at; null while nobody types. */
  readonly typing: string | null
  readonly open: Detail | null
  readonly help: boolean
  /** Why nothing is heard, and since when; null while all is well. */
  readonly lost: { readonly why: string; readonly sinceMs: number } | null
  /** In the controller's time. */
  readonly nowMs: number
  readonly size: Size
}

export interface Key {
  /** As node:readline names it. */
  readonly name: string | undefined
  readonly ctrl: boolean
  readonly shift: boolean
  readonly text: string | undefined
}

export type TopEvent =
  | { readonly is: 'key'; readonly key: Key }
  | { readonly is: 'farm' | 'changes'; readonly farm: Farm }
  | { readonly is: 'heard' | 'clock'; readonly nowMs: number }
  | { readonly is: 'lost'; readonly why: string }
  | { readonly is: 'resize'; readonly size: Size }
  | { readonly is: 'looked'; readonly view: ViewName; readonly id: string; readonly text: string }

export type Ask = { readonly do: 'quit' | 'suspend' | 'redraw' } | { readonly do: 'look'; readonly view: ViewName; readonly id: string }

export interface Step {
  readonly top: Top
  readonly asks: readonly Ask[]
}

const filterMax = 100

/** The list of jobs is in the order of their coming, latest first; the others by name. */
const firstSorts = { hosts: { column: 'HOST', falling: false }, vwns: { column: 'VWN', falling: false }, jobs: { column: 'AGE', falling: false } } as const satisfies Record<ViewName, Sort>

const look = (view: ViewName): Look => ({ sort: firstSorts[view], filter: '', cursor: { id: null, index: 0, from: 0 } })

/** The farm as it was first told. */
export function startTop(farm: Farm, size: Size): Top {
  const rows: Rows = { hosts: new Map(), vwns: new Map(), jobs: new Map() }
  const top: Top = {
    rows, view: 'vwns', looks: { hosts: look('hosts'), vwns: look('vwns'), jobs: look('jobs') }, ids: [], typing: null, open: null, help: false, lost: null,
    nowMs: farm.nowMs, size,
  }
  return step(top, { is: 'farm', farm }).top
}

/** The state after an event, and what is to be done. */
export function step(top: Top, event: TopEvent): Step {
  switch (event.is) {
    case 'key':
      return settled(pressed(top, event.key))
    case 'farm':
      return settled(shown({ ...top, rows: replaced(event.farm), nowMs: event.farm.nowMs }, again(top)))
    case 'changes':
      return settled(shown({ ...top, rows: updated(top.rows, event.farm), nowMs: event.farm.nowMs }, concerns(event.farm, top.open) ? again(top) : []))
    case 'heard':
      return shown({ ...top, nowMs: event.nowMs, lost: null })
    case 'clock':
      return shown({ ...top, nowMs: event.nowMs })
    case 'lost':
      return shown({ ...top, lost: { why: event.why, sinceMs: top.lost?.sinceMs ?? top.nowMs } })
    case 'resize':
      return settled(shown({ ...top, size: event.size }, [{ do: 'redraw' }]))
    case 'looked': {
      if (top.open?.view !== event.view || top.open.id !== event.id) return shown(top)
      return settled(shown({ ...top, open: { ...top.open, lines: event.text.trimEnd().split('\n') } }))
    }
    default:
      return event satisfies never
  }
}

/** What a view shows, as of now. */
export function onView<T>({ view, rows, nowMs }: Top, use: <Row>(view: View<Row>) => T): T {
  switch (view) {
    case 'hosts':
      return use(hostsView(rows))
    case 'vwns':
      return use(vwnsView(rows, nowMs))
    case 'jobs':
      return use(jobsView(rows, nowMs))
    default:
      return view satisfies never
  }
}

/** How many rows of a list or of a text fit between what is always there; nothing of that is as important as the rows. */
export const bodyRows = ({ rows }: Size): number => (rows <= 1 ? 0 : Math.max(1, rows - 4))

export const lookOf = (top: Top): Look => top.looks[top.view]

const shown = (top: Top, asks: readonly Ask[] = []): Step => ({ top, asks })

// ---------------------------------------------------------------- the farm

const keyed = <Row, K extends keyof Row>(rows: readonly Row[], id: K): Map<Row[K], Row> => new Map(rows.map((row) => [row[id], row]))

const replaced = ({ hosts, vwns, jobs }: Farm): Rows => ({ hosts: keyed(hosts, 'host'), vwns: keyed(vwns, 'vwn'), jobs: keyed(jobs, 'job') })

/** The rows with those that have changed; without those that are gone. */
function updated(rows: Rows, farm: Farm): Rows {
  const news = replaced(farm)
  const vwns = new Map([...rows.vwns, ...news.vwns])
  const jobs = new Map([...rows.jobs, ...news.jobs])
  for (const { vwn, state } of farm.vwns) if (state === 'gone') vwns.delete(vwn)
  for (const { job, state } of farm.jobs) if (state === 'ended') jobs.delete(job)
  return { hosts: new Map([...rows.hosts, ...news.hosts]), vwns, jobs }
}

function concerns({ hosts, vwns, jobs }: Farm, open: Detail | null): boolean {
  if (open === null) return false
  if (open.view === 'hosts') return [...hosts, ...vwns, ...jobs].some(({ host }) => host === open.id)
  return open.view === 'vwns' ? vwns.some(({ vwn }) => vwn === open.id) : jobs.some(({ job }) => job === open.id)
}

const again = ({ open }: Top): readonly Ask[] => (open === null ? [] : [{ do: 'look', view: open.view, id: open.id }])

// ---------------------------------------------------------------- keys

function pressed(top: Top, key: Key): Step {
  if (key.ctrl) {
    if (key.name === 'c') return shown(top, [{ do: 'quit' }])
    if (key.name === 'z') return shown(top, [{ do: 'suspend' }])
    if (key.name === 'l') return shown(top, [{ do: 'redraw' }])
  }
  if (top.typing !== null) return shown(typed(top, top.typing, key))
  if (key.name === 'q') return shown(top, [{ do: 'quit' }])
  if (key.text === '?') return shown({ ...top, help: !top.help })
  if (top.help) return shown({ ...top, help: false })
  const view = viewAsked(top.view, key)
  if (view !== null) return shown({ ...top, view, open: null })
  return top.open === null ? listKey(top, key) : shown(detailKey(top, top.open, key))
}

function viewAsked(now: ViewName, { name, shift, text }: Key): ViewName | null {
  const numbered = viewNames.find((_, i) => text === String(i + 1))
  if (numbered !== undefined) return numbered
  if (name !== 'tab') return null
  return viewNames[(viewNames.indexOf(now) + (shift ? viewNames.length - 1 : 1)) % viewNames.length] ?? null
}

function typed(top: Top, before: string, { name, ctrl, text }: Key): Top {
  const { filter } = lookOf(top)
  if (name === 'return' || name === 'enter') return { ...top, typing: null }
  if (name === 'escape') return looking({ ...top, typing: null }, { filter: before })
  if (name === 'backspace') return looking(top, { filter: [...filter].slice(0, -1).join('') })
  if (ctrl) return name === 'u' ? looking(top, { filter: '' }) : top
  return looking(top, { filter: [...filter, ...plain(text ?? '')].slice(0, filterMax).join('') })
}

function listKey(top: Top, key: Key): Step {
  const { sort, cursor } = lookOf(top)
  const moved = movement(key, bodyRows(top.size))
  if (moved !== null) return shown(at(top, cursor.index + moved))
  if (key.text === '/') return shown({ ...top, typing: lookOf(top).filter })
  if (key.name === 'escape') return shown(looking(top, { filter: '' }))
  if (key.text === 'r') return shown(looking(top, { sort: { ...sort, falling: !sort.falling } }))
  if (key.text === '<' || key.text === '>') return shown(looking(top, { sort: { ...sort, column: besides(top, sort.column, key.text === '<' ? -1 : 1) } }))
  const id = top.ids[cursor.index]
  if (id === undefined || !['return', 'enter', 'right'].includes(key.name ?? '')) return shown(top)
  return shown({ ...top, open: { view: top.view, id, lines: [], from: 0 } }, [{ do: 'look', view: top.view, id }])
}

function detailKey(top: Top, open: Detail, key: Key): Top {
  if (['escape', 'left', 'backspace', 'return'].includes(key.name ?? '')) return { ...top, open: null }
  const moved = movement(key, bodyRows(top.size))
  return moved === null ? top : { ...top, open: { ...open, from: open.from + moved } }
}

/** By how many rows a key moves; null for a key that does not. */
function movement({ name, shift, text }: Key, page: number): number | null {
  if (name === 'up' || text === 'k') return -1
  if (name === 'down' || text === 'j') return 1
  if (name === 'pageup') return -Math.max(1, page)
  if (name === 'pagedown' || name === 'space') return Math.max(1, page)
  if (name === 'home' || (name === 'g' && !shift)) return -Infinity
  return name === 'end' || (name === 'g' && shift) ? Infinity : null
}

function besides(top: Top, column: string, by: number): string {
  const titles = onView(top, ({ columns }) => columns.map(({ title }) => title))
  return titles[(titles.indexOf(column) + by + titles.length) % titles.length] ?? column
}

const looking = (top: Top, change: Partial<Look>): Top => ({ ...top, looks: { ...top.looks, [top.view]: { ...lookOf(top), ...change } } })

/** The row at this place is chosen; who is at the top stays there when others come before it. */
function at(top: Top, place: number): Top {
  const index = between(place, 0, top.ids.length - 1)
  return looking(top, { cursor: { ...lookOf(top).cursor, index, id: index === 0 ? null : (top.ids[index] ?? null) } })
}

// ---------------------------------------------------------------- what follows from it

const between = (value: number, least: number, most: number): number => Math.max(least, Math.min(value, most))

/** As `top`, with the rows of the view in their order, a row chosen that is there, and that on the screen. */
function settled({ top, asks }: Step): Step {
  const { sort, filter, cursor } = lookOf(top)
  const ids = onView(top, (view) => chosen(view, filter, sort))
  const found = cursor.id === null ? 0 : ids.indexOf(cursor.id)
  const placed = at({ ...top, ids }, found === -1 ? cursor.index : found)
  const { index } = lookOf(placed).cursor
  const room = bodyRows(top.size)
  const from = between(between(cursor.from, index - room + 1, index), 0, Math.max(0, ids.length - room))
  const open = top.open === null ? null : { ...top.open, from: between(top.open.from, 0, Math.max(0, top.open.lines.length - room)) }
  return { top: { ...looking(placed, { cursor: { ...lookOf(placed).cursor, from } }), open }, asks }
}
