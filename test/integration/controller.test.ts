/** The controller as a process of its own: flags, signals, exit statuses, and death at any moment. */
import { build } from 'esbuild'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { version } from '../../kit/version.ts'
import { homePaths, type Home } from '../../kit/paths.ts'
import { listenTcp } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { openDatabase } from '../../db/open.ts'
import { getJob } from '../../db/queries/job.ts'
import { usualMapping } from '../harness/controller.ts'
import { startFakeBait } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

const root = join(import.meta.dirname, '../..')
/** Where the program is built to; its packages are the project's. */
const built = mkdtempSync(join(tmpdir(), 'wnod-built-'))
const file = join(built, 'controller.mjs')

let nats: NatsServer
beforeAll(async () => {
  symlinkSync(join(root, 'node_modules'), join(built, 'node_modules'))
  await build({
    entryPoints: [join(root, 'controller/main.ts')], outfile: file, bundle: true, format: 'esm', platform: 'node', target: 'node20',
    packages: 'external', loader: { '.sql': 'text' },
  })
  nats = await startNats()
})
afterAll(async () => {
  rmSync(built, { recursive: true })
  await nats.stop()
})

let home: Home
const children = new Set<ReturnType<typeof spawn>>()
beforeEach(() => {
  home = homePaths(mkdtempSync(join(tmpdir(), 'wnod-c-')))
  mkdirSync(dirname(home.mapping), { recursive: true })
  writeFileSync(home.mapping, usualMapping)
  writeFileSync(home.controllerConfig, `[nats]\nservers = ["${nats.url}"]\n`)
})
afterEach(async () => {
  for (const child of children) if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  children.clear()
  rmSync(home.home, { recursive: true, force: true })
})

function run(...args: string[]) {
  const child = spawn(process.execPath, [file, '--home', home.home, '--config', home.controllerConfig, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, WNOD_IMAGES: undefined },
  })
  children.add(child)
  const said = { out: '', err: '' }
  child.stdout.on('data', (data) => (said.out += String(data)))
  child.stderr.on('data', (data) => (said.err += String(data)))
  const exit = once(child, 'close').then(([status, signal]) => (status ?? signal) as number | string)
  const up = () => until(() => said.err.includes('"controller ready"'), { withinMs: 60_000, what: 'the controller to be up' })
  return { child, said, exit, up }
}

test('says its version and the settings in force with their origin', async () => {
  const asked = run('--version')
  expect(await asked.exit).toBe(0)
  expect(asked.said.out).toBe(`${version}\n`)
  const checking = run('--check-config')
  expect(await checking.exit).toBe(0)
  expect(checking.said.out).toMatch(/nats\.servers\s+= \["nats:.*controller\.toml:2/)
  expect(checking.said.out).toMatch(/hosts\.lease_s\s+= 600\s+# default/)
  expect(checking.said.err).toContain('mapping: 2 types, 0 rules')
  expect(existsSync(home.db)).toBe(false)
})

test.each([
  ['heartbeats = 2\n', 2, /CONFIG_UNKNOWN_KEY/],
  ['[hosts]\nheartbeat = 2\n', 2, /line=2.*heartbeat_s/],
  ['[http]\nport = 70000\n', 2, /CONFIG_INVALID/],
  ['[http\n', 2, /CONFIG_INVALID/],
])('settings %j are refused', async (text, status, words) => {
  writeFileSync(home.controllerConfig, text)
  const asked = run('--check-config')
  expect(await asked.exit).toBe(status)
  expect(asked.said.err).toMatch(words)
})

test('--check-config refuses a mapping that is wrong', async () => {
  writeFileSync(home.mapping, 'types: {}\ndefault: { type: gone }\n')
  const asked = run('--check-config')
  expect(await asked.exit).toBe(1)
  expect(asked.said.err).toMatch(/MAPPING_REFUSED/)
  expect(asked.said.err).toMatch(/line=2/)
})

test('serves, re-reads the mapping on HUP, and leaves nothing behind on TERM', async () => {
  const program = run()
  await program.up()
  const url = readFileSync(home.controllerUrl, 'utf8').trim()
  expect((await fetch(`${url}/healthz`)).status).toBe(200)
  expect((await fetch(`${url}/v1/hosts/h1/drain`, { method: 'POST' })).status).toBe(404)
  expect(statSync(home.controllerSocket).mode & 0o777).toBe(0o600)
  program.child.kill('SIGHUP')
  program.child.kill('SIGTERM')
  expect(await program.exit).toBe(0)
  expect(existsSync(home.controllerSocket)).toBe(false)
  expect(existsSync(home.controllerUrl)).toBe(false)
})

test('a second controller on the same database, and a port in use, are refused', async () => {
  const program = run()
  await program.up()
  const second = run()
  expect(await second.exit).toBe(1)
  expect(second.said.err).toContain('DATABASE_IN_USE')
  program.child.kill('SIGTERM')
  expect(await program.exit).toBe(0)

  const server = createServer()
  const port = await listenTcp(server, 0)
  writeFileSync(home.controllerConfig, `[nats]\nservers = ["${nats.url}"]\n[http]\nport = ${port}\n`)
  const third = run()
  expect(await third.exit).toBe(1)
  expect(third.said.err).toContain('PORT_IN_USE')
  expect(existsSync(home.controllerSocket)).toBe(false)
  server.close()
})

test('killed again and again while jobs run, it loses nothing', async () => {
  await using bait = await startFakeBait({ url: nats.url, host: 'h1', bootMs: 20, jobMs: 5, heartbeatMs: 100 })
  const jobs: ReturnType<typeof bait.submit>[] = []
  for (let round = 0; round < 4; round += 1) {
    const program = run()
    for (const [user, uid] of [['alice', 1001], ['bob', 1002], ['carol', 1003]] as const) jobs.push(bait.submit({ user, uid }))
    if (round < 3) await until(() => bait.orders?.term === round + 1 && bait.vwns.size > 0, { withinMs: 60_000, what: `orders of term ${round + 1}` })
    else await until(() => bait.jobs.size === 0 && bait.ended.size === 0, { withinMs: 60_000, what: 'all jobs ended and acknowledged' })
    program.child.kill('SIGKILL')
    await program.exit
  }
  const db = openDatabase(home.db)
  expect(jobs.map((job) => getJob(db, job)?.outcome)).toEqual(jobs.map(() => ({ is: 'exited', code: 0 })))
  db.close()
  await until(() => [...bait.vwns.values()].every(({ state }) => state === 'idle'), { withinMs: 60_000 })
})
