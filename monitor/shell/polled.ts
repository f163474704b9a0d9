/** What a view asks for again and again while somebody looks, gathering what comes. */
import { useEffect, useState } from 'preact/hooks'
import { after } from '../clock.ts'
import { read, Refused } from './api.ts'

export interface Polling<T, Reply> {
  readonly first: T
  /** What to ask for next, with what is known. */
  readonly path: (known: T) => string
  readonly gather: (known: T, reply: Reply) => T
  readonly everyMs: number
}

export interface Polled<T> {
  readonly known: T
  /** Something was answered. */
  readonly asked: boolean
  readonly problem: Refused | null
}

/** After a refusal: a host that is away is back sooner or later. */
const refusedMs = 3_000

/** What is known by now. Another `id` begins anew; null asks for nothing, and neither does a page that nobody sees. */
export function usePolled<T, Reply>(id: string | null, { first, path, gather, everyMs }: Polling<T, Reply>): Polled<T> {
  const [polled, setPolled] = useState<Polled<T>>({ known: first, asked: false, problem: null })
  useEffect(() => {
    if (id === null) return
    const ending = new AbortController()
    let known = first
    let stop: (() => void) | null = null
    const ask = async (): Promise<void> => {
      if (document.hidden) return again(everyMs)
      try {
        known = gather(known, await read<Reply>(path(known), ending.signal))
        setPolled({ known, asked: true, problem: null })
        again(everyMs)
      } catch (problem) {
        if (ending.signal.aborted) return
        if (!(problem instanceof Refused)) throw problem
        setPolled({ known, asked: true, problem })
        again(refusedMs)
      }
    }
    const again = (ms: number): void => { stop = after(ms, () => void ask()) }
    void ask()
    return () => {
      ending.abort()
      stop?.()
    }
  }, [id])
  return polled
}
