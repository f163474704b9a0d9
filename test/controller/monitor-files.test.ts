/** The monitor's files over HTTP; and the page itself on a farm as large as farms get, of which only the API is played. */
import { fastify, type FastifyInstance } from 'fastify'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sendError } from '../../controller/http/errors.ts'
import { monitorRoutes } from '../../controller/http/monitor.ts'
import { hostId, jobId, vwnId } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import { captureLog } from '../../kit/log.ts'
import { until } from '../../kit/until.ts'
import type { Farm } from '../../wire/farm.ts'
import { hasBrowser, startBrowser } from '../harness/browser.ts'
import { tempFolder } from '../harness/temp.ts'
import { aHost, aJob, aVwn } from '../monitor/sample.ts'

test('files are served with their types, kept by browsers as their names say, and under a strict policy', async () => {
  await using folder = await tempFolder()
  await using app = served(folder.path)
  mkdirSync(join(folder.path, 'assets'))
  writeFileSync(join(folder.path, 'index.html'), '<!doctype html>')
  writeFileSync(join(folder.path, 'assets/index-Ab_1.js'), '1')
  writeFileSync(join(folder.path, 'secret.js'), '2')
  const page = await app.inject('/?page=vwn&id=v1')
  expect([page.statusCode, page.body, page.headers]).toMatchObject([200, '<!doctype html>', { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-cache', 'x-content-type-options': 'nosniff' }])
  expect(page.headers['content-security-policy']).toMatch(/default-src 'none'.*script-src 'self'; style-src 'self'; connect-src 'self'.*frame-ancestors 'none'/)
  const script = await app.inject('/assets/index-Ab_1.js')
  expect([script.body, script.headers]).toMatchObject(['1', { 'content-type': 'text/javascript; charset=utf-8', 'cache-control': 'public, max-age=31536000, immutable' }])
  for (const path of ['/assets/other.js', '/assets/..%2fsecret.js', '/assets/.js', '/assets/index-Ab_1.js%00', '/secret.js']) expect((await app.inject(path)).statusCode, path).toBe(404)
})

test('a monitor that was not built says so, and what to run', async () => {
  await using folder = await tempFolder()
  await using app = served(folder.path)
  const page = await app.inject('/')
  expect([page.statusCode, page.headers['content-type'], page.body]).toEqual([503, 'text/plain; charset=utf-8', expect.stringMatching(/^the monitor is not built \(folder=.*\): run `npm run build`.*\n$/)])
})

test('docs/monitor.md leads to every picture that there is, and to no other', () => {
  const named = readFileSync('docs/monitor.md', 'utf8').match(/(?<=\(monitor\/)[\w-]+\.webp/g)
  expect([...new Set(named)].sort()).toEqual(readdirSync('docs/monitor').sort())
})

const hosts = 1_000
const vwnsEach = 10
/** 200 changes a second, in as many batches as the controller sends. */
const changesEach = 40
const batchMs = 200
const batches = 15

test.skipIf(!hasBrowser)('ten thousand VWNs that change 200 times a second take less than a quarter of a processor', { timeout: 90_000 }, async () => {
  const farm = largeFarm()
  let sent = 0
  await using app = served()
  app.get('/v1/farm', () => farm)
  app.get('/v1/images', () => ({ images: [] }))
  app.get('/v1/changes', (_, reply) => {
    const { raw } = reply.hijack()
    raw.writeHead(200, { 'content-type': 'text/event-stream' })
    const timer = systemClock.every(batchMs, () => raw.write(`event: change\ndata: ${JSON.stringify(changed(farm, ++sent))}\n\n`))
    raw.once('close', () => timer.cancel())
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  await using browser = await startBrowser()
  const { page, untilText, complaints } = await browser.open(url)
  await untilText(/live/, '.fresh')
  await page.waitForSelector('[data-vwn]')
  await until(() => sent >= 3, { withinMs: 20_000 }) // what comes once is over
  const from = sent
  const before = await page.metrics()
  await until(() => sent >= from + batches, { withinMs: 60_000 })
  const after = await page.metrics()
  const share = ((after.ScriptDuration ?? NaN) - (before.ScriptDuration ?? NaN)) / ((after.Timestamp ?? NaN) - (before.Timestamp ?? NaN))
  expect(share).toBeLessThan(0.25)
  expect((await page.$$('*')).length).toBeLessThan(3_000)
  await page.$eval('.field', (field) => { (field as unknown as { scrollTop: number }).scrollTop = 1e9 })
  await untilText(/node1000/, '.field')
  expect(complaints).toEqual([])
})

/** The routes of the page alone. */
function served(folder?: string): FastifyInstance & AsyncDisposable {
  const app = fastify({ forceCloseConnections: true })
  app.setErrorHandler((error, request, reply) => sendError(captureLog().log, error, request, reply))
  monitorRoutes(app, folder)
  return Object.assign(app, { [Symbol.asyncDispose]: () => app.close() })
}

function largeFarm(): Farm {
  const names = Array.from({ length: hosts }, (_, index) => hostId(`node${index + 1}`))
  const vwns = names.flatMap((host, index) => Array.from({ length: vwnsEach }, (_, nth) => {
    const number = index * vwnsEach + nth + 1
    return aVwn({ vwn: vwnId(`v${number}`), host, state: nth % 2 === 0 ? 'busy' : 'idle', user: `user${number % 50}`, job: nth % 2 === 0 ? jobId(`${host}-${number}`) : null, cpus: 1 })
  }))
  const jobs = vwns.flatMap(({ vwn, host, job, user }) => (job === null ? [] : [aJob({ job, host, vwn, user: user ?? '', state: 'running' })]))
  return { generation: 1, nowMs: systemClock.nowMs(), hosts: names.map((host) => aHost({ host })), vwns, jobs }
}

/** Each time other VWNs, all over the farm. */
function changed({ vwns }: Farm, nth: number): Farm {
  const some = Array.from({ length: changesEach }, (_, index) => vwns[((nth * changesEach + index) * 7919) % vwns.length] ?? aVwn())
  return { generation: 1 + nth, nowMs: systemClock.nowMs(), hosts: [], vwns: some.map((vwn) => ({ ...vwn, state: nth % 2 === 0 ? 'cleaning' : 'busy' })), jobs: [] }
}
