/** What controller and bait say to Prometheus, read by Prometheus itself; and what docs/monitoring makes of it. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { baitHttp } from '../../bait/http.ts'
import { systemClock } from '../../kit/clock.ts'
import { run } from '../../kit/command.ts'
import { silentLog } from '../../kit/log.ts'
import { openMetrics } from '../../kit/metrics.ts'
import { until } from '../../kit/until.ts'
import { errorReplySchema } from '../../wire/api.ts'
import { baitLab, type BaitLab } from '../bait/lab.ts'
import { startTestController, usualMapping, type TestController } from '../harness/controller.ts'
import { startFakeBait, type FakeBait } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'
import { startPrometheus } from '../harness/prometheus.ts'
import { tempFolder } from '../harness/temp.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })
const rules = 'docs/monitoring/rules.yml'
const textOf = async (url: string, path = '/metrics'): Promise<string> => (await fetch(url + path)).text()

let nats: NatsServer
let controller: TestController
let played: FakeBait
let lab: BaitLab
let baitUrl: string

beforeAll(async () => {
  nats = await startNats()
  controller = await startTestController({ natsUrl: nats.url, mapping: usualMapping.replace('scratch_gib: 1 }', 'scratch_gib: 1, pool: { max: 1 } }') })
  played = await startFakeBait({ url: nats.url, host: 'h1' })
  const ended = async (job: string): Promise<unknown> => controller.untilJob(job, ({ state }) => state === 'ended')
  await ended(played.submit())
  await ended(played.submit())
  await ended(played.submit({ user: 'bob', uid: 1002, want: { type: 'small' } }))
  await ended(played.submit({ want: { type: 'huge' } }))
  await ended(played.submit({ user: 'carol', uid: 1003 }))
  lab = await baitLab({ templates: true, failAt: 'hello', failTimes: 1, deadlineMs: 1_500 })
  await lab.start()
  baitUrl = readFileSync(lab.home.host('h1').url, 'utf8').trim()
  const job = lab.jobs.submit('h1-1')
  lab.jobs.scrub = () => Promise.resolve({ checked: ['scratch'], left: ['/tmp/secret'], tookMs: 1 })
  lab.order(lab.wanted('v1', { job }))
  await until(() => lab.jobs.assigned.length === 1, { withinMs: 20_000 })
  lab.jobs.assigned[0]?.end()
  await lab.seen('v1', 'gone')
})
afterAll(async () => {
  await lab?.[Symbol.asyncDispose]()
  await played?.stop()
  await controller?.[Symbol.asyncDispose]()
  await nats?.stop()
})

test('both say what promtool takes for good metrics', async () => {
  for (const url of [controller.now.url, baitUrl]) {
    const { stdout, stderr } = await run('promtool', ['check', 'metrics'], { input: await textOf(url) })
    expect(stdout + stderr).toBe('')
  }
})

test('the rules are valid, and set off when they should', async () => {
  await run('promtool', ['check', 'rules', rules])
  await run('promtool', ['check', 'config', 'docs/monitoring/prometheus.yml'])
  await run('promtool', ['test', 'rules', 'test/monitoring/rules.test.yml'])
})

test('no label tells a user, a job or a VWN', async () => {
  for (const text of [await textOf(controller.now.url), await textOf(baitUrl)]) {
    const lines = text.split('\n').filter((line) => !line.startsWith('#'))
    expect(lines.filter((line) => /alice|bob|h1-\d|"v\d/.test(line))).toEqual([])
  }
})

/** Names in these texts that begin with ours, but for those that recording rules make. */
const used = (texts: readonly string[]): readonly string[] =>
  [...new Set(texts.flatMap((text) => text.match(/(?<![\w:])(?:wnod|process|nodejs)_\w+(?!:)\b/g) ?? []))]

interface Panel {
  readonly panels?: readonly Panel[]
  readonly targets?: readonly { readonly expr: string }[]
}
const expressionsOf = ({ panels = [], targets = [] }: Panel): readonly string[] => [...targets.map(({ expr }) => expr), ...panels.flatMap(expressionsOf)]
/** What the dashboard asks for, in the order of its panels, with an interval where Grafana chooses one. */
const shown = expressionsOf(JSON.parse(readFileSync('docs/monitoring/dashboard.json', 'utf8')) as Panel).map((text) => text.replaceAll('$__rate_interval', '5m'))

test('promtool understands every expression of the dashboard', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'dashboard.yml')
  const group = { name: 'dashboard', rules: shown.map((expr, nth) => ({ record: `dashboard:panel_${nth}`, expr })) }
  writeFileSync(file, JSON.stringify({ groups: [group] })) // which is YAML
  expect((await run('promtool', ['check', 'rules', file])).stdout).toContain(`${shown.length} rules found`)
})

test('every metric of the dashboard and of the rules exists', async () => {
  const live = await Promise.all([controller.now.url, baitUrl].map((url) => textOf(url)))
  const families = live.flatMap((text) => [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)]).flatMap(([, name = '', type]) =>
    (type === 'histogram' ? ['_bucket', '_sum', '_count'].map((end) => name + end) : [name]))
  const { groups } = parse(readFileSync(rules, 'utf8')) as { groups: { rules: { expr: string; record?: string }[] }[] }
  const ruled = groups.flatMap((group) => group.rules)
  const names = used([...ruled.map(({ expr }) => expr), ...shown])
  expect(names.length).toBeGreaterThan(30)
  expect(names.filter((name) => !families.includes(name))).toEqual([])
  const recorded = new Set(ruled.map(({ record }) => record))
  expect(shown.flatMap((text) => text.match(/\w+:\w+:\w+/g) ?? []).filter((name) => !recorded.has(name))).toEqual([])
})

test('a Prometheus reads both, and finds in them what has happened', async () => {
  await using prometheus = await startPrometheus({ 'wnod-controller': controller.now.url, 'wnod-bait': baitUrl }, resolve(rules))
  await until(async () => [...(await prometheus.query('sum(up)')).values()][0] === 2, { withinMs: 20_000, what: 'both are scraped' })
  const value = async (expression: string): Promise<number | undefined> => [...(await prometheus.query(expression)).values()][0]
  const expected = {
    'sum by (by) (wnod_placements_total{by="reused"})': 1,
    'sum(wnod_placements_total{by="new"})': 3,
    'wnod_pool_misses_total{type="small"}': 1,
    'wnod_jobs_ended_total{outcome="exited"}': 4,
    'wnod_job_failures_total{outcome="refused",code="TYPE_UNKNOWN"}': 1,
    'wnod_job_phase_seconds_count{phase="run"}': 4,
    'wnod_placement_wait_seconds_count{by="refused"}': 1,
    'sum(wnod_jobs)': 0,
    'sum(wnod_vwns{state="idle",type="standard"})': 2,
    'wnod_hosts{fact="alive",want="open"}': 1,
    'wnod_host_alive{host="h1"}': 1,
    'wnod_host_cpus': 8,
    'wnod_host_memory_bytes': 16 * 1024 ** 3,
    'wnod_history_rows{table="jobs"}': 5,
    'wnod_mapping_in_force': 1,
    'wnod_bus_connected + on() wnod_bait_bus_connected + on() wnod_bait_ready + on() wnod_bait_controller_answers': 4,
    'sum(wnod_bait_vwn_make_seconds_count)': 1,
    'sum(wnod_bait_vwn_contact_seconds_count)': 1,
    'wnod_bait_scrub_failures_total{why="left"}': 1,
    'wnod_bait_vwns_gone_total{code="VWN_DIRTY"}': 1,
    'wnod_bait_vwns{state="gone"}': 1,
    'count(wnod_bait_host_disk_available_bytes > 0)': 1,
  }
  // A scrape that comes late on a busy machine makes everything stale until the next one.
  await until(async () => {
    const found = await Promise.all(Object.keys(expected).map(async (expression) => [expression, await value(expression)] as const))
    expect(Object.fromEntries(found)).toEqual(expected)
    return true
  }, { withinMs: 30_000, what: 'what has happened is told' })

  const healthy = async (): Promise<boolean> => {
    const { groups } = await prometheus.ask('rules') as { groups: { rules: { health: string }[] }[] }
    return groups.flatMap((group) => group.rules).every(({ health }) => health === 'ok')
  }
  await until(healthy, { withinMs: 20_000, what: 'every rule can be evaluated' })
})

test('HTTP requests are counted by route, not by address', async () => {
  await controller.call('GET', '/v1/jobs/h1-1')
  await controller.call('GET', '/v1/jobs/h1-2')
  await controller.call('GET', '/nothing/here')
  const text = await textOf(controller.now.url)
  expect(text).toContain('wnod_http_request_seconds_count{route="/v1/jobs/:id",method="GET",status="200"}')
  expect(text).toContain('wnod_http_request_seconds_count{route="none",method="GET",status="404"} 1')
})

test('a bait that is to serve nothing over HTTP does not, and a port that is taken is named', async () => {
  await using folder = await tempFolder()
  const urlFile = join(folder.path, 'h1.url')
  const start = async (port: number | 'off'): Promise<void> => {
    const http = baitHttp({ clock: systemClock, log: silentLog, signal: new AbortController().signal }, { settings: { host: '127.0.0.1', port }, urlFile, metrics: openMetrics('bait'), unready: () => null })
    await http.start()
    await http.stop()
  }
  await start('off')
  expect(existsSync(urlFile)).toBe(false)
  await expect(start(Number(new URL(baitUrl).port))).rejects.toMatchObject({ code: 'PORT_IN_USE' })
})

test('a bait is alive from its start, and ready once it can take jobs', async () => {
  await using other = await baitLab()
  other.silent = true
  await other.start()
  const url = readFileSync(other.home.host('h1').url, 'utf8').trim()
  const answer = async (path: string, method = 'GET'): Promise<{ status: number; code: string | null }> => {
    const reply = await fetch(url + path, { method })
    const body: unknown = await reply.json()
    return { status: reply.status, code: errorReplySchema.safeParse(body).data?.code ?? null }
  }
  expect(await answer('/healthz')).toEqual({ status: 200, code: null })
  await until(async () => (await answer('/readyz')).status === 200, { withinMs: 20_000, what: 'it is ready' })
  expect(await textOf(url)).toMatch(/^wnod_bait_controller_answers 0$/m)
  expect(await answer('/nothing')).toEqual({ status: 404, code: 'ROUTE_NOT_FOUND' })
  expect(await answer('/healthz', 'POST')).toEqual({ status: 404, code: 'ROUTE_NOT_FOUND' })
  await other.cutOff()
  await until(async () => (await answer('/readyz')).code === 'BUS_UNREACHABLE', { withinMs: 20_000, what: 'it is not ready without a bus' })
  await other.stop()
  expect(() => readFileSync(other.home.host('h1').url)).toThrow('ENOENT')
})
