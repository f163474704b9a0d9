/**
 * The controller's HTTP API as the commands use it. The operator's unix socket is preferred because it takes orders too; whoever
 * may not open it reads over the loopback port, which only answers GET.
 */
import { readFileSync } from 'node:fs'
import { request, type RequestOptions } from 'node:http'
import type { z } from 'zod'
import { catalogue, VwnError, type ErrorCode } from '../core/errors.ts'
import { errnoOf } from '../kit/atomic-file.ts'
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

const answerMs = 10_000
const answerBytesMax = 64 * 1024 * 1024
const api = '/v1'

/** A client for the controller of this home; `url` (WNOD_CONTROLLER) names one on another machine. */
export function controllerApi(home: Home, url?: string | undefined): Api {
  const socket: RequestOptions = { socketPath: home.controllerSocket, host: 'localhost' }
  return {
    async get(path, schema, query = {}) {
      const call = (to: RequestOptions) => ask(to, 'GET', api + path + queryText(query), schema)
      if (url !== undefined) return call(tcp(url))
      try {
        return await call(socket)
      } catch (error) {
        const published = await tryRead(home.controllerUrl)
        if (!(error instanceof VwnError) || error.code !== 'CONTROLLER_AWAY' || published === null) throw error
        return call(tcp(published))
      }
    },
    order: (path, schema) => ask(socket, 'POST', api + path, schema),
  }
}

const tcp = (url: string): RequestOptions => {
  const { hostname, port } = new URL(url)
  return { host: hostname, port }
}

const tryRead = async (file: string): Promise<string | null> => {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return null
  }
}

function queryText(query: Query): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one))
  }
  return search.size === 0 ? '' : `?${search.toString()}`
}

async function ask<S extends z.ZodType>(to: RequestOptions, method: string, path: string, schema: S): Promise<z.output<S>> {
  const { status, text } = await send({ ...to, method, path })
  const body = json(text)
  if (status >= 400) throw refusal(status, body)
  const parsed = schema.safeParse(body)
  if (parsed.success) return parsed.data
  throw new VwnError('CONTROLLER_STRANGE', { path, status, why: parsed.error.issues[0]?.message })
}

function send(options: RequestOptions): Promise<{ status: number; text: string }> {
  const where = options.socketPath ?? `${options.host}:${options.port}`
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown): void => reject(new VwnError('CONTROLLER_AWAY', { at: where, why: errnoOf(cause) ?? undefined }, { cause }))
    const asked = request({ ...options, timeout: answerMs }, (reply) => {
      const chunks: Buffer[] = []
      let bytes = 0
      reply.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes > answerBytesMax) reply.destroy(new Error(`an answer of more than ${answerBytesMax} bytes`))
        else chunks.push(chunk)
      })
      reply.once('error', fail)
      reply.once('end', () => resolve({ status: reply.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }))
    })
    asked.once('timeout', () => asked.destroy(new Error(`no answer in ${answerMs} ms`)))
    asked.once('error', fail)
    asked.end()
  })
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
