/** What a handful of measurements comes to; the machine is shared, so nothing but medians, quantiles and extremes is ever quoted. */

export interface Summary {
  readonly runs: number
  readonly medianMs: number
  readonly minMs: number
  readonly p95Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** The value below which `share` of the sorted values lie, interpolated; of a few dozen values p99 is the largest or near to it. */
export function quantile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const low = sorted[Math.floor(at)] ?? Number.NaN
  const high = sorted[Math.ceil(at)] ?? low
  return low + (high - low) * (at - Math.floor(at))
}

/** What a list of milliseconds comes to. */
export const summarize = (values: readonly number[]): Summary => ({
  runs: values.length,
  medianMs: round(quantile(values, 0.5)),
  minMs: round(Math.min(...values)),
  p95Ms: round(quantile(values, 0.95)),
  p99Ms: round(quantile(values, 0.99)),
  maxMs: round(Math.max(...values)),
})

/** To a tenth. */
export const round = (value: number): number => Math.round(value * 10) / 10
