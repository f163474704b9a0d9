/**
 * Where the controller's HTTP API is. The operator's unix socket is preferred because it takes orders too; whoever may not open it reads over
 * the loopback port, which only answers GET.
 */
import { readFileSync } from 'node:fs'
import { request, type IncomingMessage, type RequestOptions } from 'node:http'
import { errnoOf } from './atomic-file.ts'
import { VwnError } from '../core/errors.ts'
import type { Home } from './paths.ts'
import { readTokenFile } from './token-file.ts'

export interface HttpAnswer {
  readonly status: number
  readonly text: string
}

const answerMs = 10_000
/** A controller that goes on saying something says at least every five seconds that it is there. */
const silentMs = 15_000
const answerBytesMax = 64 * 1024 * 1024
const api = '/v1'

type Where = Pick<Home, 'controllerSocket' | 'controllerUrl'>

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
export const getFromController = (home: Where, remote: Remote, path: string): Promise<HttpAnswer> =>
  reach(home, remote, (options) => send({ ...options, path: api + path }))

/** What `GET path` goes on saying; CONTROLLER_AWAY when that breaks off, or nothing has come for too long. Who refuses to say anything has answered. */
export const followController = (home: Where, remote: Remote, path: string, signal: AbortSignal): Promise<HttpAnswer | AsyncIterable<string>> =>
  reach(home, remote, async (options) => {
    const reply = await begin({ ...options, path: api + path, timeout: silentMs, signal })
    return reply.statusCode === 200 ? spoken(options, reply) : collect(options, reply)
  })

/** The answer to an order; needs the operator's socket. */
export const orderOfController = (home: Pick<Home, 'controllerSocket'>, path: string): Promise<HttpAnswer> =>
  send({ ...unix(home), method: 'POST', path: api + path })

/** Over the operator's socket, else over the port that it has published. */
async function reach<T>(home: Where, { url, token }: Remote, go: (options: RequestOptions) => Promise<T>): Promise<T> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  if (url !== undefined) return go({ ...tcp(url), headers })
  try {
    return await go(unix(home))
  } catch (error) {
    const published = tryRead(home.controllerUrl)
    if (!(error instanceof VwnError) || published === null) throw error
    return go({ ...tcp(published), headers })
  }
}

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

async function send(options: RequestOptions): Promise<HttpAnswer> {
  return collect(options, await begin({ timeout: answerMs, ...options }))
}

/** The head of the answer. */
function begin(options: RequestOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = request(options, resolve)
    asked.once('timeout', () => asked.destroy(new Error(`no answer in ${options.timeout} ms`)))
    asked.on('error', (cause) => reject(away(options, cause)))
    asked.end()
  })
}

async function collect(options: RequestOptions, reply: IncomingMessage): Promise<HttpAnswer> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of reply as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes > answerBytesMax) throw new Error(`an answer of more than ${answerBytesMax} bytes`)
      chunks.push(chunk)
    }
  } catch (cause) {
    throw away(options, cause)
  }
  return { status: reply.statusCode ?? 0, text: Buffer.concat(chunks).toString('utf8') }
}

async function* spoken(options: RequestOptions, reply: IncomingMessage): AsyncGenerator<string> {
  try {
    for await (const chunk of reply.setEncoding('utf8') as AsyncIterable<string>) yield chunk
  } catch (cause) {
    throw away(options, cause)
  }
}

const away = (options: RequestOptions, cause: unknown): VwnError =>
  new VwnError('CONTROLLER_AWAY', { at: options.socketPath ?? `${options.host}:${options.port}`, why: errnoOf(cause) ?? undefined }, { cause })
