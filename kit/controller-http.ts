/**
 * Where the controller's HTTP API is. The operator's unix socket is preferred because it takes orders too; whoever may not open it reads over
 * the loopback port, which only answers GET.
 */
import { readFileSync } from 'node:fs'
import { request, type RequestOptions } from 'node:http'
import { errnoOf } from './atomic-file.ts'
import { VwnError } from '../core/errors.ts'
import type { Home } from './paths.ts'
import { readTokenFile } from './token-file.ts'

export interface HttpAnswer {
  readonly status: number
  readonly text: string
}

const answerMs = 10_000
const answerBytesMax = 64 * 1024 * 1024
const api = '/v1'

/** How a controller is reached over TCP. */
export interface Remote {
  /** Of a controller on another machine. */
  readonly url?: string | undefined
  readonly token?: string | undefined
}

/** What the environment says of that: WNOD_CONTROLLER, and WNOD_TOKEN or the file that WNOD_TOKEN_FILE names. */
export function remoteIn(env: NodeJS.ProcessEnv): Remote {
  const { WNOD_CONTROLLER: url, WNOD_TOKEN: token, WNOD_TOKEN_FILE: file } = env
  return { url: url || undefined, token: token || (file ? readTokenFile(file) : undefined) }
}

/** The answer to `GET path`, whatever its status; CONTROLLER_AWAY. */
export async function getFromController(home: Pick<Home, 'controllerSocket' | 'controllerUrl'>, remote: Remote, path: string): Promise<HttpAnswer> {
  const { url, token } = remote
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  if (url !== undefined) return send({ ...tcp(url), headers, path: api + path })
  try {
    return await send({ ...unix(home), path: api + path })
  } catch (error) {
    const published = tryRead(home.controllerUrl)
    if (!(error instanceof VwnError) || published === null) throw error
    return send({ ...tcp(published), headers, path: api + path })
  }
}

/** The answer to an order; needs the operator's socket. */
export const orderOfController = (home: Pick<Home, 'controllerSocket'>, path: string): Promise<HttpAnswer> =>
  send({ ...unix(home), method: 'POST', path: api + path })

const unix = (home: Pick<Home, 'controllerSocket'>): RequestOptions => ({ socketPath: home.controllerSocket, host: 'localhost' })

const tcp = (url: string): RequestOptions => {
  const { hostname, port } = new URL(url)
  return { host: hostname, port }
}

function tryRead(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return null
  }
}

function send(options: RequestOptions): Promise<HttpAnswer> {
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
