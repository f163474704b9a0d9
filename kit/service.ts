/**
 * Long-lived parts. A service starts, is ready, and stops; stopping twice, or before it was started, is safe.
 *
 *     start ──▶ (turn ──▶ wait for wake or everyMs) … ──▶ stop: the running turn is told by its signal and awaited
 *
 * A loop never runs two turns at once. Wakes during a turn coalesce into one turn after it. A failed turn is logged and
 * followed by a growing pause that no wake shortens, so that a broken part cannot spin.
 */
import { VwnError } from '../core/errors.ts'
import { waitMs, type Backoff } from '../core/retry.ts'
import type { Clock } from './clock.ts'
import type { Log } from './log.ts'

/** What every long-lived part is handed. The signal aborts when the program ends. */
export interface Kit {
  readonly clock: Clock
  readonly log: Log
  readonly signal: AbortSignal
}

export interface Service {
  start(): Promise<void>
  /** Resolves when the service does its work; rejects with CANCELLED when it was stopped before. */
  readonly ready: Promise<void>
  stop(): Promise<void>
}

/** Subscribes to something; the answer unsubscribes. */
export type Subscribe = (listener: () => void) => (() => void) | void

export interface LoopOptions {
  readonly name: string
  /** A turn at least this often; null: only when woken. */
  readonly everyMs: number | null
  readonly wake?: Subscribe
}

export interface Loop extends Service {
  /** Asks for a turn soon; many askers get one. */
  wake(): void
}

const failureBackoff: Backoff = { baseMs: 250, factor: 2, maxMs: 30_000, jitter: 0 }

/** A service from its two halves: `start` runs once, `stop` only after a start that was not stopped yet. */
export function service(parts: { start(): Promise<void> | void; stop(): Promise<void> | void }): Service {
  const ready = gate()
  let started: Promise<void> | null = null
  let stopped: Promise<void> | null = null
  return {
    ready: ready.opened,
    start() {
      if (stopped !== null) return Promise.reject(new VwnError('CANCELLED', { what: 'start' }))
      started ??= (async () => parts.start())().then(ready.open, (error: unknown) => {
        ready.refuse(error)
        throw error
      })
      return started
    },
    stop() {
      ready.refuse(new VwnError('CANCELLED', { what: 'stopped before it was ready' }))
      stopped ??= started === null ? Promise.resolve() : started.catch(() => undefined).then(() => parts.stop())
      return stopped
    },
  }
}

/** Several services as one: started in order, stopped in reverse; when one cannot start, the earlier ones are stopped. */
export function group(...services: readonly Service[]): Service {
  const stopAll = async (): Promise<void> => {
    for (const part of [...services].reverse()) await part.stop()
  }
  return service({
    async start() {
      try {
        for (const part of services) await part.start()
        await Promise.all(services.map((part) => part.ready))
      } catch (error) {
        await stopAll()
        throw error
      }
    },
    stop: stopAll,
  })
}

/** Calls `turn` when woken and at least every `everyMs`, one at a time; `start` returns at once, `ready` after a turn went well. */
export function loop(kit: Kit, options: LoopOptions, turn: (signal: AbortSignal) => Promise<void> | void): Loop {
  const { name, everyMs } = options
  const log = kit.log.child({ loop: name })
  const ready = gate()
  const stopping = new AbortController()
  const signal = AbortSignal.any([stopping.signal, kit.signal])
  let running: Promise<void> | null = null
  let wanted = true
  let rouse: () => void = () => undefined

  const wake = (): void => {
    wanted = true
    rouse()
  }
  const rest = async (): Promise<void> => {
    if (wanted || signal.aborted) return
    const woken = new Promise<void>((resolve) => (rouse = resolve))
    using _timer = everyMs === null ? null : kit.clock.after(everyMs, () => rouse())
    await woken
  }
  const run = async (): Promise<void> => {
    const unsubscribe = options.wake?.(wake)
    const abort = (): void => rouse()
    signal.addEventListener('abort', abort)
    for (let failures = 0; !signal.aborted; ) {
      wanted = false
      try {
        await turn(signal)
        if (failures > 0) log.info({ failures }, 'loop works again')
        failures = 0
        ready.open()
        await rest()
      } catch (error) {
        if (signal.aborted) break
        failures += 1
        const pauseMs = waitMs(failureBackoff, failures, 0)
        log.warn({ err: error, failures, pauseMs }, 'loop turn failed')
        await kit.clock.sleep(pauseMs, signal).catch(() => undefined)
      }
    }
    signal.removeEventListener('abort', abort)
    unsubscribe?.()
    ready.refuse(new VwnError('CANCELLED', { what: name }))
  }
  return {
    ready: ready.opened,
    wake,
    start() {
      running ??= run()
      return Promise.resolve()
    },
    async stop() {
      stopping.abort(new VwnError('CANCELLED', { what: name }))
      running ??= run() // never started: it sees the abort and only refuses `ready`
      await running
    },
  }
}

/** A promise with its two ends; nobody need await it, and only the first word counts. */
export function gate(): { opened: Promise<void>; open: () => void; refuse: (error: unknown) => void } {
  let open: () => void = () => undefined
  let refuse: (error: unknown) => void = () => undefined
  const opened = new Promise<void>((resolve, reject) => {
    open = resolve
    refuse = reject
  })
  opened.catch(() => undefined)
  return { opened, open, refuse }
}
