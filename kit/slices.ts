/** What comes in bursts is done in order and in slices, between which everything else has its turn: a thousand messages at once keep nobody waiting for their end. */
import type { Clock } from './clock.ts'

export interface Slices extends Disposable {
  /** Does this soon, after all that came before. */
  add(work: () => void): void
}

const sliceMs = 5

/** Works until it is disposed of; what is left then is dropped. A failure is the caller's: it ends no slice but its own. */
export function openSlices({ monotonicMs }: Pick<Clock, 'monotonicMs'>): Slices {
  const waiting: (() => void)[] = []
  let next: NodeJS.Immediate | null = null
  const slice = (): void => {
    const endMs = monotonicMs() + sliceMs
    let done = 0
    try {
      do waiting[done++]?.()
      while (done < waiting.length && monotonicMs() < endMs)
    } finally {
      waiting.splice(0, done)
      next = waiting.length === 0 ? null : setImmediate(slice)
    }
  }
  return {
    add(work) {
      waiting.push(work)
      next ??= setImmediate(slice)
    },
    [Symbol.dispose]() {
      waiting.length = 0
      if (next !== null) clearImmediate(next)
    },
  }
}
