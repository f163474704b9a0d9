/** VWN types and OS images: their limits, what stands ready, what they are cloned from, what is wrong with them. */
import type { JSX } from 'preact'
import { useMemo } from 'preact/hooks'
import { duration } from '../../core/words.ts'
import type { MakingReply } from '../../wire/accounting.ts'
import type { ImageView, TypeView } from '../../wire/api.ts'
import { makingDiagrams } from '../model/making.ts'
import { mib } from '../model/words.ts'
import { useAsked } from '../shell/asked.ts'
import { farm, nowMs } from '../shell/live.ts'
import { linkTo } from '../shell/place.ts'
import { Facts, Shown, Table } from './bits.tsx'
import { Diagrams } from './diagrams.tsx'

/** Templates and ready VWNs are not in the feed: they are looked at again this often. */
const everyMs = 5_000

/** The past changes slowly. */
const pastMs = 60_000
const pastHours = 24

interface Types {
  readonly types: readonly TypeView[]
  readonly problem: { readonly message: string; readonly hint: string } | null
}

export function TypesPage(): JSX.Element {
  const types = useAsked<Types>('/v1/types', Math.floor(nowMs.value / everyMs))
  const making = useAsked<MakingReply>(`/v1/making?hours=${pastHours}`, Math.floor(nowMs.value / pastMs))
  const images = useAsked<{ readonly images: readonly ImageView[] }>('/v1/images', farm.value.tiles.size)
  return (
    <article>
      <h1>Types and images</h1>
      <Shown of={types}>{({ types: rows, problem }) => (
        <>
          {problem !== null && <p role="alert" class="problem">The mapping file as it is now was refused; the one before it is in force. <strong>{problem.message}</strong>. {problem.hint}.</p>}
          {rows.length === 0 && <p class="quiet">The mapping has no types.</p>}
          {rows.map((type) => <OneType key={type.type} type={type} making={making.value} />)}
        </>
      )}</Shown>
      <h2>Images</h2>
      <Shown of={images}>{({ images: rows }) => (
        <Table caption="images" empty="No host has an image." rows={rows} keyOf={({ digest }) => digest} columns={[
          { title: 'name', cell: ({ name, digest }) => <a href={linkTo({ page: 'farm', id: null, filter: { image: digest } })}>{name}</a> }, { title: 'digest', cell: ({ digest }) => <code>{digest.slice(0, 12)}</code> },
          { title: 'contact', cell: ({ contact }) => contact }, { title: 'types', cell: (image) => image.types.join(', ') }, { title: 'hosts', number: true, cell: ({ hosts }) => hosts.length },
        ]} />
      )}</Shown>
    </article>
  )
}

const OneType = ({ type, making }: { readonly type: TypeView; readonly making: MakingReply | null }): JSX.Element => (
  <section class="type" aria-label={`type ${type.type}`}>
    <h2><a href={linkTo({ page: 'farm', id: null, filter: { type: type.type } })}>{type.type}</a></h2>
    {type.problem !== null && <p role="alert" class="problem">{type.problem}</p>}
    <Facts of={[
      ['image', type.image], ['shape', `${type.shape.cpus} cpus, ${mib(type.shape.memoryMib)} memory, ${type.shape.scratchGib} GiB scratch`], ['network', type.network],
      ['VWNs', type.limit === null ? `${type.vwns}, no limit` : `${type.vwns} of at most ${type.limit}`],
      ['hosts with its image', type.hosts.length], ['shared by', type.reuse],
      ['at most', `${type.jobsMax} jobs, ${duration(type.ageMaxMs)} old, ${duration(type.idleMaxMs)} idle; ${duration(type.bootMs)} to boot`],
      ['kept ready', type.pool === null ? 'none' : `${type.pool.min} to ${type.pool.max} a host`],
      ['pending', type.pending.map(({ batchSystem, jobs }) => `${jobs} in ${batchSystem}`).join(', ')],
    ]} />
    {type.pools.length > 0 && <Table caption={`ready VWNs of ${type.type}`} empty="" rows={type.pools} keyOf={({ host }) => host} columns={[
      { title: 'host', cell: ({ host }) => host }, { title: 'ready', number: true, cell: ({ ready }) => ready }, { title: 'being made', number: true, cell: ({ making }) => making },
      { title: 'wanted', number: true, cell: ({ wanted }) => wanted }, { title: 'why', cell: ({ why }) => why },
    ]} />}
    {type.templates.length > 0 && <Table caption={`templates of ${type.type}`} empty="" rows={type.templates} keyOf={({ host }) => host} columns={[
      { title: 'host', cell: ({ host }) => host }, { title: 'template', cell: ({ id }) => id }, { title: 'state', cell: ({ state, why }) => (why === null ? state : `${state}: ${why}`) },
      { title: 'disk', number: true, cell: ({ diskMib }) => mib(diskMib) }, { title: 'made in', number: true, cell: ({ tookMs }) => duration(tookMs) },
    ]} />}
    {making !== null && <OfLate type={type.type} making={making} />}
  </section>
)

/** How its VWNs came up within the last day, and why they failed. */
function OfLate({ type, making }: { readonly type: string; readonly making: MakingReply }): JSX.Element {
  const diagrams = useMemo(() => makingDiagrams(making, type), [making, type])
  return <Diagrams of={diagrams} sparse />
}
