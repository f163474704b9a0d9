/** What a VWN uses, as its page shows it. */
import { ratesOf, type Rates } from '../../core/samples.ts'
import type { Sample } from '../../wire/look.ts'
import { mib } from './words.ts'
import type { Diagram } from './times.ts'

/** Samples that the page keeps: an hour of them. */
const keptMax = 360

/** Those known, and those that came after them. */
export function gathered(known: readonly Sample[], news: readonly Sample[]): readonly Sample[] {
  const lastMs = known.at(-1)?.atMs ?? 0
  return [...known, ...news.filter(({ atMs }) => atMs > lastMs)].slice(-keptMax)
}

type Figure = Exclude<keyof Rates, 'atMs'>
const mebi = 1024 ** 2

const diagrams: readonly { readonly title: string; readonly unit: string; readonly scale: number; readonly curves: Readonly<Record<string, Figure>>; readonly words: (value: number) => string }[] = [
  { title: 'Processors', unit: 'busy', scale: 1, curves: { processors: 'cpus' }, words: (value) => value.toFixed(2) },
  { title: 'Memory of the host', unit: 'MiB', scale: mebi, curves: { memory: 'memoryBytes' }, words: (value) => mib(Math.round(value)) },
  { title: 'Disk', unit: 'MiB a second', scale: mebi, curves: { read: 'readBytes', written: 'writtenBytes' }, words: (value) => `${value.toFixed(2)} MiB/s` },
  { title: 'Network, by its bait', unit: 'MiB a second', scale: mebi, curves: { 'to the guest': 'toGuestBytes', 'from the guest': 'fromGuestBytes' }, words: (value) => `${value.toFixed(2)} MiB/s` },
]

/** The diagrams of these samples; a moment for which a figure is not known is a gap. */
export function diagramsOf(samples: readonly Sample[]): readonly Diagram[] {
  const rates = ratesOf(samples)
  return diagrams.map(({ title, unit, scale, curves, words }) => {
    const names = Object.keys(curves)
    const columns = Object.values(curves).map((figure) => rates.map((rate) => { const value = rate[figure]; return value === null ? null : value / scale }))
    const now = names.map((name, index) => { const last = columns[index]?.at(-1) ?? null; return `${name} ${last === null ? 'not known' : words(last)}` })
    return { title, unit, names, lines: [rates.map(({ atMs }) => atMs / 1_000), ...columns], says: rates.length === 0 ? 'Nothing is known of it yet.' : now.join(', ') }
  })
}
