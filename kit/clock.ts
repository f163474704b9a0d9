import { randomBytes as nodeRandomBytes } from 'node:crypto'

/** A pending call; cancelling it twice, or after it ran, is safe. */
export interface Timer extends Disposable {
  cancel(): void
}

/** Where every program gets its time from, so that tests own it. */
export interface Clock {
  /** Milliseconds since 1970, whole. Can jump when the machine's clock is set. */
  nowMs(): number
  /** Milliseconds since some fixed moment, for durations. Never goes back. */
  monotonicMs(): number
  /** Resolves after `ms`; rejects with the signal's reason when that aborts first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Calls once, after `ms`. */
  after(ms: number, call: () => void): Timer
  /** Calls again and again, every `ms`. */
  every(ms: number, call: () => void): Timer
}

/** The machine's own time. */
export const systemClock: Clock = withSleep({
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(ms, call) {
    const timer = setTimeout(call, ms)
    return timerOf(() => clearTimeout(timer))
  },
  every(ms, call) {
    const timer = setInterval(call, ms)
    return timerOf(() => clearInterval(timer))
  },
})

/** A clock that stands still until told to advance. */
export interface FakeClock extends Clock {
  /** Moves time on, running what falls due in order and letting promises settle after each call. */
  advance(ms: number): Promise<void>
  /** How many calls are pending. */
  readonly pending: number
}

/** A clock for tests; starts at an arbitrary fixed moment. */
export function fakeClock(startMs = 1_800_000_000_000): FakeClock {
  let nowMs = startMs
  let order = 0
  const queue = new Map<number, { atMs: number; run: () => void }>()

  const at = (atMs: number, run: () => void): number => {
    queue.set(++order, { atMs, run })
    return order
  }
  const nextDue = (untilMs: number) =>
    [...queue].filter(([, due]) => due.atMs <= untilMs).sort(([a, x], [b, y]) => x.atMs - y.atMs || a - b)[0]

  const clock = withSleep({
    nowMs: () => nowMs,
    monotonicMs: () => nowMs - startMs,
    after(ms, call) {
      const id = at(nowMs + Math.max(0, ms), call)
      return timerOf(() => queue.delete(id))
    },
    every(ms, call) {
      let id = 0
      const again = () => {
        id = at(nowMs + Math.max(1, ms), () => {
          again()
          call()
        })
      }
      again()
      return timerOf(() => queue.delete(id))
    },
  })
  return {
    ...clock,
    get pending() {
      return queue.size
    },
    async advance(ms) {
      const untilMs = nowMs + ms
      await settle()
      for (let due = nextDue(untilMs); due !== undefined; due = nextDue(untilMs)) {
        queue.delete(due[0])
        nowMs = Math.max(nowMs, due[1].atMs)
        due[1].run()
        await settle()
      }
      nowMs = untilMs
    },
  }
}

/** Bytes that nobody can guess. */
export function randomBytes(length: number): Uint8Array {
  return new Uint8Array(nodeRandomBytes(length))
}

/** A random name of lower-case letters and digits, five bits each: fit for file names, host names and paths. */
export function randomId(length = 10): string {
  return Array.from(randomBytes(length), (byte) => 'abcdefghijkmnpqrstuvwxyz23456789'.charAt(byte & 31)).join('')
}

/** Lets everything run that is ready to run now, without time passing. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const timerOf = (cancel: () => void): Timer => ({ cancel, [Symbol.dispose]: cancel })

function withSleep(clock: Omit<Clock, 'sleep'>): Clock {
  const sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const wake = () => {
        timer.cancel()
        signal?.removeEventListener('abort', wake)
        if (signal?.aborted) reject(signal.reason as Error)
        else resolve()
      }
      const timer = clock.after(ms, wake)
      if (signal?.aborted) wake()
      else signal?.addEventListener('abort', wake)
    })
  return { ...clock, sleep }
}
