/**
 * `npm run bench`: ours against the floor, in turn, in one run. The floor is the bare part doing the same work, so a ratio holds on a
 * machine whose speed drifts; single milliseconds do not and are never judged. `--draw` makes the pictures of docs/ from saved results.
 *
 *     npm run bench -- [--only NAME,…] [--runs N] [--mib N] [--idle N] [--jobs N] [--hosts N] [--changes N] [--out FILE]
 *     npm run bench -- --draw FILE …
 */
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chooseImageStore } from '../kit/image-store.ts'
import { chooseHome } from '../kit/paths.ts'
import { clone } from './clone.ts'
import { addedBare, cold, starterStart, throughput, warm } from './first-byte.ts'
import { startBenchFarm, type BenchFarm } from './farm.ts'
import { idle } from './idle.ts'
import { libvirt } from './libvirt.ts'
import { monitor } from './monitor.ts'
import { drawAll } from './pictures.ts'
import { burst, ready, stream } from './pool.ts'
import { print, save, type Found } from './results.ts'
import { slurm } from './slurm.ts'

/** These share one farm, in which every VWN is booted; the others have their own, or none. */
const inOneFarm = ['cold', 'warm', 'throughput'] as const
const alone = ['starter', 'bare', 'clone', 'ready', 'idle', 'burst', 'stream', 'libvirt', 'slurm', 'monitor'] as const
const all: readonly string[] = [...alone, ...inOneFarm]

const { values: given, positionals } = parseArgs({
  options: {
    only: { type: 'string', default: all.join(',') },
    out: { type: 'string' },
    runs: { type: 'string', default: '7' },
    mib: { type: 'string', default: '1024' },
    idle: { type: 'string', default: '50' },
    jobs: { type: 'string' },
    hosts: { type: 'string', default: '1000' },
    changes: { type: 'string', default: '200' },
    draw: { type: 'boolean', default: false },
  },
  allowPositionals: true,
})
const runs = Number(given.runs)
const wanted = given.only.split(',')
const images = chooseImageStore(chooseHome(undefined, process.env), process.env)

const measure: Readonly<Record<(typeof alone)[number], () => Promise<Found>>> = {
  starter: () => starterStart(runs),
  bare: () => addedBare(images, runs),
  clone: () => clone(images, runs),
  ready: () => ready(images, runs),
  idle: () => idle(images, Number(given.idle)),
  burst: () => burst(images),
  stream: () => stream(images, Number(given.jobs ?? 12)),
  libvirt: () => libvirt(images, runs),
  monitor: () => monitor({ hosts: Number(given.hosts), vwnsPerHost: 10, changesPerSecond: Number(given.changes) }, runs),
  slurm: () => slurm(images, runs, Number(given.jobs ?? 200)),
}
const measureIn: Readonly<Record<(typeof inOneFarm)[number], (farm: BenchFarm) => Promise<Found>>> = {
  cold: (farm) => cold(farm, runs),
  warm: (farm) => warm(farm, runs),
  throughput: (farm) => throughput(farm, runs, Number(given.mib) * 1024 ** 2),
}

async function main(): Promise<number> {
  if (given.draw) {
    for (const file of drawAll(positionals, join(import.meta.dirname, '../docs/performance'))) process.stdout.write(`${file}\n`)
    return 0
  }
  const unknown = wanted.filter((name) => !all.includes(name))
  if (unknown.length > 0) {
    process.stderr.write(`there is no measurement ${unknown.join(', ')}: ${all.join(', ')}\n`)
    return 2
  }
  const found: Found[] = []
  for (const name of alone) if (wanted.includes(name)) found.push(await measure[name]())
  if (inOneFarm.some((name) => wanted.includes(name))) {
    await using farm = await startBenchFarm(images)
    for (const name of inOneFarm) if (wanted.includes(name)) found.push(await measureIn[name](farm))
  }
  const whole = { comparisons: found.flatMap(({ comparisons = [] }) => comparisons), amounts: found.flatMap(({ amounts = [] }) => amounts), curves: found.flatMap(({ curves = [] }) => curves) }
  print(whole)
  process.stdout.write(`saved as ${save(whole, runs, given.out)}\n`)
  return [...whole.comparisons, ...whole.amounts].every(({ holds }) => holds) ? 0 : 1
}

process.exitCode = await main()
