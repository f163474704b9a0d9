/** One curve over time. */
import type { JSX } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { axisWords, type Rate } from '../model/times.ts'
import { theme } from '../shell/theme.ts'

const heightPx = 180

/** The curve, in the colours of the theme and as wide as there is room; `says` is what it shows, for whoever cannot see it. */
export function Curve({ of, says }: { readonly of: Rate; readonly says: string }): JSX.Element {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  useEffect(() => {
    const { current: element } = box
    if (element === null) return
    const colour = (name: string) => (): string => getComputedStyle(element).getPropertyValue(name)
    const axis = { stroke: colour('--quiet'), grid: { stroke: colour('--line'), width: 1 }, ticks: { stroke: colour('--line'), width: 1 } }
    const shown = new uPlot({
      width: element.clientWidth, height: heightPx, legend: { show: false }, cursor: { show: false },
      scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
      axes: [{ ...axis, values: (_, splits) => axisWords(splits) }, { ...axis, size: 46 }],
      series: [{}, { stroke: colour('--link'), width: 2, points: { show: false } }],
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
  return <div class="curve" role="img" aria-label={says} ref={box} />
}

const aligned = ([x, y]: Rate): uPlot.AlignedData => [[...x], [...y]]
