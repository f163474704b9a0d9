/** Small pieces that several pages share. */
import type { ComponentChildren, JSX } from 'preact'
import { duration, moment } from '../../core/words.ts'
import { stateOf } from '../model/filter.ts'
import { ago, signOf } from '../model/words.ts'
import type { Asked } from '../shell/asked.ts'
import type { Refused } from '../shell/api.ts'
import { nowMs } from '../shell/live.ts'
import { linkTo } from '../shell/place.ts'

type Id = string | null | undefined

export const VwnLink = ({ vwn }: { readonly vwn: Id }): JSX.Element => (vwn ? <a href={linkTo({ page: 'vwn', id: vwn })}>{vwn}</a> : <>–</>)
export const JobLink = ({ job }: { readonly job: Id }): JSX.Element => (job ? <a href={linkTo({ page: 'job', id: job })}>{job}</a> : <>–</>)

/** A state as word, sign and colour. */
export const State = ({ of }: { readonly of: { readonly state: string; readonly paused: boolean } }): JSX.Element => {
  const state = stateOf(of)
  return <span class={`state is-${state}`}><span aria-hidden="true">{signOf(state)}</span> {state}</span>
}

/** How long ago, counting. */
export const Ago = ({ atMs }: { readonly atMs: number }): JSX.Element => <time dateTime={new Date(atMs).toISOString()} title={moment(atMs) ?? ''}>{ago(atMs, nowMs.value)}</time>

/** Name and value, one pair a line; what is not there is left out. */
export function Facts({ of }: { readonly of: readonly (readonly [string, ComponentChildren])[] }): JSX.Element {
  return (
    <dl class="facts">
      {of.filter(([, value]) => value !== null && value !== undefined && value !== '').map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}
    </dl>
  )
}

export interface Column<Row> {
  readonly title: string
  readonly cell: (row: Row) => ComponentChildren
  readonly number?: boolean
}

/** A table that scrolls sideways by itself where the screen is narrow. */
export function Table<Row>({ caption, columns, rows, keyOf, empty }: {
  readonly caption: string
  readonly columns: readonly Column<Row>[]
  readonly rows: readonly Row[]
  readonly keyOf: (row: Row, index: number) => string | number
  readonly empty: string
}): JSX.Element {
  if (rows.length === 0) return <p class="quiet">{empty}</p>
  return (
    <div class="table" tabIndex={0} role="region" aria-label={caption}>
      <table>
        <thead><tr>{columns.map(({ title, number }) => <th key={title} scope="col" class={number === true ? 'number' : ''}>{title}</th>)}</tr></thead>
        <tbody>{rows.map((row, index) => <tr key={keyOf(row, index)}>{columns.map(({ title, cell, number }) => <td key={title} class={number === true ? 'number' : ''}>{cell(row) ?? '–'}</td>)}</tr>)}</tbody>
      </table>
    </div>
  )
}

/** What the controller had against it, in its own words. */
export const Problem = ({ of }: { readonly of: Refused }): JSX.Element => <p role="alert" class="problem"><strong>{of.message}</strong> ({of.code}). {of.hint}.</p>

/** Shows the answer, or that it is on its way, or why there is none. */
export function Shown<T>({ of, children }: { readonly of: Asked<T>; readonly children: (value: T) => ComponentChildren }): JSX.Element {
  return <>{of.problem !== null && <Problem of={of.problem} />}{of.value !== null ? children(of.value) : of.problem === null && <p class="quiet">…</p>}</>
}

/** A duration, or nothing where there is none. */
export const Took = ({ ms }: { readonly ms: number | null | undefined }): JSX.Element => <>{duration(ms)}</>
