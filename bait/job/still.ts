/**
 * A job's guest that stands still at times, and the signals for the job: they arrive in the order in which they were sent. Behind one that
 * is being stopped or woken they wait until it is; a guest that stands still hears them when it is woken, as a stopped process does.
 */
import type { Stillness } from '../contracts.ts'

export interface StillGuest {
  /** Everything in the guest stops; where the guest cannot be stopped, the job's processes are. */
  freeze(): void
  /** The guest runs; nothing happens to one that does. */
  wake(): void
  signal(name: string): void
  /** Resolves when what was asked for is done. */
  settled(): Promise<void>
}

/** A guest that runs. */
export function stillGuest(of: { readonly stillness: () => Stillness | null; readonly signal: (name: string) => void }): StillGuest {
  let frozen: Stillness | null = null
  let moving: Promise<void> | null = null
  const move = (step: Promise<void>): void => {
    const done = step.then(() => {
      if (moving === done) moving = null
    })
    moving = done
  }
  return {
    freeze() {
      frozen = of.stillness()
      if (frozen === null) of.signal('SIGSTOP')
      else move(frozen.freeze())
    },
    wake() {
      if (frozen !== null) move(frozen.wake())
      frozen = null
    },
    signal(name) {
      if (moving === null) of.signal(name)
      else void moving.then(() => this.signal(name))
    },
    async settled() {
      while (moving !== null) await moving
    },
  }
}
