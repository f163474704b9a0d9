/** What it costs to watch a large farm: the page in a real browser, the lists of the API, and whoever follows the changes; all of it while the farm moves. */
import { Agent, get, type IncomingMessage } from 'node:http'
import Sqlite from 'better-sqlite3'
import { serverEvents } from '../kit/server-events.ts'
import { until } from '../kit/until.ts'
import type { Farm } from '../wire/farm.ts'
import type { TestBrowser, TestPage } from '../test/harness/browser.ts'
import { ticksOf } from './idle.ts'
import { amount, compare, type Amount, type Comparison, type Found } from './results.ts'
import { startSimulatedFarm, type FarmSize, type SimulatedFarm } from './simulated-farm.ts'
import { quantile } from './stats.ts'

/** The farm, and how many states of its VWNs and jobs change in a second. */
export interface Moving extends FarmSize {
  readonly changesPerSecond: number
}

const watchers = 100
const watchMs = 15_000
const settleMs = 10_000
const asksOfEach = 100
const pageMs = 60_000
const lists = ['/v1/hosts', '/v1/vwns', '/v1/jobs', '/v1/jobs?only=ended', '/v1/types', '/v1/images', '/v1/status', '/v1/events?order=desc', '/v1/history/export?limit=100'] as const

const say = (text: string): void => void process.stderr.write(`${text}\n`)
const passed = async (ms: number): Promise<void> => {
  const startedMs = performance.now()
  await until(() => performance.now() - startedMs >= ms, { withinMs: ms * 2 + 10_000, everyMs: 200, what: 'the end of the watch' })
}

/** Page, lists, events and watchers while the farm moves; then, when nobody reports any more, lists against their bare queries. */
export async function monitor(size: Moving, runs: number): Promise<Found> {
  const { startBrowser } = await import('../test/harness/browser.ts') // needs a browser, which no other measurement does
  await using farm = await startSimulatedFarm(size)
  say(`  monitor: ${size.hosts} hosts with ${size.vwnsPerHost} VWNs each, all busy`)
  farm.play(size.changesPerSecond)
  await passed(settleMs)
  const moves = await movesOf(farm)
  const note = `${size.hosts} hosts, ${size.hosts * size.vwnsPerHost} VWNs, ${Math.round(moves.perSecond)} changes a second`
  const amounts: Amount[] = [
    amount('monitor: changes of VWNs and jobs', moves.perSecond, 'a second', { note: 'by the generation of the farm' }),
    ofMs('monitor: event from transaction to a watcher, p99', moves.lateMs, 0.99, { most: 250, note }),
    ...(await watcherCost(farm, runs, note)),
    ofMs('monitor: a list of the API, p99', await timesOf(farm, lists, asksOfEach), 0.99, { most: 50, note: `${note}; ${lists.join(', ')} in turn` }),
  ]
  for (const list of lists) amounts.push(ofMs(`monitor: ${list}, p99`, await timesOf(farm, [list], asksOfEach), 0.99, { note }))
  {
    await using browser = await startBrowser()
    amounts.push(...(await pageCost(farm, browser, runs, note)))
  }
  await farm.silence()
  await passed(settleMs)
  return { amounts, comparisons: await againstBare(farm, runs) }
}

function ofMs(name: string, values: readonly number[], share: number, { most, note }: { readonly most?: number; readonly note: string }): Amount {
  const parts = { median: quantile(values, 0.5), p95: quantile(values, 0.95), p99: quantile(values, 0.99), least: Math.min(...values), most: Math.max(...values) }
  const found = amount(name, quantile(values, share), 'ms', { ...(most !== undefined && { most }), note: `${note}; ${values.length} of them`, parts })
  say(`  ${name}: ${found.value} ms (median ${Math.round(parts.median * 10) / 10}, most ${Math.round(parts.most)})`)
  return found
}

/** How much changes, and how late a watcher hears of it. */
async function movesOf({ url }: SimulatedFarm): Promise<{ readonly perSecond: number; readonly lateMs: readonly number[] }> {
  const reply = await follow(url)
  const startedMs = performance.now()
  const known = new Set<string>()
  const lateMs: number[] = []
  let [first, last] = [0, 0]
  for await (const { event, data } of serverEvents(reply.setEncoding('utf8'))) {
    const tookMs = performance.now() - startedMs
    if (tookMs > watchMs) return { perSecond: ((last - first) * 1_000) / tookMs, lateMs }
    if (event !== 'change') continue
    const { generation, vwns } = JSON.parse(data) as Farm
    first ||= generation
    last = generation
    for (const { vwn, sinceMs } of vwns) {
      if (known.has(`${vwn} ${sinceMs}`)) continue
      known.add(`${vwn} ${sinceMs}`)
      lateMs.push(new Date(performance.timeOrigin + performance.now()).getTime() - sinceMs)
    }
  }
  throw new Error('the controller has ended the stream of changes')
}

const follow = (url: string): Promise<IncomingMessage> => new Promise((resolve, reject) => void get(`${url}/v1/changes`, resolve).once('error', reject))

/** What the controller's processor has to do for each watcher: with none and with many in turn, as what the farm does to it goes up and down. */
async function watcherCost({ url, controllerPid }: SimulatedFarm, runs: number, note: string): Promise<readonly Amount[]> {
  const [without, more]: [number[], number[]] = [[], []]
  for (let run = 0; run < runs; run += 1) {
    const bare = await cpuPercent(controllerPid)
    const replies = await Promise.all(Array.from({ length: watchers }, () => follow(url)))
    for (const reply of replies) reply.resume()
    const watched = await cpuPercent(controllerPid)
    for (const reply of replies) reply.destroy()
    without.push(bare)
    more.push((watched - bare) / watchers)
    say(`  monitor ${run + 1}/${runs}: the controller takes ${bare.toFixed(1)} % of a processor, and ${watched.toFixed(1)} % with ${watchers} watchers`)
  }
  return [
    amount('monitor: the controller without a watcher', quantile(without, 0.5), '% of one processor', { note, parts: { least: Math.min(...without), most: Math.max(...without) } }),
    amount('monitor: the controller for each watcher', quantile(more, 0.5), '% of one processor', { most: 1, note: `${watchers} at once, ${runs} times; ${note}`, parts: { least: Math.min(...more), most: Math.max(...more) } }),
  ]
}

async function cpuPercent(pid: number): Promise<number> {
  const [startedMs, before] = [performance.now(), ticksOf(pid)]
  await passed(watchMs)
  return ((ticksOf(pid) - before) * 10 * 100) / (performance.now() - startedMs)
}

const agent = new Agent({ keepAlive: true })
const asked = (url: string): Promise<void> => new Promise((resolve, reject) => {
  get(url, { agent }, (reply) => {
    if (reply.statusCode !== 200) reject(new Error(`${url}: ${reply.statusCode}`))
    reply.resume().once('end', resolve)
  }).once('error', reject)
})

/** Milliseconds from asking to the last byte. */
async function timesOf({ url }: Pick<SimulatedFarm, 'url'>, paths: readonly string[], times: number): Promise<readonly number[]> {
  const took: number[] = []
  for (let nth = 0; nth < times; nth += 1) {
    for (const path of paths) {
      const startedMs = performance.now()
      await asked(url + path)
      took.push(performance.now() - startedMs)
    }
  }
  return took
}

/** When there is something to be read on the page, and what it costs to keep it open; then, on a page that is looked into, how late it is. */
async function pageCost(farm: SimulatedFarm, browser: TestBrowser, runs: number, note: string): Promise<readonly Amount[]> {
  const paintMs: number[] = []
  const shares: { readonly script: number; readonly all: number }[] = []
  for (let run = 0; run < runs; run += 1) {
    const { page } = await opened(browser, farm.url, tellPaint)
    paintMs.push(await until(() => page.evaluate('window.paintedMs') as Promise<number | undefined>, { withinMs: pageMs, what: 'tiles with VWNs' }))
    await passed(settleMs / 2)
    const before = await page.metrics()
    await passed(watchMs)
    const after = await page.metrics()
    const share = (name: 'ScriptDuration' | 'TaskDuration'): number => (100 * ((after[name] ?? 0) - (before[name] ?? 0))) / ((after.Timestamp ?? 0) - (before.Timestamp ?? 0))
    shares.push({ script: share('ScriptDuration'), all: share('TaskDuration') })
    say(`  monitor ${run + 1}/${runs}: the page was there after ${Math.round(paintMs.at(-1) ?? 0)} ms, scripts then take ${shares.at(-1)?.script.toFixed(1)} % of a processor, and all of its thread ${shares.at(-1)?.all.toFixed(1)} %`)
    await page.close()
  }
  const scripts = shares.map(({ script }) => script)
  const { page } = await opened(browser, farm.url, tellLateness)
  await passed(watchMs * 2)
  const late = (name: string): Promise<readonly number[]> => page.evaluate(`window.${name}`) as Promise<readonly number[]>
  const [toldMs, shownMs] = [await late('toldMs'), await late('shownMs')]
  await page.close()
  return [
    ofMs('monitor: the page, from the click to tiles with VWNs', paintMs, 0.5, { most: 1_500, note: `nothing in the cache; ${note}` }),
    amount('monitor: scripts of the page', quantile(scripts, 0.5), '% of one processor', {
      most: 25, note: `over ${watchMs / 1_000} s each; ${note}`, parts: { least: Math.min(...scripts), most: Math.max(...scripts), 'all of its thread, median': quantile(shares.map(({ all }) => all), 0.5) },
    }),
    ofMs('monitor: event from transaction to the page, p99', toldMs, 0.99, { most: 250, note }),
    ofMs('monitor: event from transaction to what is drawn, p99', shownMs, 0.99, { note: `VWNs on the screen; ${note}` }),
  ]
}

async function opened(browser: TestBrowser, url: string, script: string): Promise<TestPage> {
  const shown = await browser.open('about:blank')
  await shown.page.setCacheEnabled(false)
  await shown.page.evaluateOnNewDocument(script)
  await shown.page.goto(url, { waitUntil: 'domcontentloaded', timeout: pageMs })
  return shown
}

/** The frame after the first VWN is on the page has been drawn. */
const tellPaint = `
  new MutationObserver((_, observer) => {
    if (document.querySelector('.tile .vwn') === null) return
    observer.disconnect()
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel()
      port1.onmessage = () => { window.paintedMs = performance.now() }
      port2.postMessage(null)
    })
  }).observe(document, { subtree: true, childList: true })`

/** How old each state of a VWN was when the page was told of it, and when it was drawn. */
const tellLateness = `
  window.toldMs = []
  window.shownMs = []
  const sinceMs = new Map()
  const told = new Set()
  const Plain = window.EventSource
  window.EventSource = class extends Plain {
    constructor(url) {
      super(url)
      this.addEventListener('change', ({ data }) => {
        for (const row of JSON.parse(data).vwns) {
          if (told.has(row.vwn + row.sinceMs)) continue
          told.add(row.vwn + row.sinceMs)
          window.toldMs.push(Date.now() - row.sinceMs)
          sinceMs.set(row.vwn + ' vwn is-' + row.state, row.sinceMs)
        }
      })
    }
  }
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      const shown = target.dataset.vwn + ' ' + target.className
      if (!sinceMs.has(shown)) continue
      window.shownMs.push(Date.now() - sinceMs.get(shown))
      sinceMs.delete(shown)
    }
  }).observe(document, { subtree: true, attributes: true, attributeFilter: ['class'] })`

const bareLists = {
  '/v1/vwns': "select * from vwn where state <> 'gone' order by created_at_ms desc, length(id) desc, id desc limit 100",
  '/v1/jobs': 'select * from job order by submitted_at_ms desc, length(id) desc, id desc limit 100',
  '/v1/events?order=desc': 'select vwn_event.*, vwn.type from vwn_event join vwn on vwn.id = vwn_event.vwn order by vwn_event.id desc limit 100',
} as const

/** The same page of a list by the API, and by its query alone on the same database. */
async function againstBare(farm: SimulatedFarm, runs: number): Promise<readonly Comparison[]> {
  const sql = new Sqlite(farm.home.db, { readonly: true })
  try {
    const found: Comparison[] = []
    for (const [path, text] of Object.entries(bareLists)) {
      const query = sql.prepare(text)
      const [ours, bare]: [number[], number[]] = [[], []]
      for (let round = 0; round < runs * asksOfEach; round += 1) {
        const startedMs = performance.now()
        query.all()
        bare.push(performance.now() - startedMs)
        ours.push(...(await timesOf(farm, [path], 1)))
      }
      found.push(compare(`monitor: ${path}`, ours, bare, { most: 3, note: 'a page of 100, against its query on the same database; no host is heard any more' }))
    }
    return found
  } finally {
    sql.close()
  }
}
