/** What a view has asked the controller for. */
import { useEffect, useState } from 'preact/hooks'
import { read, Refused } from './api.ts'

export interface Asked<T> {
  /** The last answer; stays while the next one is on its way. */
  readonly value: T | null
  readonly problem: Refused | null
}

/** The answer to `GET path`, asked for again whenever `version` is another. Null asks for nothing. */
export function useAsked<T>(path: string | null, version: string | number = ''): Asked<T> {
  const [asked, setAsked] = useState<Asked<T> & { readonly path: string | null }>({ path: null, value: null, problem: null })
  useEffect(() => {
    if (path === null) return
    const ending = new AbortController()
    read<T>(path, ending.signal).then(
      (value) => setAsked({ path, value, problem: null }),
      (problem: unknown) => {
        if (ending.signal.aborted) return
        if (!(problem instanceof Refused)) throw problem
        setAsked((before) => ({ path, value: before.path === path ? before.value : null, problem }))
      },
    )
    return () => ending.abort()
  }, [path, version])
  return asked.path === path ? asked : { value: null, problem: null }
}
