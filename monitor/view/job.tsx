/** One job: where it is, what it waits for, where its time went, and why it got what it got. */
import type { JSX } from 'preact'
import { jobId } from '../../core/ids.ts'
import { duration, moment, outcomeWords } from '../../core/words.ts'
import type { Explanation, Receipt } from '../../wire/api.ts'
import { vwnIn } from '../model/farm.ts'
import { waterfall } from '../model/waterfall.ts'
import { bytes, jobSentence, mib } from '../model/words.ts'
import { useAsked } from '../shell/asked.ts'
import { farm } from '../shell/live.ts'
import { Ago, Facts, Shown, Table, VwnLink } from './bits.tsx'
import { Clean } from './vwn.tsx'

export function JobPage({ id }: { readonly id: string }): JSX.Element {
  const row = farm.value.jobs.get(jobId(id)) ?? null
  const its = vwnIn(farm.value, ({ job }) => job === id)
  const version = row === null ? 'ended' : `${row.state} ${row.vwn} ${row.why}`
  const path = `/v1/jobs/${encodeURIComponent(id)}`
  const receipt = useAsked<Receipt>(`${path}/receipt`, version)
  const explanation = useAsked<Explanation>(`${path}/explain`, version)
  return (
    <article>
      <h1>Job {id}</h1>
      <Shown of={receipt}>{(job) => (
        <>
          <p class="sentence" role="status">{job.outcome === null ? jobSentence(job, its) : `Ended: ${outcomeWords(job.outcome)}.`}</p>
          <Facts of={[
            ['name', job.name], ['user', `${job.user} (uid ${job.uid}, group ${job.group})`], ['queue', job.queue], ['project', job.project],
            ['batch job', job.batchSystem && `${job.batchSystem} ${job.batchJobId ?? ''}`], ['host', job.host],
            ['VWN', job.vwn && <><VwnLink vwn={job.vwn} /> {job.made ?? ''}</>], ['type', job.type], ['asked for type', job.requestedType], ['why', job.why],
            ['submitted', <>{moment(job.submittedAtMs)}{job.endedAtMs === null && <>, <Ago atMs={job.submittedAtMs} /> ago</>}</>], ['ended', moment(job.endedAtMs)],
            ['cpu', job.usage && `${duration(job.usage.cpuUserMs)} user, ${duration(job.usage.cpuSystemMs)} system`],
            ['memory', job.usage && `${bytes(job.usage.memoryPeakBytes)} at most`],
            ['disk', job.usage && `${bytes(job.usage.readBytes)} read, ${bytes(job.usage.writtenBytes)} written`],
          ]} />
          <h2>Where its time went</h2>
          <Waterfall of={job} />
          {job.scrubReceipt !== null && <Clean of={job.scrubReceipt} job="it" />}
        </>
      )}</Shown>
      <h2>Why it got this</h2>
      <Shown of={explanation}>{(said) => <Why of={said} />}</Shown>
    </article>
  )
}

function Waterfall({ of }: { readonly of: Receipt }): JSX.Element {
  const bars = waterfall(of.timeline, of.otherMs)
  if (bars.length === 0) return <p class="quiet">Nothing has happened yet.</p>
  return (
    <ol class="waterfall">
      {bars.map(({ phase, ms, from, width }) => (
        <li key={phase}>
          <span>{phase}</span>
          <span class="track" aria-hidden="true"><span class={`bar of-${phase}`} style={{ marginLeft: `${from * 100}%`, width: `${width * 100}%` }} /></span>
          <span class="number">{duration(ms)}</span>
        </li>
      ))}
      {of.totalMs !== null && <li><span>in all</span><span /><span class="number">{duration(of.totalMs)}</span></li>}
    </ol>
  )
}

const Why = ({ of }: { readonly of: Explanation }): JSX.Element => (
  <>
    <Facts of={[
      ['decided', moment(of.atMs)], ['rule', of.rule ?? (of.type === null && of.decision.is !== 'bare' ? null : 'the default rule')], ['type', of.type], ['may ask for', of.allowed.join(', ')],
      ['shape', of.shape && `${of.shape.cpus} cpus, ${mib(of.shape.memoryMib)} memory, ${of.shape.scratchGib} GiB scratch`],
      ['decision', [of.decision.is, of.decision.vwn, of.decision.host && `on ${of.decision.host}`].filter(Boolean).join(' ')], ['because', of.decision.why],
      ['made by', of.made && `${of.made.by}: ${of.made.why}`],
    ]} />
    {of.rules.length > 0 && <Table caption="rules in order" empty="" rows={of.rules} keyOf={({ rule }) => rule} columns={[{ title: 'rule', cell: ({ rule }) => rule }, { title: 'is', cell: ({ is }) => is }, { title: 'why', cell: ({ why }) => why }]} />}
    {of.hosts.length > 0 && <Table caption="hosts that were looked at" empty="" rows={of.hosts} keyOf={({ host }) => host} columns={[{ title: 'host', cell: ({ host }) => host }, { title: 'why', cell: ({ why }) => why }]} />}
  </>
)
