/** Curves over time. */
import type { JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { axisWords, timeRange, type Lines } from '../model/times.ts'
import { theme } from '../shell/theme.ts'

const heightPx = 180

/** Curves are told apart by how they are dashed. */
const dashes: readonly (readonly number[])[] = [[], [6, 4], [2, 3], [10, 3, 2, 3]]
const dash = (index: number): number[] => [...(dashes[index % dashes.length] ?? [])]

/** Where values are few, each is a dot; the first curve's are full. */
const dots = (index: number, colour: (name: string) => () => string): uPlot.Series.Points => ({ show: true, size: 7, stroke: colour('--link'), fill: colour(index === 0 ? '--link' : '--ground') })

/** The curves, in the colours of the theme and as wide as there is room; `says` is what they show, for whoever cannot see it. Where there are several, each has a name. */
export function Curve({ of, says, names = [], sparse = false }: { readonly of: Lines; readonly says: string; readonly names?: readonly string[]; readonly sparse?: boolean }): JSX.Element {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  useEffect(() => {
    const { current: element } = box
    if (element === null) return
    const colour = (name: string) => (): string => getComputedStyle(element).getPropertyValue(name)
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line'), width: 1 } }
    const shown = new uPlot({
      width: element.clientWidth, height: heightPx, legend: { show: false }, cursor: { show: false },
      scales: { x: { range: (_, from, to) => timeRange(from, to) }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
      axes: [{ ...axis, values: (_, splits) => axisWords(splits) }, { ...axis, size: 46 }],
      series: [{}, ...of.slice(1).map((_, index) => ({ stroke: colour('--link'), width: 2, dash: dash(index), points: sparse ? dots(index, colour) : { show: false } }))],
    }, aligned(of), element)
    plot.current = shown
    const sizes = new ResizeObserver(() => shown.setSize({ width: element.clientWidth, height: heightPx }))
    sizes.observe(element)
    const dark = matchMedia('(prefers-color-scheme: dark)')
    const draw = (): void => shown.redraw(false)
    dark.addEventListener('change', draw)
    return () => {
      dark.removeEventListener('change', draw)
      sizes.disconnect()
      shown.destroy()
    }
  }, [])
  useEffect(() => plot.current?.setData(aligned(of)), [of])
  useEffect(() => plot.current?.redraw(false), [theme.value]) // the curve itself is as it was
  return (
    <>
      <div class="curve" role="img" aria-label={says} ref={box} />
      {names.length > 1 && (
        <p class="names">
          {names.map((name, index) => <span key={name}><svg width="30" height="8" aria-hidden="true"><line x1="0" y1="4" x2="30" y2="4" stroke-dasharray={dash(index).join(' ')} /></svg> {name}</span>)}
        </p>
      )}
    </>
  )
}

const aligned = ([x, ...curves]: Lines): uPlot.AlignedData => [[...x], ...curves.map((curve) => [...curve])]
