/** What the host of a VWN shows of it while somebody looks: what it uses, and its console. */
import type { JSX } from 'preact'
import { useLayoutEffect, useMemo, useRef } from 'preact/hooks'
import type { ConsoleReply, Sample, SamplesReply } from '../../wire/look.ts'
import { moreConsole, noConsole, type Console } from '../model/console.ts'
import { diagramsOf, gathered } from '../model/samples.ts'
import { usePolled, type Polling } from '../shell/polled.ts'
import { Problem } from './bits.tsx'
import { Diagrams } from './diagrams.tsx'

const samplesEveryMs = 10_000
const consoleEveryMs = 1_000

export function Uses({ id, network }: { readonly id: string; readonly network: string }): JSX.Element {
  const polling: Polling<readonly Sample[], SamplesReply> = {
    first: [], everyMs: samplesEveryMs,
    path: (known) => `/v1/vwns/${encodeURIComponent(id)}/samples?since=${known.at(-1)?.atMs ?? 0}`,
    gather: (known, { samples }) => gathered(known, samples),
  }
  const { known, problem } = usePolled(id, polling)
  const diagrams = useMemo(() => diagramsOf(known), [known])
  return (
    <>
      <h2>What it uses</h2>
      {problem !== null && <Problem of={problem} />}
      <Diagrams of={diagrams} />
      {network === 'outbound' && <p class="quiet">Network is what its bait has carried. What the guest fetches by itself is not counted: QEMU’s own network has no counter.</p>}
    </>
  )
}

export function ConsolePane({ id }: { readonly id: string }): JSX.Element {
  const polling: Polling<Console, ConsoleReply> = {
    first: noConsole, everyMs: consoleEveryMs,
    path: ({ next }) => `/v1/vwns/${encodeURIComponent(id)}/console${next === null ? '' : `?from=${next}`}`,
    gather: moreConsole,
  }
  const { known, asked, problem } = usePolled(id, polling)
  const pane = useRef<HTMLPreElement>(null)
  const follows = useRef(true)
  // Who reads above stays there; who is at the end sees what comes.
  useLayoutEffect(() => {
    if (pane.current !== null && follows.current) pane.current.scrollTop = pane.current.scrollHeight
  }, [known.text])
  return (
    <>
      <h2>Its console</h2>
      {problem !== null && <Problem of={problem} />}
      <pre class="console" tabIndex={0} role="region" aria-label={`console of ${id}`} ref={pane}
        onScroll={({ currentTarget: { scrollTop, scrollHeight, clientHeight } }) => { follows.current = scrollTop + clientHeight >= scrollHeight - 4 }}>{known.text === '' && asked ? 'Nothing yet.' : known.text}</pre>
    </>
  )
}
