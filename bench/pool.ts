/** Jobs that come to a pool of ready VWNs: one at a time, twenty users at once until it runs dry, and a stream that grows. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { until } from '../kit/until.ts'
import { jobOf, poolMapping, publicStarter, readyVwns, startBenchFarm, templateOf, type BenchFarm } from './farm.ts'
import { amount, compare, type Found } from './results.ts'
import { quantile, summarize } from './stats.ts'

const say = (text: string): void => void process.stderr.write(`${text}\n`)
const settleMs = 300_000
const room = { cpus: 40, memoryMib: 40 * 1024, scratchGib: 160 }

/** The pool has as many as it is to have, and nothing is being made or torn down. */
const settled = (farm: BenchFarm, ready: number): Promise<unknown> =>
  until(async () => {
    const vwns = await farm.vwns()
    return vwns.every(({ state }) => state === 'idle') && (await readyVwns(farm)).length >= ready
  }, { withinMs: settleMs, everyMs: 250, what: `${ready} ready VWNs, and quiet` })

/** From the starter's exec to the first byte in a ready VWN that nobody had before, against the user's own warm one. */
export async function ready(images: string, runs: number): Promise<Found> {
  await using farm = await startBenchFarm(images, { templates: true, room, mapping: poolMapping({ memoryMib: 512, min: 1, max: 1 }) })
  await templateOf(farm, 'fresh')
  await jobOf(farm, 'warm', ['true'])
  const ours: number[] = []
  const warm: number[] = []
  for (let run = 0; run < runs * 3; run += 1) {
    await settled(farm, 1)
    ours.push((await jobOf(farm, 'ready', ['echo', 'up'])).firstByteMs)
    await settled(farm, 1)
    warm.push((await jobOf(farm, 'warm', ['echo', 'up'])).firstByteMs)
    say(`  ready ${run + 1}/${runs * 3}: ours ${Math.round(ours.at(-1) ?? 0)} ms, warm ${Math.round(warm.at(-1) ?? 0)} ms`)
  }
  return { comparisons: [compare('first byte in a ready VWN, against a warm one', ours, warm, { most: 1.2, note: 'both from the starter\'s exec, in turn; before each the pool is full and the host quiet' })] }
}

/** Twenty users come at once to fewer ready VWNs: who waits how long, and how fast the pool recovers. */
export async function burst(images: string): Promise<Found> {
  const [min, jobs] = [8, 20]
  await using farm = await startBenchFarm(images, { templates: true, room, mapping: poolMapping({ memoryMib: 256, min, max: min }) })
  await templateOf(farm, 'fresh')
  await settled(farm, min)
  const [users, starter] = [accounts(jobs), publicStarter(farm)]
  const startedMs = performance.now()
  const nowS = (): number => Math.round((performance.now() - startedMs) / 100) / 10
  const depth: [number, number][] = []
  let over = false
  const watching = until(async () => {
    depth.push([nowS(), (await readyVwns(farm)).length])
    return over && (await readyVwns(farm)).length >= min
  }, { withinMs: settleMs, everyMs: 500, what: 'the pool is full again' })
  const firstMs = (await Promise.all(users.map((user) => firstByteAs(farm, starter, user)))).sort((a, b) => a - b)
  over = true
  const dryS = nowS()
  await watching
  const refillS = nowS() - dryS
  const { medianMs, p95Ms, maxMs } = summarize(firstMs)
  return {
    amounts: [
      amount(`burst: ${jobs} jobs of ${new Set(users.map(({ uid }) => uid)).size} users at once, ${min} ready: first byte`, medianMs / 1000, 's, median', { note: `p95 ${p95Ms} ms, the last ${maxMs} ms` }),
      amount('refill: ready VWNs a minute after the burst', (min / refillS) * 60, 'a minute', { note: `${min} in ${refillS.toFixed(1)} s, from the end of the last job on` }),
    ],
    curves: [
      { name: 'burst', x: 'job, by its first byte', y: 'first byte after so many seconds', note: `${jobs} jobs at once, ${min} ready VWNs`, lines: [{ name: 'first byte', points: firstMs.map((ms, index): [number, number] => [index + 1, Math.round(ms / 10) / 100]) }] },
      { name: 'pool runs dry', x: 'seconds since the burst', y: 'count', note: `${jobs} jobs at once, ${min} ready VWNs`, lines: [
        { name: 'ready VWNs', points: depth },
        { name: 'jobs whose first byte has come', points: firstMs.map((ms, index): [number, number] => [Math.round(ms / 100) / 10, index + 1]) },
      ] },
    ],
  }
}

/** Jobs at a steady rate, faster and faster, until the slowest take twice as long as the usual one. */
export async function stream(images: string, perStep: number): Promise<Found> {
  const rates = [4, 8, 12, 16, 20, 24, 30, 40, 60]
  const min = 4
  await using farm = await startBenchFarm(images, { templates: true, room, mapping: poolMapping({ memoryMib: 256, min, max: 2 * min }) })
  await templateOf(farm, 'fresh')
  const median: [number, number][] = []
  const slowest: [number, number][] = []
  let best = 0
  for (const rate of rates) {
    await settled(farm, min)
    const firstMs = await atRate(farm, rate, perStep)
    const [p50, p99] = [quantile(firstMs, 0.5), quantile(firstMs, 0.99)]
    median.push([rate, Math.round(p50)])
    slowest.push([rate, Math.round(p99)])
    say(`  stream at ${rate} a minute: p50 ${Math.round(p50)} ms, p99 ${Math.round(p99)} ms`)
    if (p99 > 2 * p50) break
    best = rate
  }
  return {
    amounts: [amount('stream: highest rate whose p99 is under twice its p50', best, 'jobs a minute', { note: `${perStep} jobs at each of ${rates.slice(0, median.length).join(', ')} a minute, each in a VWN of its own; ${min} ready at first` })],
    curves: [{ name: 'stream', x: 'jobs a minute', y: 'first byte, ms', note: 'each job in a VWN of its own', lines: [{ name: 'p50', points: median }, { name: 'p99', points: slowest }] }],
  }
}

/** Starts a job every so often, however the ones before are doing; their first bytes. */
async function atRate(farm: BenchFarm, perMinute: number, count: number): Promise<number[]> {
  const startedMs = performance.now()
  const running: Promise<number>[] = []
  for (let job = 0; job < count; job += 1) {
    await until(() => performance.now() - startedMs >= (job * 60_000) / perMinute, { withinMs: settleMs, everyMs: 10, what: 'the next job is due' })
    running.push(jobOf(farm, 'ready', ['echo', 'up']).then(({ firstByteMs }) => firstByteMs))
  }
  return Promise.all(running)
}

interface Account {
  readonly uid: number
  readonly gid: number
}

/** This machine's own accounts, as many as asked for: root may be any of them, others are only themselves, so often. */
function accounts(count: number): readonly Account[] {
  const self = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  const known = readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':')).filter((fields) => fields.length === 7)
  const others = self.uid === 0 ? known.map((fields) => ({ uid: Number(fields[2]), gid: Number(fields[3]) })) : []
  return Array.from({ length: count }, (_, index) => others[index] ?? self)
}

/** Milliseconds from the starter's exec to the first byte of this user's job. */
function firstByteAs(farm: BenchFarm, starter: string, { uid, gid }: Account): Promise<number> {
  const startedMs = performance.now()
  const child = spawn(starter, ['--home', farm.home.home, '--type', 'ready', '-n', '--', 'echo', 'up'], { uid, gid, cwd: '/', env: { PATH: '/usr/bin:/bin', WNOD_NODE: process.execPath }, stdio: ['ignore', 'pipe', 'inherit'] })
  let firstMs = Number.NaN
  child.stdout.once('data', () => (firstMs = performance.now() - startedMs))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => (code === 0 && !Number.isNaN(firstMs) ? resolve(firstMs) : reject(new Error(`the job of ${uid} ended with ${code ?? signal}`))))
  })
}
