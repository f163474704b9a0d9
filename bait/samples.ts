/**
 * What the VWNs of this host use, looked at now and then and kept for the last hour: for whoever asks, and lost with the bait. A VWN that
 * nobody can be in yet is left out, and so is one whose VM has ended.
 */
import type { VwnId } from '../core/ids.ts'
import { loop, type Kit, type Loop } from '../kit/service.ts'
import { sampleEveryMs, samplesMax, type Sample } from '../wire/look.ts'
import { orAborted } from './vwns/in-time.ts'
import type { LiveVwn } from './vwns/vwn.ts'

export interface Samples extends Loop {
  /** What was measured of it after this moment, first to last. */
  of(vwn: VwnId, sinceMs: number): readonly Sample[]
  /** Looks at all of them, now. */
  runOnce(): Promise<void>
}

/** The samples of these VWNs, as long as they are among them. */
export function openSamples(kit: Kit, vwns: () => readonly LiveVwn[]): Samples {
  const kept = new Map<VwnId, Sample[]>()
  const take = async (vwn: LiveVwn): Promise<void> => {
    const used = await vwn.used()
    if (used === null) return
    const samples = kept.get(vwn.id) ?? []
    kept.set(vwn.id, samples)
    samples.push({ atMs: kit.clock.nowMs(), ...used })
    if (samples.length > samplesMax) samples.shift()
  }
  const runOnce = async (): Promise<void> => {
    const present = vwns()
    const ids = new Set(present.map(({ id }) => id))
    for (const id of kept.keys()) if (!ids.has(id)) kept.delete(id)
    await Promise.all(present.map(take))
  }
  return {
    ...loop(kit, { name: 'samples', everyMs: sampleEveryMs }, (signal) => orAborted(runOnce(), signal, 'samples')),
    of: (vwn, sinceMs) => (kept.get(vwn) ?? []).filter(({ atMs }) => atMs > sinceMs),
    runOnce,
  }
}
