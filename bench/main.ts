/**
 * `npm run bench`: ours against the floor, in turn, in one run. The floor is the bare part doing the same work, so a ratio holds on a
 * machine whose speed drifts; single milliseconds do not and are never judged.
 *
 *     npm run bench -- [--runs N] [--mib N] [--only cold,starter,warm,throughput] [--out FILE]
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { chooseImageStore } from '../kit/image-store.ts'
import { chooseHome } from '../kit/paths.ts'
import type { GuestSession } from '../bait/contracts.ts'
import { until } from '../kit/until.ts'
import { vwnsReplySchema } from '../wire/api.ts'
import { bareBoot, bareChannel, bareStream, knownVm, type KnownVm } from './floor.ts'
import { memoryPeakOf, resetMemoryPeak, starterFile, startBenchFarm, timed, type BenchFarm, type Timed } from './farm.ts'
import { summarize, type Comparison } from './stats.ts'

const { values: given } = parseArgs({
  options: { runs: { type: 'string', default: '7' }, mib: { type: 'string', default: '1024' }, only: { type: 'string', default: 'starter,cold,warm,throughput' }, out: { type: 'string' } },
})
const runs = Number(given.runs)
const mib = 1024 * 1024
const volumeBytes = Number(given.mib) * mib
const memoryKibMax = 120 * 1024

const say = (text: string): void => void process.stderr.write(`${text}\n`)
const job = (farm: BenchFarm, type: string, argv: readonly string[], more: { feedBytes?: number } = {}): Promise<Timed> =>
  timed(starterFile, ['--home', farm.home.home, '--type', type, ...(more.feedBytes === undefined ? ['-n'] : []), '--', ...argv], more)

/** The job starter's own start, against an empty Node. */
async function starterStart(): Promise<Comparison[]> {
  const ours: number[] = []
  const floor: number[] = []
  for (let run = 0; run < runs * 3; run += 1) {
    ours.push((await timed(starterFile, ['--version'])).endMs)
    floor.push((await timed(process.execPath, ['-e', '0'])).endMs)
  }
  return [compare('starter start', ours, floor, { most: 1.6, note: 'wnod-starter --version against node -e 0' })]
}

/** From the starter's exec to the first byte of a job whose VWN had to boot, against a bare boot to the agent's hello. */
async function cold(farm: BenchFarm): Promise<Comparison[]> {
  await job(farm, 'warm', ['true'])
  const vm = await warmVm(farm)
  const ours: number[] = []
  const floor: number[] = []
  for (let run = 0; run < runs; run += 1) {
    await farm.quiet()
    floor.push(await bareBoot(vm.args, vm.folder))
    ours.push((await job(farm, 'fresh', ['echo', 'up'])).firstByteMs)
    say(`  cold ${run + 1}/${runs}: ours ${Math.round(ours.at(-1) ?? 0)} ms, floor ${Math.round(floor.at(-1) ?? 0)} ms`)
  }
  await farm.quiet()
  return [compare('cold: first byte in a new VWN', ours, floor, { most: 1.25, note: 'bare QEMU, same command line, spawn to hello' })]
}

/** The same in a warm VWN, against a bare ssh2 client whose connection is open. Node's own start is allowed for. */
async function warm(farm: BenchFarm): Promise<Comparison[]> {
  await job(farm, 'warm', ['true'])
  const ours: number[] = []
  const floor: number[] = []
  const node: number[] = []
  for (let run = 0; run < runs * 3; run += 1) {
    floor.push(await bare(farm, (session) => bareStream(session, ['echo', 'up'])))
    ours.push((await job(farm, 'warm', ['echo', 'up'])).firstByteMs)
    node.push((await timed(process.execPath, ['-e', '0'])).endMs)
  }
  const nodeMs = summarize(node).medianMs
  return [compare('warm: first byte in a warm VWN', ours, floor, { most: 1.5, allowMs: nodeMs, note: `bare ssh2 stream to the agent; node -e 0 takes ${nodeMs} ms here` })]
}

/** A lot of bytes each way, against a bare exec channel of the same guest. */
async function throughput(farm: BenchFarm): Promise<Comparison[]> {
  const baitPid = await farm.baitPid()
  const rounds = Math.max(1, Math.ceil(runs / 3))
  const out: Comparison[] = []
  for (const way of ['stdout', 'stdin'] as const) {
    const ours: number[] = []
    const floor: number[] = []
    let baitKib = 0
    let starterKib = 0
    for (let run = 0; run < rounds; run += 1) {
      resetMemoryPeak(baitPid)
      const command = way === 'stdout' ? `head -c ${volumeBytes} /dev/zero` : 'cat >/dev/null'
      const feedBytes = way === 'stdin' ? volumeBytes : 0
      const end = await job(farm, 'warm', ['sh', '-c', command], { feedBytes })
      if (way === 'stdout' && end.bytes !== volumeBytes) throw new Error(`${end.bytes} of ${volumeBytes} bytes came`)
      ours.push(end.endMs)
      baitKib = Math.max(baitKib, memoryPeakOf(baitPid))
      starterKib = Math.max(starterKib, end.memoryPeakKib)
      floor.push(await bare(farm, (session) => bareChannel(session, command, feedBytes)))
      say(`  ${way} ${run + 1}/${rounds}: ours ${rate(ours.at(-1))}, floor ${rate(floor.at(-1))}`)
    }
    const memory = `peak memory bait ${Math.round(baitKib / 1024)} MiB, starter ${Math.round(starterKib / 1024)} MiB (each at most 120)`
    const result = compare(`throughput: ${volumeBytes / mib} MiB through ${way}`, ours, floor, { most: 1 / 0.8, note: `bare exec channel; ${memory}` })
    out.push({ ...result, holds: result.holds && baitKib < memoryKibMax && starterKib < memoryKibMax })
  }
  return out
}

const rate = (ms = Number.NaN): string => `${Math.round(volumeBytes / mib / (ms / 1000))} MiB/s`

/** The warm VWN's VM, once no job and no scrub is in it: a scrub ends whatever it does not know, our own connections too. */
async function warmVm(farm: BenchFarm): Promise<KnownVm> {
  const idle = async (): Promise<string | undefined> =>
    vwnsReplySchema.parse(JSON.parse(await farm.cli('vwns', '--json'))).vwns.find(({ type, state }) => type === 'warm' && state === 'idle')?.vwn
  return knownVm(farm.home, await until(idle, { withinMs: 60_000, what: 'the warm VWN is idle' }))
}

/** Measures over a connection of our own, which is open before the clock starts. */
async function bare(farm: BenchFarm, measure: (session: GuestSession) => Promise<number>): Promise<number> {
  const session = await (await warmVm(farm)).connect()
  try {
    return await measure(session)
  } finally {
    session.close()
  }
}

function compare(name: string, ours: readonly number[], floor: readonly number[], rule: { most: number; allowMs?: number; note: string }): Comparison {
  const [mine, bare] = [summarize(ours), summarize(floor)]
  const ratio = (mine.medianMs - (rule.allowMs ?? 0)) / bare.medianMs
  const bound = `≤ ${rule.most.toFixed(2)}${rule.allowMs === undefined ? '' : ' after node'}`
  return { name, ours: mine, floor: bare, ratio: Math.round(ratio * 100) / 100, bound, holds: ratio <= rule.most, note: rule.note }
}

function print(results: readonly Comparison[]): void {
  const spread = ({ medianMs, minMs, maxMs }: Comparison['ours']): string => `${medianMs} (${minMs}–${maxMs})`
  const rows = [
    ['measured, ms: median (min–max)', 'ours', 'floor', 'ratio', 'bound', ''],
    ...results.map((one) => [one.name, spread(one.ours), spread(one.floor), one.ratio.toFixed(2), one.bound, one.holds ? 'holds' : 'MISSED']),
  ]
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  for (const row of rows) process.stdout.write(`${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd()}\n`)
  for (const one of results) process.stdout.write(`  ${one.name}: ${one.note}\n`)
}

function save(results: readonly Comparison[]): string {
  const at = new Date().toISOString()
  const file = given.out ?? join(import.meta.dirname, '../bench/results', `${at.slice(0, 19).replaceAll(':', '')}.json`)
  mkdirSync(dirname(file), { recursive: true })
  const commit = tryGit()
  const machine = { cpus: cpus().length, cpu: cpus()[0]?.model ?? 'unknown', memoryMib: Math.round(totalmem() / mib), node: process.version }
  writeFileSync(file, `${JSON.stringify({ at, commit, machine, runs, results }, null, 2)}\n`)
  return file
}

function tryGit(): string | null {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null // a release has no history
  }
}

async function main(): Promise<void> {
  const wanted = new Set(given.only.split(','))
  const results: Comparison[] = []
  if (wanted.has('starter')) results.push(...(await starterStart()))
  if (['cold', 'warm', 'throughput'].some((name) => wanted.has(name))) {
    say('starting a farm …')
    await using farm = await startBenchFarm(chooseImageStore(chooseHome(undefined, process.env), process.env))
    if (wanted.has('cold')) results.push(...(await cold(farm)))
    if (wanted.has('warm')) results.push(...(await warm(farm)))
    if (wanted.has('throughput')) results.push(...(await throughput(farm)))
  }
  print(results)
  process.stdout.write(`saved as ${save(results)}\n`)
  process.exitCode = results.every((one) => one.holds) ? 0 : 1
}

await main()
