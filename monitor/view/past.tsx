/** Rewind: the farm at any moment of the kept history, and what happened around it. */
import { useSignal } from '@preact/signals'
import type { JSX } from 'preact'
import { useMemo, useRef } from 'preact/hooks'
import { moment } from '../../core/words.ts'
import type { EventsReply, HistoryBounds, PastFarm } from '../../wire/history.ts'
import { after } from '../clock.ts'
import { noFarm, type Farm } from '../model/farm.ts'
import { around, pastFarm } from '../model/past.ts'
import { useAsked } from '../shell/asked.ts'
import { farm, nowMs } from '../shell/live.ts'
import { go, linkTo } from '../shell/place.ts'
import { JobLink, Problem, State, VwnLink } from './bits.tsx'
import { FarmView } from './farm.tsx'

/** Events shown on each side of the moment. */
const eventsShown = 15
/** The slider has come to rest. */
const restMs = 150
/** History grows at its end while it is looked at. */
const boundsMs = 60_000

export function PastView({ atMs }: { readonly atMs: number }): JSX.Element {
  const past = useAsked<PastFarm>(`/v1/history?at=${atMs}`)
  const before = useAsked<EventsReply>(`/v1/events?to=${atMs}&order=desc&limit=${eventsShown}`)
  const later = useAsked<EventsReply>(`/v1/events?from=${atMs + 1}&limit=${eventsShown}`)
  // The moment before stays until this one has come.
  const shown = useRef<Farm>(noFarm)
  const there = useMemo(() => (past.value === null ? null : pastFarm(past.value, farm.peek())), [past.value])
  if (there !== null) shown.current = there
  const { events, last } = around(before.value?.events ?? [], later.value?.events ?? [], atMs)
  return (
    <>
      <Slider atMs={atMs} earlierMs={events.findLast((event) => event.atMs < atMs)?.atMs} laterMs={events[last + 1]?.atMs} />
      {past.problem !== null && <Problem of={past.problem} />}
      <FarmView farm={shown.current} atMs={atMs} />
      <h2>Around this moment</h2>
      <ol class="life events">
        {events.map((event, index) => (
          <li key={event.id} aria-current={index === last ? 'step' : undefined}>
            <a href={linkTo({ atMs: Math.ceil(event.atMs) })}>{moment(event.atMs)}</a> <VwnLink vwn={event.vwn} /> on {event.host} <State of={{ state: event.to, paused: false }} />{' '}
            <span class="quiet">{event.event}</span>{event.job !== null && <> <JobLink job={event.job} /></>} {event.why !== null && <span class="why">{event.why}</span>}
          </li>
        ))}
      </ol>
    </>
  )
}

function Slider({ atMs, earlierMs, laterMs }: { readonly atMs: number; readonly earlierMs: number | undefined; readonly laterMs: number | undefined }): JSX.Element {
  const bounds = useAsked<HistoryBounds>('/v1/history/bounds', Math.floor(nowMs.value / boundsMs))
  const dragged = useSignal<number | null>(null)
  const stop = useRef<(() => void) | null>(null)
  const goTo = (ms: number): void => {
    dragged.value = null
    go({ atMs: Math.ceil(ms) }, { replace: true })
  }
  return (
    <form class="rewind" aria-label="rewind" onSubmit={(event) => event.preventDefault()}>
      <button type="button" disabled={earlierMs === undefined} onClick={() => earlierMs !== undefined && goTo(earlierMs)}>◂ event</button>
      <button type="button" disabled={laterMs === undefined} onClick={() => laterMs !== undefined && goTo(laterMs)}>event ▸</button>
      <label><span>moment</span><input type="datetime-local" step="1" value={moment(dragged.value ?? atMs)?.replace(' ', 'T')} onChange={({ currentTarget }) => currentTarget.value !== '' && goTo(new Date(currentTarget.value).getTime())} /></label>
      <label class="slider"><span>history</span>
        <input type="range" min={bounds.value?.fromMs ?? 0} max={bounds.value?.toMs ?? atMs} step="1000" value={dragged.value ?? atMs} aria-valuetext={moment(dragged.value ?? atMs) ?? ''} onInput={({ currentTarget }) => {
          const ms = Number(currentTarget.value)
          dragged.value = ms
          stop.current?.()
          stop.current = after(restMs, () => goTo(ms))
        }} />
      </label>
      <button type="button" onClick={() => go({ atMs: null })}>Now</button>
    </form>
  )
}
