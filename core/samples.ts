/** What a VWN uses at a time, from what it had used by then. */

/** By then, since it was started; null is what nobody can tell. */
export interface Used {
  readonly atMs: number
  readonly cpuMs: number
  readonly memoryBytes: number
  readonly readBytes: number | null
  readonly writtenBytes: number | null
  readonly toGuestBytes: number | null
  readonly fromGuestBytes: number | null
}

/** From the sample before until then, each second; null where that is not known. */
export interface Rates {
  readonly atMs: number
  /** Processors that were busy. */
  readonly cpus: number | null
  /** At the end. */
  readonly memoryBytes: number
  readonly readBytes: number | null
  readonly writtenBytes: number | null
  readonly toGuestBytes: number | null
  readonly fromGuestBytes: number | null
}

/** One for each sample but the first. A count that has fallen has begun anew, and says nothing of the time between. */
export function ratesOf(samples: readonly Used[]): readonly Rates[] {
  return samples.slice(1).flatMap((now, index) => {
    const before = samples[index]
    if (before === undefined || now.atMs <= before.atMs) return []
    const seconds = (now.atMs - before.atMs) / 1_000
    const rate = (of: Exclude<keyof Used, 'atMs' | 'memoryBytes'>): number | null => {
      const [first, last] = [before[of], now[of]]
      return first === null || last === null || last < first ? null : (last - first) / seconds
    }
    const cpuMs = rate('cpuMs')
    return [{
      atMs: now.atMs, cpus: cpuMs === null ? null : cpuMs / 1_000, memoryBytes: now.memoryBytes, readBytes: rate('readBytes'), writtenBytes: rate('writtenBytes'),
      toGuestBytes: rate('toGuestBytes'), fromGuestBytes: rate('fromGuestBytes'),
    }]
  })
}
