/** How the making of VWNs went over a time, by type: how long it took, cloned and booted, and why VWNs failed. */
import type { TypeName } from './ids.ts'
import { percentiles } from './times.ts'

/** How a guest comes to be. */
export const ways = ['clone', 'boot'] as const
export type Way = (typeof ways)[number]

export interface MadeVwn {
  readonly type: TypeName
  readonly madeBy: Way
  /** When that began. */
  readonly atMs: number
  readonly tookMs: number
}

export interface FailedVwn {
  readonly type: TypeName
  readonly code: string
  readonly atMs: number
}

/** A time in equal steps. */
export interface Steps {
  readonly fromMs: number
  readonly stepMs: number
  readonly steps: number
}

export interface Making {
  readonly type: TypeName
  /** So many in all, and for each step how long half of them took at most; null where there were none. */
  readonly made: Readonly<Record<Way, { readonly vwns: number; readonly halfMs: readonly (number | null)[] }>>
  /** For each cause how many failed in each step, the most frequent first. */
  readonly failures: readonly { readonly code: string; readonly counts: readonly number[] }[]
}

/** One for each type that was made or failed, in the order of their names. */
export function makingIn({ fromMs, stepMs, steps }: Steps, made: readonly MadeVwn[], failed: readonly FailedVwn[]): readonly Making[] {
  const bySteps = <T extends { readonly atMs: number }>(rows: readonly T[]): readonly (readonly T[])[] => {
    const parts = grouped(rows, ({ atMs }) => Math.floor((atMs - fromMs) / stepMs))
    return Array.from({ length: steps }, (_, step) => parts.get(step) ?? [])
  }
  const madeOf = grouped(made, ({ type }) => type)
  const failedOf = grouped(failed, ({ type }) => type)
  return [...new Set([...madeOf.keys(), ...failedOf.keys()])].sort().map((type) => {
    const by = (way: Way): Making['made'][Way] => {
      const vwns = (madeOf.get(type) ?? []).filter(({ madeBy }) => madeBy === way)
      return { vwns: vwns.length, halfMs: bySteps(vwns).map((some) => percentiles(some.map(({ tookMs }) => tookMs))?.p50 ?? null) }
    }
    const causes = [...grouped(failedOf.get(type) ?? [], ({ code }) => code)].sort(([a, x], [b, y]) => y.length - x.length || (a < b ? -1 : 1))
    return { type, made: { clone: by('clone'), boot: by('boot') }, failures: causes.map(([code, rows]) => ({ code, counts: bySteps(rows).map(({ length }) => length) })) }
  })
}

function grouped<Key, T>(rows: readonly T[], keyOf: (row: T) => Key): ReadonlyMap<Key, readonly T[]> {
  const groups = new Map<Key, T[]>()
  for (const row of rows) {
    const group = groups.get(keyOf(row))
    if (group === undefined) groups.set(keyOf(row), [row])
    else group.push(row)
  }
  return groups
}
