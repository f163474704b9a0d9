/** From the job starter's exec to the job's first byte, and its bytes per second, in a VWN that was booted or is warm. */
import type { GuestSession } from '../bait/contracts.ts'
import { bareBoot, bareChannel, bareStream } from './floor.ts'
import { jobOf, memoryPeakOf, resetMemoryPeak, starterFile, startBenchFarm, timed, warmVm, type BenchFarm } from './farm.ts'
import { amount, compare, type Found } from './results.ts'
import { summarize } from './stats.ts'

const mib = 1024 * 1024
const memoryKibMax = 120 * 1024
const say = (text: string): void => void process.stderr.write(`${text}\n`)

/** The job starter's own start, against an empty Node. */
export async function starterStart(runs: number): Promise<Found> {
  const ours: number[] = []
  const floor: number[] = []
  for (let run = 0; run < runs * 3; run += 1) {
    ours.push((await timed(starterFile, ['--version'])).endMs)
    floor.push((await timed(process.execPath, ['-e', '0'])).endMs)
  }
  return { comparisons: [compare('starter start', ours, floor, { most: 1.6, note: 'wnod-starter --version against node -e 0' })] }
}

/** What the starter adds to a job that runs on the host itself: it asks, and becomes the job. */
export async function addedBare(images: string, runs: number): Promise<Found> {
  await using farm = await startBenchFarm(images, { mapping: 'types: {}\ndefault: { bare: true }\n' })
  const ours: number[] = []
  const native: number[] = []
  const node: number[] = []
  for (let run = 0; run < runs * 3; run += 1) {
    ours.push((await timed(starterFile, ['--home', farm.home.home, '--', '/bin/true'])).endMs)
    native.push((await timed('/bin/true', [])).endMs)
    node.push((await timed(process.execPath, ['-e', '0'])).endMs)
  }
  const [ourMs, nativeMs, nodeMs] = [ours, native, node].map((each) => summarize(each).medianMs) as [number, number, number]
  const parts = { 'the start of node alone': nodeMs - nativeMs, 'all else: asking, and becoming it': ourMs - nodeMs }
  return { amounts: [amount('bare: added to a job on the host itself', ourMs - nativeMs, 'ms', { most: 60, note: '/bin/true by the starter against /bin/true', parts })] }
}

/** From the starter's exec to the first byte of a job whose VWN had to boot, against a bare boot to the agent's hello. */
export async function cold(farm: BenchFarm, runs: number): Promise<Found> {
  await jobOf(farm, 'warm', ['true'])
  const vm = await warmVm(farm)
  const ours: number[] = []
  const floor: number[] = []
  for (let run = 0; run < runs; run += 1) {
    await farm.quiet()
    floor.push(await bareBoot(vm.args, vm.folder))
    ours.push((await jobOf(farm, 'fresh', ['echo', 'up'])).firstByteMs)
    say(`  cold ${run + 1}/${runs}: ours ${Math.round(ours.at(-1) ?? 0)} ms, floor ${Math.round(floor.at(-1) ?? 0)} ms`)
  }
  await farm.quiet()
  return { comparisons: [compare('cold: first byte in a new VWN', ours, floor, { most: 1.25, note: 'bare QEMU, same command line, spawn to hello' })] }
}

/** The same in a warm VWN, against a bare ssh2 client whose connection is open. Node's own start is allowed for. */
export async function warm(farm: BenchFarm, runs: number): Promise<Found> {
  await jobOf(farm, 'warm', ['true'])
  const ours: number[] = []
  const floor: number[] = []
  const node: number[] = []
  for (let run = 0; run < runs * 3; run += 1) {
    floor.push(await bare(farm, (session) => bareStream(session, ['echo', 'up'])))
    ours.push((await jobOf(farm, 'warm', ['echo', 'up'])).firstByteMs)
    node.push((await timed(process.execPath, ['-e', '0'])).endMs)
  }
  const nodeMs = summarize(node).medianMs
  return { comparisons: [compare('warm: first byte in a warm VWN', ours, floor, { most: 1.5, allowMs: nodeMs, note: `bare ssh2 stream to the agent; node -e 0 takes ${nodeMs} ms here` })] }
}

/** A lot of bytes each way, against a bare exec channel of the same guest. */
export async function throughput(farm: BenchFarm, runs: number, volumeBytes: number): Promise<Found> {
  const rate = (ms = Number.NaN): string => `${Math.round(volumeBytes / mib / (ms / 1000))} MiB/s`
  const baitPid = await farm.baitPid()
  const rounds = Math.max(1, Math.ceil(runs / 3))
  const comparisons = []
  for (const way of ['stdout', 'stdin'] as const) {
    const ours: number[] = []
    const floor: number[] = []
    let baitKib = 0
    let starterKib = 0
    for (let run = 0; run < rounds; run += 1) {
      resetMemoryPeak(baitPid)
      const command = way === 'stdout' ? `head -c ${volumeBytes} /dev/zero` : 'cat >/dev/null'
      const feedBytes = way === 'stdin' ? volumeBytes : 0
      const end = await jobOf(farm, 'warm', ['sh', '-c', command], { feedBytes })
      if (way === 'stdout' && end.bytes !== volumeBytes) throw new Error(`${end.bytes} of ${volumeBytes} bytes came`)
      ours.push(end.endMs)
      baitKib = Math.max(baitKib, memoryPeakOf(baitPid))
      starterKib = Math.max(starterKib, end.memoryPeakKib)
      floor.push(await bare(farm, (session) => bareChannel(session, command, feedBytes)))
      say(`  ${way} ${run + 1}/${rounds}: ours ${rate(ours.at(-1))}, floor ${rate(floor.at(-1))}`)
    }
    const memory = `peak memory bait ${Math.round(baitKib / 1024)} MiB, starter ${Math.round(starterKib / 1024)} MiB (each at most 120)`
    const result = compare(`throughput: ${volumeBytes / mib} MiB through ${way}`, ours, floor, { most: 1 / 0.8, note: `bare exec channel; ${memory}` })
    comparisons.push({ ...result, holds: result.holds && baitKib < memoryKibMax && starterKib < memoryKibMax })
  }
  return { comparisons }
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
