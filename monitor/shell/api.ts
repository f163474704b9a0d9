/**
 * Asks the controller that served this page. Its answers are taken at their word, without the schemas of wire/: page and answers come from
 * one build, and zod would be most of what the browser has to load.
 */
import type { ErrorReply } from '../../wire/api.ts'

/** The controller has refused, in its own words; `status` 0: it did not answer. */
export class Refused extends Error {
  readonly status: number
  readonly code: string
  readonly hint: string
  constructor(status: number, { code, message, hint }: Pick<ErrorReply, 'code' | 'message' | 'hint'>, cause?: unknown) {
    super(message, { cause })
    this.status = status
    this.code = code
    this.hint = hint
  }
}

/** The answer to `GET path`, or `Refused`. */
export async function read<T>(path: string, signal?: AbortSignal): Promise<T> {
  const reply = await fetch(path, { headers: { accept: 'application/json' }, ...(signal !== undefined && { signal }) }).catch((error: unknown) => {
    if (signal?.aborted === true) throw error
    throw new Refused(0, { code: 'CONTROLLER_AWAY', message: 'the controller does not answer', hint: 'it is asked again by itself' }, error)
  })
  if (reply.ok) return (await reply.json()) as T
  const nothing = { code: `HTTP ${reply.status}`, message: `${path} was refused`, hint: 'see the log of the controller, or of what stands before it' }
  throw new Refused(reply.status, await reply.json().then((said) => said as ErrorReply, () => nothing))
}
