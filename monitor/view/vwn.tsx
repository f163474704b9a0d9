/** One VWN: what it is and uses, its console, its life with the reasons, what its bait was told, the jobs it served, and the proof that it was clean. */
import type { JSX } from 'preact'
import { orderWords } from '../../core/orders.ts'
import { moment, outcomeWords } from '../../core/words.ts'
import type { JobView, Receipt, VwnDetail, VwnEventView } from '../../wire/api.ts'
import { vwnIn } from '../model/farm.ts'
import { mib } from '../model/words.ts'
import { useAsked } from '../shell/asked.ts'
import { farm, nowMs } from '../shell/live.ts'
import { linkTo, place } from '../shell/place.ts'
import { Ago, Facts, JobLink, Shown, State, Table, Took } from './bits.tsx'
import { ConsolePane, Uses } from './look.tsx'

/** Whether its bait has taken in its orders is not in the feed: that is looked at again this often. */
const everyMs = 5_000

export function VwnPage({ id }: { readonly id: string }): JSX.Element {
  const row = vwnIn(farm.value, ({ vwn }) => vwn === id)
  const version = row === null ? 'gone' : `${row.state} ${row.sinceMs} ${row.paused} ${row.job}`
  const path = `/v1/vwns/${encodeURIComponent(id)}`
  const detail = useAsked<VwnDetail>(path, `${version} ${Math.floor(nowMs.value / everyMs)}`)
  const jobs = useAsked<{ readonly jobs: readonly JobView[] }>(`/v1/jobs?vwn=${encodeURIComponent(id)}&limit=1000`, version)
  const last = jobs.value?.jobs.find(({ state }) => state === 'ended')
  const receipt = useAsked<Receipt>(last === undefined ? null : `/v1/jobs/${last.job}/receipt`)
  return (
    <article>
      <h1>VWN {id}</h1>
      <Shown of={detail}>{(vwn) => (
        <>
          <Facts of={[
            ['state', <><State of={vwn} /> for <Ago atMs={vwn.sinceMs} /></>],
            ['cause', vwn.cause && `${vwn.cause.message} (${vwn.cause.code}); ${vwn.cause.hint}`],
            ['host', vwn.host], ['type', vwn.type],
            ['image', `${vwn.image.name ?? ''} ${vwn.image.digest.slice(0, 12)}`],
            ['template', receipt.value?.scrubReceipt?.template ?? null],
            ['shape', `${vwn.shape.cpus} cpus, ${mib(vwn.shape.memoryMib)} memory, ${vwn.shape.scratchGib} GiB scratch`],
            ['network', vwn.network], ['owner', vwn.owner?.user ?? 'nobody yet'], ['may be shared by', vwn.reuse],
            ['job', vwn.job && <JobLink job={vwn.job} />], ['jobs run', vwn.jobsRun], ['made', moment(vwn.createdAtMs)], ['made by', vwn.madeBy],
            ['boot', vwn.phases.boot === undefined ? null : <><Took ms={vwn.phases.boot} /> ({vwn.accelerator}, attempt {vwn.bootAttempt})</>],
          ]} />
          {vwn.state !== 'gone' && <><Uses id={id} network={vwn.network} /><ConsolePane id={id} /></>}
          <h2>Its life</h2>
          <Life events={vwn.events} />
          <h2>What its bait was told</h2>
          <p class="sentence">{vwn.state === 'gone' ? 'It is gone.' : vwn.ordersTaken ? 'All of it was taken in.' : 'The last of it was not taken in yet.'}</p>
          <Table caption="orders for this VWN" empty="Nothing." rows={vwn.orders} keyOf={(_, index) => index} columns={[
            { title: 'told', cell: ({ atMs }) => moment(atMs) }, { title: 'order', cell: ({ does }) => orderWords[does] }, { title: 'job', cell: ({ job }) => <JobLink job={job} /> },
            { title: 'because of', cell: ({ event }) => event }, { title: 'why', cell: ({ why }) => why },
          ]} />
        </>
      )}</Shown>
      <h2>Its jobs</h2>
      <Shown of={jobs}>{({ jobs: rows }) => (
        <Table caption="jobs of this VWN" empty="None yet." rows={rows} keyOf={({ job }) => job} columns={[
          { title: 'job', cell: ({ job }) => <JobLink job={job} /> }, { title: 'name', cell: ({ name }) => name }, { title: 'user', cell: ({ user }) => user },
          { title: 'state', cell: ({ state, outcome }) => (outcome === null ? state : outcomeWords(outcome)) },
          { title: 'VWN was', cell: ({ made }) => made }, { title: 'submitted', cell: ({ submittedAtMs }) => moment(submittedAtMs) },
          { title: 'took', number: true, cell: ({ submittedAtMs, endedAtMs }) => <Took ms={endedAtMs === null ? null : endedAtMs - submittedAtMs} /> },
        ]} />
      )}</Shown>
      {receipt.value?.scrubReceipt && <Clean of={receipt.value.scrubReceipt} job={receipt.value.job} />}
    </article>
  )
}

/** Every move, first to last; the one at the moment that the link carries is marked. */
function Life({ events }: { readonly events: readonly VwnEventView[] }): JSX.Element {
  const { atMs } = place.value
  const marked = atMs === null ? -1 : events.findLastIndex((event) => event.atMs <= atMs)
  return (
    <ol class="life">
      {events.map((event, index) => (
        <li key={index} aria-current={index === marked ? 'step' : undefined}>
          <a href={linkTo({ page: 'farm', id: null, atMs: Math.round(event.atMs) })} title="the farm at this moment">{moment(event.atMs)}</a>{' '}
          <State of={{ state: event.to, paused: false }} /> <span class="quiet">{event.event}</span>{event.job !== null && <> <JobLink job={event.job} /></>}
          {event.why !== null && <div class="why">{event.why}</div>}
          {index > 0 && <span class="quiet"> +<Took ms={event.atMs - (events[index - 1]?.atMs ?? event.atMs)} /></span>}
        </li>
      ))}
    </ol>
  )
}

/** What a job found when it was let in. */
export const Clean = ({ of, job }: { readonly of: NonNullable<Receipt['scrubReceipt']>; readonly job: string }): JSX.Element => (
  <>
    <h2>Clean when {job} came in</h2>
    <Facts of={[
      ['let in', moment(of.atMs)], ['image', of.image.slice(0, 12)],
      ['made by', of.made === 'clone' ? `a clone of template ${of.template ?? '?'}` : of.made === 'boot' ? `a boot: ${of.bootedBecause ?? '?'}` : null],
      ['scratch disk', of.overlay], ['jobs before', of.jobsBefore === 0 ? 'none' : `${of.jobsBefore}, of ${of.before}`],
      ['scrubbed', of.scrub && <>{moment(of.scrub.atMs)}, in <Took ms={of.scrub.tookMs} />: nothing left</>],
      ['looked at', of.scrub?.checked.join(', ')],
    ]} />
  </>
)
