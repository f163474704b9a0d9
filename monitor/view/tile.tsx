/** One host and its VWNs. Nothing of it is made anew while the host, what is on it and the filter stay the same. */
import type { JSX } from 'preact'
import { useMemo, useRef } from 'preact/hooks'
import type { FarmVwn } from '../../wire/farm.ts'
import type { Tile } from '../model/farm.ts'
import { stateOf } from '../model/filter.ts'
import { layOut, noLayout, shareOf } from '../model/tiles.ts'
import { mib, signOf, vwnWords } from '../model/words.ts'
import { linkTo } from '../shell/place.ts'

/** Of a tile and its gap, in pixels; style.css has the same. */
export const tileBox = { width: 184, height: 112 } as const

export function HostTile({ tile, faint, address }: {
  readonly tile: Tile
  /** Ids of VWNs that are not looked for, each between blanks. */
  readonly faint: string
  /** Of this page, which every link keeps the filter and moment of. */
  readonly address: string
}): JSX.Element {
  const layout = useRef(noLayout)
  return useMemo(() => {
    const { host, vwns } = tile
    layout.current = layOut(layout.current, new Map(vwns.map((vwn) => [vwn.vwn, shareOf(vwn, host.capacity)])))
    const { columns, rows, blocks } = layout.current
    const trouble = troubleOf(tile)
    return (
      <section class={`tile${trouble === null ? '' : ' troubled'}`} role="group" aria-label={`host ${host.host}, ${vwns.length} VWNs, ${host.used.cpus} of ${host.capacity.cpus} cpus${trouble === null ? '' : `, ${trouble}`}`}>
        <header title={`${host.used.cpus} of ${host.capacity.cpus} cpus, ${mib(host.used.memoryMib)} of ${mib(host.capacity.memoryMib)}${host.broken === null ? '' : `; ${host.broken}`}`}>
          <strong>{host.host}</strong>
          <span class={trouble === null ? 'quiet' : 'trouble'}>{trouble ?? `${host.used.cpus}/${host.capacity.cpus}`}</span>
        </header>
        <div class="blocks" style={{ gridTemplate: `repeat(${rows}, 1fr) / repeat(${columns}, 1fr)` }}>
          {vwns.map((vwn, index) => {
            const block = blocks.get(vwn.vwn)
            return block && vwnBlock(vwn, { faint: faint.includes(` ${vwn.vwn} `), first: index === 0, area: `${block.row + 1} / ${block.column + 1} / span ${block.rows} / span ${block.columns}` })
          })}
        </div>
      </section>
    )
  }, [tile, faint, address])
}

function vwnBlock(vwn: FarmVwn, { faint, first, area }: { readonly faint: boolean; readonly first: boolean; readonly area: string }): JSX.Element {
  const state = stateOf(vwn)
  const words = vwnWords(vwn)
  return <a key={vwn.vwn} class={`vwn is-${state}${faint ? ' faint' : ''}`} style={{ gridArea: area }} href={linkTo({ page: 'vwn', id: vwn.vwn })} tabIndex={first ? 0 : -1} aria-label={words} title={words} data-vwn={vwn.vwn}>{signOf(state)}</a>
}

/** What of a host an administrator should see at once. */
function troubleOf({ host }: Tile): string | null {
  if (host.fact !== 'alive') return host.fact
  if (host.broken !== null) return 'broken'
  return host.want === 'open' ? null : host.want
}
