/** All hosts in a scrolling field of which only the visible part exists. Arrow keys go from VWN to VWN and from host to host. */
import { signal, useComputed, useSignal } from '@preact/signals'
import type { JSX, TargetedKeyboardEvent } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import type { Farm, Tile } from '../model/farm.ts'
import { fitsVwn, isEmpty, type Filter } from '../model/filter.ts'
import { seen } from '../model/window.ts'
import { linkTo } from '../shell/place.ts'
import { HostTile, tileBox } from './tile.tsx'

/** Where the field was scrolled to, for whoever comes back to it. */
const lastScroll = signal(0)

export function Tiles({ tiles, farm, filter }: { readonly tiles: readonly Tile[]; readonly farm: Farm; readonly filter: Filter }): JSX.Element {
  const field = useRef<HTMLDivElement>(null)
  const size = useSignal({ width: 0, height: 0 })
  // Scrolled by less than a row, the same rows are seen.
  const row = useComputed(() => Math.floor(lastScroll.value / tileBox.height))
  useEffect(() => {
    const element = field.current
    if (element === null) return
    element.scrollTop = lastScroll.peek()
    const watch = new ResizeObserver(() => { size.value = { width: element.clientWidth, height: element.clientHeight } })
    watch.observe(element)
    return () => watch.disconnect()
  }, [])
  const part = seen(tiles.length, tileBox, { ...size.value, scrollPx: row.value * tileBox.height })
  const address = linkTo({})
  return (
    <div class="field" ref={field} onScroll={({ currentTarget }) => { lastScroll.value = currentTarget.scrollTop }} onKeyDown={onArrow} role="region" aria-label="hosts" tabIndex={0}>
      {tiles.length === 0 && <p class="quiet empty">No host {isEmpty(filter) ? 'has reported yet' : 'fits this filter'}.</p>}
      <div class="whole" style={{ height: `${part.heightPx}px` }}>
        <div class="part" style={{ transform: `translateY(${part.topPx}px)`, gridTemplateColumns: `repeat(${part.columns}, 1fr)` }}>
          {tiles.slice(part.first, part.end).map((tile) => <HostTile key={tile.host.host} tile={tile} faint={faintOn(tile, farm, filter)} address={address} />)}
        </div>
      </div>
    </div>
  )
}

const faintOn = ({ vwns }: Tile, { jobs }: Farm, filter: Filter): string =>
  isEmpty(filter) ? '' : vwns.flatMap((vwn) => (fitsVwn(filter, vwn, vwn.job === null ? null : (jobs.get(vwn.job) ?? null)) ? [] : [` ${vwn.vwn} `])).join('')

/** Left and right go along one host, up and down to its neighbours. */
function onArrow(event: TargetedKeyboardEvent<HTMLDivElement>): void {
  const here = document.activeElement
  const tile = here?.closest('.tile')
  if (!(here instanceof HTMLAnchorElement) || tile === null || tile === undefined) return
  const within = [...tile.querySelectorAll('a')]
  const withVwns = [...event.currentTarget.querySelectorAll('.tile')].filter((one) => one.querySelector('a') !== null)
  const at = within.indexOf(here)
  const beside = (step: number): HTMLAnchorElement | null | undefined => withVwns[withVwns.indexOf(tile) + step]?.querySelector('a')
  const steps: Readonly<Record<string, () => HTMLAnchorElement | null | undefined>> = {
    ArrowRight: () => within[at + 1], ArrowLeft: () => within[at - 1], ArrowDown: () => beside(1), ArrowUp: () => beside(-1),
  }
  const to = steps[event.key]?.()
  if (to === undefined || to === null) return
  event.preventDefault()
  to.focus()
}
