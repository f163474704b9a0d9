/**
 * The farm as it is now.
 *
 *   load /v1/farm ──▶ follow /v1/changes?since=G ──▶ … ──▶ nothing heard, or an error: stale ──▶ follow since the last G
 *                          └─ reset, or away for long: load again
 *
 * Changes are collected and shown a few times a second, also while the page is hidden, so that nothing piles up over a day.
 */
import { signal } from '@preact/signals'
import type { Farm as FarmRows } from '../../wire/farm.ts'
import { after, every, monotonicMs } from '../clock.ts'
import { apply, farmOf, noFarm, type Farm } from '../model/farm.ts'
import { read, Refused } from './api.ts'

/** How often the farm is drawn at most, and how long the controller may be silent: it says something every few seconds. */
const flushMs = 150
const silenceMsMax = 12_000
const retryMs = 1_000
const retryMsMax = 8_000
const shortRetries = 3

export const farm = signal<Farm>(noFarm)
/** `stale`: what is shown was true at `sinceMs`, by the controller's clock; `refused`: it wants a token. */
export const feed = signal<{ readonly is: 'loading' | 'live' | 'refused' } | { readonly is: 'stale'; readonly sinceMs: number }>({ is: 'loading' })
/** The controller's clock, to the second. */
export const nowMs = signal(0)

let clockAhead = 0
let heardMs = 0
let source: EventSource | null = null
let waiting: FarmRows[] = []
let flushing = false
let flushedMs = 0
let retries = 0
let stopRetry: (() => void) | null = null

/** From now on the signals above are true. */
export function startLive(): void {
  every(1_000, () => {
    if (farm.value === noFarm) return
    nowMs.value = Math.floor((monotonicMs() + clockAhead) / 1_000) * 1_000
    if (source !== null && monotonicMs() - heardMs > silenceMsMax) lost()
  })
  document.addEventListener('visibilitychange', () => {
    stopRetry?.()
    if (document.hidden) leave()
    else if (source === null) again()
  })
  void load()
}

/** Tries again at once, with what the reader has just said of themselves. */
export function tryAgain(): void {
  stopRetry?.()
  void load()
}

const again = (): void => (farm.value === noFarm ? void load() : listen())

function leave(): void {
  source?.close()
  source = null
}

async function load(): Promise<void> {
  try {
    const snapshot = await read<FarmRows>('/v1/farm')
    waiting = []
    farm.value = farmOf(snapshot)
    heard(snapshot.nowMs)
    listen()
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.status === 401 || error.status === 403) feed.value = { is: 'refused' }
    else lost()
  }
}

/** A browser has few connections for all its tabs together: one that nobody sees takes none, and catches up when it is seen. */
function listen(): void {
  if (document.hidden) return
  leave()
  const following = new EventSource(`/v1/changes?since=${farm.value.generation}`)
  source = following
  following.addEventListener('open', () => heard(null))
  following.addEventListener('tick', ({ data }: MessageEvent<string>) => heard((JSON.parse(data) as Pick<FarmRows, 'nowMs'>).nowMs))
  following.addEventListener('change', ({ data }: MessageEvent<string>) => {
    const change = JSON.parse(data) as FarmRows
    heard(change.nowMs)
    waiting.push(change)
    if (flushing) return
    flushing = true
    after(Math.max(0, flushedMs + flushMs - monotonicMs()), flush)
  })
  following.addEventListener('reset', () => {
    leave()
    void load()
  })
  following.addEventListener('error', () => { if (source === following) lost() })
}

function flush(): void {
  flushing = false
  flushedMs = monotonicMs()
  const news = waiting
  waiting = []
  farm.value = apply(farm.value, news)
}

function heard(atMs: number | null): void {
  heardMs = monotonicMs()
  retries = 0
  if (atMs !== null) clockAhead = atMs - heardMs
  nowMs.value = Math.floor((heardMs + clockAhead) / 1_000) * 1_000
  if (feed.value.is !== 'live') feed.value = { is: 'live' }
}

/** What has come is shown, what comes next is asked for since then: nothing is missed and nothing twice. */
function lost(): void {
  leave()
  flush()
  if (feed.value.is !== 'stale' && farm.value !== noFarm) feed.value = { is: 'stale', sinceMs: heardMs + clockAhead }
  // A short break is caught up with; after a long one, and to learn whether it wants a token now, all is fetched again.
  const retry = retries < shortRetries ? again : () => void load()
  stopRetry = after(Math.min(retryMsMax, retryMs * 2 ** retries), retry)
  retries += 1
}
