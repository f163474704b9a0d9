/** The controller's HTTP API as the commands use it: every answer is checked, and every refusal is the controller's own failure. */
import type { z } from 'zod'
import { catalogue, VwnError, type ErrorCode } from '../core/errors.ts'
import { getFromController, orderOfController, type HttpAnswer, type Remote } from '../kit/controller-http.ts'
import type { Home } from '../kit/paths.ts'
import { errorReplySchema } from '../wire/api.ts'

/** Names and values of a query; undefined ones are left out. */
export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

export interface Api {
  /** The checked answer of `GET path`, or the controller's own failure. */
  get<S extends z.ZodType>(path: string, schema: S, query?: Query): Promise<z.output<S>>
  /** As `get`, for an order; needs the operator's socket. */
  order<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>>
}

/** A client for the controller of this home, or for one on another machine. */
export const controllerApi = (home: Home, remote: Remote = {}): Api => ({
  get: async (path, schema, query = {}) => understood(path, schema, await getFromController(home, remote, path + queryText(query))),
  order: async (path, schema) => understood(path, schema, await orderOfController(home, path)),
})

function queryText(query: Query): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one))
  }
  return search.size === 0 ? '' : `?${search.toString()}`
}

function understood<S extends z.ZodType>(path: string, schema: S, { status, text }: HttpAnswer): z.output<S> {
  const body = json(text)
  if (status >= 400) throw refusal(status, body)
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  throw new VwnError('CONTROLLER_STRANGE', { path, status, why: parsed.error.issues[0]?.message })
}

function json(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return null
  }
}

/** The controller's failure as our own, so that it is shown, and the exit status chosen, in one place. */
function refusal(status: number, body: unknown): VwnError {
  const reply = errorReplySchema.safeParse(body)
  if (!reply.success) return new VwnError('CONTROLLER_STRANGE', { status })
  const { code, message, facts } = reply.data
  if (Object.hasOwn(catalogue, code)) return new VwnError(code as ErrorCode, facts)
  return new VwnError('CONTROLLER_STRANGE', { status, code, message })
}
