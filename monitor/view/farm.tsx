/** The farm at one moment: hosts with their VWNs, and jobs; all of it, or what fits a filter. */
import type { JSX } from 'preact'
import { useMemo } from 'preact/hooks'
import type { ImageView } from '../../wire/api.ts'
import { after } from '../clock.ts'
import type { Farm } from '../model/farm.ts'
import { isEmpty, select, type Filter, type FilterField, type Selected } from '../model/filter.ts'
import { ago, jobSentence, signOf, states } from '../model/words.ts'
import { useAsked } from '../shell/asked.ts'
import { nowMs } from '../shell/live.ts'
import { go, place } from '../shell/place.ts'
import { JobLink } from './bits.tsx'
import { Tiles } from './tiles.tsx'

/** `atMs`: the moment shown; null: now. */
export function FarmView({ farm, atMs }: { readonly farm: Farm; readonly atMs: number | null }): JSX.Element {
  const { filter } = place.value
  const selected = useMemo(() => select(farm, filter), [farm, filter])
  return (
    <>
      <FilterBar farm={farm} filter={filter} />
      <Legend counts={selected.states} filter={filter} />
      <div class="farm">
        <Tiles tiles={selected.tiles} farm={farm} filter={filter} />
        <Jobs selected={selected} atMs={atMs} />
      </div>
    </>
  )
}

const setFilter = (field: FilterField, value: string): void => go({ filter: { ...place.value.filter, [field]: value } }, { replace: true })

function FilterBar({ farm, filter }: { readonly farm: Farm; readonly filter: Filter }): JSX.Element {
  const images = useAsked<{ readonly images: readonly ImageView[] }>('/v1/images', farm.tiles.size)
  const choices = useMemo(() => choicesOf(farm), [farm])
  return (
    <form class="filter" role="search" aria-label="filter" onSubmit={(event) => event.preventDefault()}>
      <Typed field="text" label="anything" value={filter.text} />
      <Typed field="job" label="job, batch id or name" value={filter.job} />
      <Choice field="user" label="user" value={filter.user} choices={choices.users} />
      <Choice field="type" label="type" value={filter.type} choices={choices.types} />
      <Choice field="queue" label="queue" value={filter.queue} choices={choices.queues} />
      <Choice field="image" label="image" value={filter.image} choices={(images.value?.images ?? []).map(({ digest, name }) => [digest, `${name} ${digest.slice(0, 8)}`])} />
      <button type="button" disabled={isEmpty(filter)} onClick={() => go({ filter: {} })}>Show all</button>
    </form>
  )
}

/** Set once the reader has stopped typing for a moment. */
let stopTyping: (() => void) | null = null
const typedMs = 150

const Typed = ({ field, label, value }: { readonly field: FilterField; readonly label: string; readonly value: string | undefined }): JSX.Element => (
  <label>
    <span>{label}</span>
    <input type="search" name={field} value={value ?? ''} onInput={({ currentTarget }) => {
      stopTyping?.()
      stopTyping = after(typedMs, () => setFilter(field, currentTarget.value))
    }} />
  </label>
)

function Choice({ field, label, value = '', choices }: {
  readonly field: FilterField; readonly label: string; readonly value: string | undefined; readonly choices: readonly (readonly [string, string])[]
}): JSX.Element {
  // What was chosen stays to be seen, even where nothing has it any more.
  const all = value === '' || choices.some(([one]) => one === value) ? choices : [[value, value] as const, ...choices]
  return (
    <label>
      <span>{label}</span>
      <select name={field} value={value} onChange={({ currentTarget }) => setFilter(field, currentTarget.value)}>
        <option value="">all</option>
        {all.map(([one, words]) => <option key={one} value={one}>{words}</option>)}
      </select>
    </label>
  )
}

function choicesOf({ tiles, jobs }: Farm): Readonly<Record<'users' | 'types' | 'queues', readonly (readonly [string, string])[]>> {
  const names = { users: new Set<string | null>(), types: new Set<string | null>(), queues: new Set<string | null>() }
  for (const { vwns } of tiles.values()) {
    for (const { user, type } of vwns) {
      names.users.add(user)
      names.types.add(type)
    }
  }
  for (const { user, type, queue } of jobs.values()) {
    names.users.add(user)
    names.types.add(type)
    names.queues.add(queue)
  }
  const listed = (some: ReadonlySet<string | null>): readonly (readonly [string, string])[] => [...some].filter((name) => name !== null).sort().map((name) => [name, name])
  return { users: listed(names.users), types: listed(names.types), queues: listed(names.queues) }
}

/** What the signs mean and how many there are; each is a filter too. */
function Legend({ counts, filter }: { readonly counts: ReadonlyMap<string, number>; readonly filter: Filter }): JSX.Element {
  return (
    <div class="legend" role="group" aria-label="VWNs by state">
      {Object.entries(states).map(([state, { means }]) => (
        <button key={state} type="button" class={`state is-${state}`} title={means} aria-pressed={filter.state === state} onClick={() => setFilter('state', filter.state === state ? '' : state)}>
          <span aria-hidden="true">{signOf(state)}</span> {state} <b>{counts.get(state) ?? 0}</b>
        </button>
      ))}
      <button type="button" aria-pressed={filter.state === 'waiting'} title="jobs that have no VWN yet" onClick={() => setFilter('state', filter.state === 'waiting' ? '' : 'waiting')}>jobs that wait</button>
    </div>
  )
}

function Jobs({ selected: { jobs, jobCount, vwnOf }, atMs }: { readonly selected: Selected; readonly atMs: number | null }): JSX.Element {
  return (
    <section class="jobs" role="region" aria-label="jobs" tabIndex={0}>
      <h2>Jobs <span class="quiet">{jobCount > jobs.length ? `the first ${jobs.length} of ${jobCount}` : jobCount}</span></h2>
      {jobs.length === 0 && <p class="quiet">None.</p>}
      <ol>
        {jobs.map((job) => (
          <li key={job.job} data-job={job.job}>
            <div><JobLink job={job.job} /> <b>{job.name}</b> {job.user}{job.queue === null ? '' : `, ${job.queue}`}{job.batchJobId === null ? '' : `, ${job.batchSystem ?? ''} ${job.batchJobId}`} <span class="quiet">{ago(job.submittedAtMs, atMs ?? nowMs.value)}</span></div>
            <div class="why">{jobSentence(job, vwnOf.get(job.job) ?? null)}</div>
          </li>
        ))}
      </ol>
    </section>
  )
}
