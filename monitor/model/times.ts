/** Waits and rates as the page shows them. */
import { moment } from '../../core/words.ts'
import type { TimesReply } from '../../wire/accounting.ts'

/** How far back one can look, in hours; the second is what one sees first. */
export const spans = [1, 24, 168] as const
export const usualSpan = 24

/** Points that a curve of the page's width can show. */
const pointsMax = 200

/** Moments in seconds since 1970, and curves with one value for each of them; null is a gap. */
export type Lines = readonly [atS: readonly number[], ...curves: readonly (readonly (number | null)[])[]]
/** Curves by name, in one unit. */
export interface Diagram {
  readonly title: string
  readonly unit: string
  readonly names: readonly string[]
  readonly lines: Lines
  /** What it shows, in words. */
  readonly says: string
}
/** Lines with one curve: jobs that ended in a minute from then on, as a mean where a point is several minutes. */
export type Rate = readonly [atS: readonly number[], jobsPerMinute: readonly number[]]

/** The curve of these minutes, in as many points as can be told apart. */
export function rateOf(perMinute: TimesReply['perMinute']): Rate {
  const minutes = Math.max(1, Math.ceil(perMinute.length / pointsMax))
  const atS: number[] = []
  const rate: number[] = []
  for (let first = 0; first < perMinute.length; first += minutes) {
    const some = perMinute.slice(first, first + minutes)
    atS.push((some[0]?.atMs ?? 0) / 1_000)
    rate.push(some.reduce((sum, { jobs }) => sum + jobs, 0) / some.length)
  }
  return [atS, rate]
}

/** A curve that has only begun is not drawn wider than these seconds, so that the times below it differ. */
const widthSMin = 600
/** From when to when a curve of these moments is drawn; one without any has null for both. */
export const timeRange = (fromS: number | null, toS: number | null): [number, number] | [null, null] => (fromS === null || toS === null ? [null, null] : [Math.min(fromS, toS - widthSMin), toS])

const dayS = 86_400
/** What stands below these moments, in seconds since 1970: the time of day, and the day too where they are of several. */
export const axisWords = (atS: readonly number[]): string[] =>
  atS.map((each) => (moment(each * 1_000) ?? '').slice((atS.at(-1) ?? 0) - (atS[0] ?? 0) > dayS ? 5 : 11, 16))

type Made = TimesReply['byType'][number]['made']

/** How jobs came by their VWNs, most frequent first. */
export const madeWords = (made: Made): string =>
  Object.entries({ 'used before': made.reused, 'fresh and ready': made.ready, 'made for it': made.new, 'on the host itself': made.bare })
    .filter(([, jobs]) => jobs > 0).sort(([, a], [, b]) => b - a).map(([how, jobs]) => `${jobs} ${how}`).join(', ')

/** Of the jobs that needed a fresh VWN, how many found one ready; null where none did. */
export const readyShare = ({ ready, new: made }: Made): number | null => (ready + made === 0 ? null : ready / (ready + made))
