/**
 * Server-sent events for any number of watchers. Watchers are looked after together: on each turn the news after one number are read and
 * written out once, whoever stands at that number, and the same bytes go to all of them.
 *
 *   GET ─▶ catch up from `since` ─▶ tick ─▶ news … tick … news ─▶ the watcher goes, or is dropped because it does not read
 *
 * Nothing is kept for a watcher but its number: news are rows, and one that comes back says the last number that it had.
 */
import type { ServerResponse } from 'node:http'
import { loop, type Kit } from '../../kit/service.ts'

/** News with numbers that rise. */
export interface Followed {
  /** Number of the newest. */
  newest(): number
  /** What comes after this number, as `eventText` writes it, and the number up to which it tells; all of it or the first part. */
  after(since: number): { readonly upTo: number; readonly text: string }
}

export interface Followers {
  /** Tells everything after `since` from now on; for undefined, what comes next. A connection that waits for an earlier answer is ended. */
  add(response: ServerResponse, followed: Followed, since: number | undefined): void
  /** One turn, now. */
  runOnce(): void
  /** How many there are. */
  readonly count: number
  stop(): Promise<void>
}

/** One event; `id` is what a watcher says when it comes back. */
export const eventText = (event: string, data: unknown, id?: number): string => `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`

/** A watcher sees a change this late at most. */
const turnMs = 150
const tickMs = 5_000
/** What may wait to be read by one watcher before it gets more. */
export const unreadBytesMax = 1024 * 1024
/** After this a browser comes back by itself. */
const comeBackMs = 1_000

interface Watcher {
  readonly response: ServerResponse
  readonly followed: Followed
  at: number
}

/** Looks after watchers until stopped; without any it does nothing at all. */
export function openFollowers(kit: Kit): Followers {
  const watchers = new Set<Watcher>()
  let tickedMs = kit.clock.monotonicMs()

  const tick = (): Buffer => Buffer.from(eventText('tick', { nowMs: kit.clock.nowMs() }))
  const say = (watcher: Watcher, bytes: Buffer): void => {
    const { response } = watcher
    if (response.writableLength > unreadBytesMax) {
      kit.log.info({ unreadBytes: response.writableLength, watchers: watchers.size }, 'watcher dropped, it does not read')
      response.destroy()
    } else response.write(bytes)
  }
  const runOnce = (): void => {
    const told = new Map<Followed, Map<number, { readonly upTo: number; readonly bytes: Buffer }>>()
    for (const watcher of watchers) {
      const { followed, at } = watcher
      const news = told.get(followed) ?? new Map<number, { readonly upTo: number; readonly bytes: Buffer }>()
      told.set(followed, news)
      let next = news.get(at)
      if (next === undefined) {
        const { upTo, text } = followed.after(at)
        news.set(at, (next = { upTo, bytes: Buffer.from(text) }))
      }
      if (next.bytes.length > 0) say(watcher, next.bytes)
      watcher.at = next.upTo
    }
    const nowMs = kit.clock.monotonicMs()
    if (nowMs - tickedMs < tickMs) return
    tickedMs = nowMs
    const bytes = tick()
    for (const watcher of watchers) say(watcher, bytes)
  }
  const turns = loop(kit, { name: 'followers', everyMs: null }, runOnce)
  const started = turns.start()
  let timer: Disposable | null = null
  const leave = (watcher: Watcher): void => {
    watchers.delete(watcher)
    if (watchers.size > 0) return
    timer?.[Symbol.dispose]()
    timer = null
  }
  return {
    add(response, followed, since) {
      // Its turn on its connection may never come: another watcher is before it.
      if (response.socket === null || response.destroyed) return void response.req.socket.destroy()
      const { upTo, text } = followed.after(since ?? followed.newest())
      const watcher = { response, followed, at: upTo }
      response.once('close', () => leave(watcher))
      response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
      response.write(Buffer.concat([Buffer.from(`retry: ${comeBackMs}\n\n${text}`), tick()]))
      watchers.add(watcher)
      timer ??= kit.clock.every(turnMs, () => turns.wake())
    },
    runOnce,
    get count() { return watchers.size },
    async stop() {
      timer?.[Symbol.dispose]()
      for (const { response } of watchers) response.destroy()
      await started
      await turns.stop()
    },
  }
}
