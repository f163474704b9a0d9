/** Readers that mean no good: without a token, with too much of everything, or with nothing at all. */
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { controllerApi } from '../../cli/client.ts'
import { openFollowers, unreadBytesMax } from '../../controller/http/follow.ts'
import { fakeClock } from '../../kit/clock.ts'
import { remoteIn } from '../../kit/controller-http.ts'
import { captureLog } from '../../kit/log.ts'
import { listenTcp } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { statusSchema } from '../../wire/api.ts'
import { startTestController, type TestController } from '../harness/controller.ts'
import { openEventStream } from '../harness/event-stream.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'
import { tempFolder } from '../harness/temp.ts'

vi.setConfig({ testTimeout: 60_000 })
let nats: NatsServer
let controller: TestController
beforeAll(async () => {
  nats = await startNats()
  controller = await startTestController({ natsUrl: nats.url })
})
afterAll(async () => {
  await controller[Symbol.asyncDispose]()
  await nats.stop()
})

const secret = 'a-token-of-twenty-letters'
const asked = async (url: string, headers: Record<string, string> = {}): Promise<Response> => fetch(url, { headers, signal: AbortSignal.timeout(20_000) })

test('who does not know the token reads nothing over TCP; who knows it, and the operator, read all', async () => {
  await using folder = await tempFolder()
  const tokenFile = join(folder.path, 'token')
  writeFileSync(tokenFile, `${secret}\n`)
  await using guarded = await startTestController({ natsUrl: nats.url, settings: { http: { host: '0.0.0.0', port: 0, tokenFile } } })
  const url = guarded.now.url.replace('0.0.0.0', '127.0.0.1')
  const wrong = [{}, { authorization: 'Bearer' }, { authorization: `Basic ${secret}` }, { authorization: `Bearer ${secret}x` }, { authorization: `Bearer ${secret.slice(1)}` }, { cookie: `token=${secret}` }, { cookie: 'wnod_token=' }]
  for (const headers of wrong) {
    for (const path of ['/v1/farm', '/v1/changes', '/v1/openapi.json', '/v1/nothing', '/readyz']) {
      const reply = await asked(url + path, headers)
      expect([reply.status, ((await reply.json()) as { code: string }).code], `${path} ${JSON.stringify(headers)}`).toEqual([401, 'TOKEN_REQUIRED'])
      expect(reply.headers.get('www-authenticate')).toBe('Bearer realm="wnod"')
    }
  }
  expect((await asked(`${url}/healthz`)).status).toBe(200)
  expect((await asked(`${url}/v1/farm`, { authorization: `Bearer ${secret}` })).status).toBe(200)
  using stream = await openEventStream(`${url}/v1/changes`, { cookie: `theme=dark; wnod_token=${secret}` })
  expect(stream.status).toBe(200)
  expect((await guarded.call('GET', '/v1/farm')).status).toBe(200)
  expect((await fetch(`${url}/v1/hosts/h1/drain`, { method: 'POST', headers: { authorization: `Bearer ${secret}` } })).status).toBe(404)

  const elsewhere = (env: NodeJS.ProcessEnv): Promise<unknown> => controllerApi(controller.home, remoteIn({ WNOD_CONTROLLER: url, ...env })).get('/status', statusSchema)
  await expect(elsewhere({ WNOD_TOKEN: secret })).resolves.toMatchObject({ name: 'wnod' })
  await expect(elsewhere({ WNOD_TOKEN_FILE: tokenFile })).resolves.toMatchObject({ name: 'wnod' })
  await expect(elsewhere({})).rejects.toMatchObject({ code: 'TOKEN_REQUIRED' })
})

test('a controller that others could read does not start without a token that is one', async () => {
  await using folder = await tempFolder()
  const tokenFile = join(folder.path, 'token')
  const started = (host: string, file: string | null): Promise<TestController> => startTestController({ natsUrl: nats.url, settings: { http: { host, port: 0, tokenFile: file } } })
  for (const host of ['0.0.0.0', '::', '192.0.2.1']) await expect(started(host, null)).rejects.toMatchObject({ code: 'HTTP_UNPROTECTED', facts: { host } })
  await expect(started('127.0.0.1', tokenFile)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  for (const text of ['', 'short', `${secret}\n${secret}`, 'with spaces in between it']) {
    writeFileSync(tokenFile, text)
    await expect(started('127.0.0.1', tokenFile)).rejects.toMatchObject({ code: 'HTTP_TOKEN_UNFIT', facts: { file: tokenFile } })
  }
})

test.each([
  '/v1/jobs?limit=999999999', '/v1/jobs?limit=1e9', '/v1/events?limit=1001', '/v1/events?since=-1', '/v1/events?from=never', '/v1/history?at=NaN', '/v1/history', '/v1/changes?since=1.5',
  `/v1/jobs?user=${'x'.repeat(300)}`, '/v1/jobs?user=a&user=b', '/v1/jobs?user[a][b][c]=d', '/v1/jobs?__proto__=1', `/v1/jobs?fields=${'job,'.repeat(300)}`, `/v1/vwns?cursor=${'A'.repeat(300)}`, '/v1/farm?since=1',
])('%s is refused', async (path) => {
  expect(await controller.read('GET', path)).toMatchObject({ status: 400, body: { code: 'REQUEST_INVALID' } })
})

/** A connection that says this and never reads. */
async function rude(words: string | Buffer): Promise<{ readonly socket: Socket; readonly gone: () => boolean }> {
  const { hostname, port } = new URL(controller.now.url)
  const socket = connect(Number(port), hostname)
  let gone = false
  socket.on('error', () => undefined)
  socket.once('close', () => { gone = true })
  await new Promise((resolve) => socket.once('connect', resolve))
  if (words.length > 0) socket.pause()
  else socket.resume()
  socket.write(words)
  return { socket, gone: () => gone }
}

test('ten megabytes of header end that connection and none else', async () => {
  const { socket, gone } = await rude(Buffer.concat([Buffer.from('GET /v1/farm HTTP/1.1\r\nhost: x\r\nlong: '), Buffer.alloc(10 * 1024 * 1024, 'a')]))
  socket.resume()
  await until(gone, { withinMs: 20_000 })
  expect((await controller.read('GET', '/v1/status')).status).toBe(200)
})

test('five hundred connections that never send, or never read, keep nobody else from reading; who sends nothing is cut off', async () => {
  const request = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`
  const silent = await Promise.all(Array.from({ length: 250 }, () => rude('')))
  const deaf = await Promise.all(Array.from({ length: 250 }, (_, index) => rude(request(index % 2 === 0 ? '/v1/farm' : '/v1/changes').repeat(index % 3 === 0 ? 5 : 1))))
  await until(() => controller.now.watchers >= 80, { withinMs: 20_000 })
  for (let round = 0; round < 5; round += 1) expect((await controller.read('GET', '/v1/farm')).status).toBe(200)
  await until(() => silent.every(({ gone }) => gone()), { withinMs: 30_000, what: 'silent connections are cut off' })
  expect((await controller.read('GET', '/v1/status')).status).toBe(200)
  for (const { socket } of deaf) socket.destroy()
  await until(() => controller.now.watchers === 0, { withinMs: 20_000 })
})

test('a watcher that does not read is dropped when its bound is reached, one that reads is not, and both were told the same bytes', async () => {
  const { log, lines } = captureLog()
  const followers = openFollowers({ clock: fakeClock(), log, signal: new AbortController().signal })
  let newest = 0
  let written = 0
  const followed = {
    newest: () => newest,
    after: (since: number) => ({ upTo: newest, text: since === newest ? '' : (written += 1, `id: ${newest}\nevent: change\ndata: "${'x'.repeat(300 * 1024)}"\n\n`) }),
  }
  const server = createServer((_, response) => followers.add(response, followed, undefined))
  const port = await listenTcp(server, 0)
  const deaf = connect(port, '127.0.0.1')
  deaf.pause().write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  using reader = await openEventStream(`http://127.0.0.1:${port}`)
  await until(() => followers.count === 2, { withinMs: 20_000 })
  const changes = (): number => reader.events.filter(({ event }) => event === 'change').length
  await until(() => {
    if (changes() < newest) return false
    newest += 1
    followers.runOnce()
    return followers.count === 1
  }, { withinMs: 30_000, everyMs: 5 })
  expect(written).toBe(newest)
  expect(lines.find(({ msg }) => msg === 'watcher dropped, it does not read')).toMatchObject({ unreadBytes: expect.any(Number) })
  expect(Number(lines[0]?.['unreadBytes'])).toBeLessThan(2 * unreadBytesMax)
  await until(() => changes() === newest, { withinMs: 20_000 })
  deaf.destroy()
  await followers.stop()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})
