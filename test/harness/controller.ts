/** A controller in this process on a temporary home: real database, real bus, real sockets; restarted as often as a test likes. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request, type RequestOptions } from 'node:http'
import { dirname } from 'node:path'
import type { z } from 'zod'
import { startController, type Controller } from '../../controller/controller.ts'
import { loadSettings, type Settings } from '../../controller/config.ts'
import { systemClock, type Clock } from '../../kit/clock.ts'
import { captureLog, type LogLine } from '../../kit/log.ts'
import { homePaths, type Home } from '../../kit/paths.ts'
import { until } from '../../kit/until.ts'
import { folderOfRun } from './temp.ts'
import {
  hostsReplySchema, jobViewSchema, jobsReplySchema, vwnDetailSchema, vwnsReplySchema,
  type HostView, type JobView, type VwnDetail, type VwnView,
} from '../../wire/api.ts'

/** Two types, `standard` (debian12) for everybody and `small` (tiny) on request. */
export const usualMapping = `
types:
  standard: { image: debian12, cpus: 2, memory_mib: 1024, scratch_gib: 4 }
  small: { image: tiny, cpus: 1, memory_mib: 128, scratch_gib: 1 }
rules: []
default: { type: standard, allow: [small] }
`

export interface Reply {
  readonly status: number
  readonly body: unknown
}

export interface TestController extends AsyncDisposable {
  readonly home: Home
  readonly settings: Settings
  readonly lines: readonly LogLine[]
  /** The controller that runs now; throws while none does. */
  readonly now: Controller
  start(): Promise<void>
  /** Stops it in order. */
  halt(): Promise<void>
  writeMapping(text: string): void
  /** Over the operator's socket. */
  call(method: 'GET' | 'POST', path: string): Promise<Reply>
  /** Over TCP. */
  read(method: 'GET' | 'POST', path: string): Promise<Reply>
  get<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>>
  hosts(): Promise<HostView[]>
  vwns(query?: string): Promise<VwnView[]>
  vwn(id: string): Promise<VwnDetail>
  jobs(query?: string): Promise<JobView[]>
  job(id: string): Promise<JobView>
  /** Waits until the job looks like this. */
  untilJob(id: string, holds: (job: JobView) => boolean): Promise<JobView>
}

export interface TestControllerOptions {
  readonly natsUrl: string
  readonly mapping?: string | null
  readonly clock?: Clock
  readonly settings?: Partial<Settings>
}

/** A running controller on a home of its own. */
export async function startTestController(options: TestControllerOptions): Promise<TestController> {
  const { natsUrl, mapping = usualMapping, clock = systemClock } = options
  const folder = mkdtempSync(folderOfRun('c'))
  const home = homePaths(folder)
  const writeMapping = (text: string): void => {
    mkdirSync(dirname(home.mapping), { recursive: true })
    writeFileSync(home.mapping, text)
  }
  mkdirSync(dirname(home.mapping), { recursive: true })
  if (mapping !== null) writeMapping(mapping)
  const settings: Settings = {
    ...loadSettings({ home: folder, config: null, env: {} }).settings,
    nats: { servers: [natsUrl], creds: null },
    ...options.settings,
  }
  const { log, lines } = captureLog()
  let now: Controller | null = null
  let ending = new AbortController()

  const start = async (): Promise<void> => {
    ending = new AbortController()
    now = await startController(settings, { clock, log, signal: ending.signal })
  }
  const halt = async (): Promise<void> => {
    const stopping = now
    now = null
    ending.abort()
    await stopping?.stop()
  }
  const running = (): Controller => {
    if (now === null) throw new Error('no controller runs')
    return now
  }
  const call = (method: string, path: string): Promise<Reply> => ask({ socketPath: home.controllerSocket, method, path })
  const get = async <S extends z.ZodType>(path: string, schema: S): Promise<z.output<S>> => {
    const { status, body } = await call('GET', path)
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`)
    return schema.parse(body)
  }
  const job = (id: string): Promise<JobView> => get(`/v1/jobs/${id}`, jobViewSchema)
  try {
    await start()
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    throw error
  }
  return {
    home, settings, lines, start, halt, writeMapping, call, get, job,
    get now() { return running() },
    read: (method, path) => {
      const { hostname, port } = new URL(running().url)
      return ask({ host: hostname, port, method, path })
    },
    hosts: async () => (await get('/v1/hosts', hostsReplySchema)).hosts,
    vwns: async (query = '') => (await get(`/v1/vwns${query}`, vwnsReplySchema)).vwns,
    vwn: (id) => get(`/v1/vwns/${id}`, vwnDetailSchema),
    jobs: async (query = '') => (await get(`/v1/jobs${query}`, jobsReplySchema)).jobs,
    untilJob: (id, holds) =>
      until(async () => {
        const view = await job(id)
        return holds(view) ? view : null
      }, { withinMs: 20_000, what: `job ${id}` }),
    async [Symbol.asyncDispose]() {
      await halt()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function ask(options: RequestOptions): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const asked = request(options, (reply) => {
      const chunks: Buffer[] = []
      reply.on('data', (chunk: Buffer) => chunks.push(chunk))
      reply.once('error', reject)
      reply.once('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        resolve({ status: reply.statusCode ?? 0, body: text === '' ? null : (JSON.parse(text) as unknown) })
      })
    })
    asked.once('error', reject)
    asked.end()
  })
}
