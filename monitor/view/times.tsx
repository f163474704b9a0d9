/** How long jobs have waited of late, by type and host; how many ended when; what went wrong. */
import type { JSX } from 'preact'
import { useMemo } from 'preact/hooks'
import { duration } from '../../core/words.ts'
import type { TimesReply } from '../../wire/accounting.ts'
import { madeWords, rateOf, readyShare, spans, usualSpan } from '../model/times.ts'
import { useAsked } from '../shell/asked.ts'
import { nowMs } from '../shell/live.ts'
import { linkTo, place } from '../shell/place.ts'
import { Shown, Table, type Column } from './bits.tsx'
import { Curve } from './curve.tsx'

/** The past changes slowly, and is much to read. */
const everyMs = 60_000
const spanWords: Readonly<Record<number, string>> = { 1: 'the last hour', 24: 'the last day', 168: 'the last week' }

export function TimesPage(): JSX.Element {
  const hours = place.value.hours ?? usualSpan
  const times = useAsked<TimesReply>(`/v1/times?hours=${hours}`, Math.floor(nowMs.value / everyMs))
  return (
    <article>
      <h1>Waits and times</h1>
      <nav aria-label="how far back" class="spans">
        {spans.map((span) => <a key={span} href={linkTo({ hours: span === usualSpan ? null : span })} aria-current={span === hours ? 'true' : undefined}>{spanWords[span]}</a>)}
      </nav>
      <Shown of={times}>{(reply) => <Times of={reply} />}</Shown>
    </article>
  )
}

function Times({ of: { byType, byHost, perMinute, errors } }: { readonly of: TimesReply }): JSX.Element {
  const rate = useMemo(() => rateOf(perMinute), [perMinute])
  const ended = byHost.reduce((sum, { jobs }) => sum + jobs, 0)
  const most = Math.max(0, ...rate[1])
  return (
    <>
      <h2>Jobs that ended, a minute</h2>
      <p class="sentence">{ended === 1 ? '1 job' : `${ended} jobs`} ended.</p>
      <Curve of={rate} says={`Jobs that ended a minute: ${ended} in all, at most ${most.toFixed(1)} a minute.`} />
      <h2>By type</h2>
      <Table caption="times by type" empty="No job has ended." rows={byType} keyOf={({ type }) => type ?? ''} columns={[
        { title: 'type', cell: ({ type }) => (type === null ? 'none' : <a href={linkTo({ page: 'farm', id: null, filter: { type } })}>{type}</a>) }, ...columns,
      ]} />
      <h2>By host</h2>
      <Table caption="times by host" empty="No job has ended." rows={byHost} keyOf={({ host }) => host} columns={[{ title: 'host', cell: ({ host }) => host }, ...columns]} />
      <h2>Errors</h2>
      <Table caption="errors by code" empty="None." rows={errors} keyOf={({ code }) => code} columns={[{ title: 'code', cell: ({ code }) => <code>{code}</code> }, { title: 'count', number: true, cell: ({ count }) => count }]} />
    </>
  )
}

type Row = TimesReply['byType'][number] | TimesReply['byHost'][number]
const percentiles = (title: string, of: (row: Row) => Row['waitMs']): Column<Row> =>
  ({ title: `${title}: half, 95 %, 99 % within`, number: true, cell: (row) => { const all = of(row); return all === null ? null : [all.p50, all.p95, all.p99].map(duration).join(' · ') } })

const columns: readonly Column<Row>[] = [
  { title: 'jobs', number: true, cell: ({ jobs }) => jobs },
  percentiles('wait for the VWN', ({ waitMs }) => waitMs),
  percentiles('hand-over', ({ handoverMs }) => handoverMs),
  percentiles('making the VWN', ({ bootMs }) => bootMs),
  { title: 'VWNs', cell: ({ made }) => madeWords(made) },
  { title: 'found one ready', number: true, cell: ({ made }) => { const share = readyShare(made); return share === null ? null : `${Math.round(share * 100)} %` } },
]
