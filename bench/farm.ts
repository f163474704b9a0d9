/** A farm to measure, brought up and taken down by the same commands that an administrator uses. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '../kit/command.ts'
import { homePaths, type Home } from '../kit/paths.ts'
import { readPidFile } from '../kit/pid-file.ts'
import { until } from '../kit/until.ts'

const program = (name: string): string => join(import.meta.dirname, name)
/** The job starter as a batch system would run it. */
export const starterFile = program('wnod-starter')
const upMs = 300_000

/** `fresh` boots a VWN for every job, `warm` keeps it. */
const mapping = `
types:
  fresh: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 4, reuse: never }
  warm: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 4, idle_max_s: 3600, jobs_max: 100000 }
default: { type: warm, allow: [fresh] }
`

export interface BenchFarm extends AsyncDisposable {
  readonly home: Home
  cli(...args: readonly string[]): Promise<string>
  /** Resolves when the host has no VWN of `fresh` left, so that one measurement does not disturb the next. */
  quiet(): Promise<void>
  /** Pid of the only bait. */
  baitPid(): Promise<number>
}

/** A farm of one bait in a temporary home. */
export async function startBenchFarm(images: string): Promise<BenchFarm> {
  const home = homePaths(mkdtempSync(join(tmpdir(), 'wnod-bench-')), { images })
  const cli = async (...args: readonly string[]): Promise<string> =>
    (await run(process.execPath, [program('wnod.js'), ...args, '--home', home.home], { env: { WNOD_IMAGES: images }, timeoutMs: upMs })).stdout
  mkdirSync(home.etc, { recursive: true })
  writeFileSync(home.mapping, mapping)
  await cli('up', '--detach', '--baits', '1', '--templates', '0')
  return {
    home,
    cli,
    async quiet() {
      await until(async () => !(await cli('vwns', '--json')).includes('"fresh"'), { withinMs: 60_000, everyMs: 200, what: 'VWNs of the last measurement are gone' })
    },
    async baitPid() {
      const ref = await readPidFile(home.host('h1').pid)
      if (ref === null) throw new Error('the bait does not run')
      return ref.pid
    },
    async [Symbol.asyncDispose]() {
      await cli('down')
      rmSync(home.home, { recursive: true, force: true })
    },
  }
}

/** One job through the real starter: milliseconds from its exec to the first byte and to its end. */
export interface Timed {
  readonly firstByteMs: number
  readonly endMs: number
  readonly bytes: number
  readonly memoryPeakKib: number
}

/** Runs a command in a process of its own, feeding `feedBytes` zeroes to its stdin, and times it. */
export function timed(file: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv; feedBytes?: number } = {}): Promise<Timed> {
  const startedMs = performance.now()
  const child = spawn(file, args, { env: { ...process.env, ...options.env }, stdio: ['pipe', 'pipe', 'inherit'] })
  let firstByteMs = Number.NaN
  let bytes = 0
  let memoryPeakKib = 0
  child.stdout.on('data', (chunk: Buffer) => {
    if (bytes === 0) firstByteMs = performance.now() - startedMs
    if (bytes >> 24 !== (bytes + chunk.length) >> 24) memoryPeakKib = Math.max(memoryPeakKib, memoryPeakOf(child.pid))
    bytes += chunk.length
  })
  child.stdin.on('error', () => undefined)
  feed(child.stdin, options.feedBytes ?? 0, () => (memoryPeakKib = Math.max(memoryPeakKib, memoryPeakOf(child.pid))))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      if (code !== 0) return reject(new Error(`${file} ${args.slice(0, 6).join(' ')} ended with ${code ?? signal}`))
      resolve({ firstByteMs, endMs: performance.now() - startedMs, bytes, memoryPeakKib })
    })
  })
}

const zeroes = Buffer.alloc(64 * 1024)

/** Writes this many zeroes as fast as they are taken, then ends; `onChunk` every 16 MiB. */
export function feed(to: NodeJS.WritableStream, bytes: number, onChunk: () => void = () => undefined): void {
  let left = bytes
  const more = (): void => {
    while (left > 0) {
      const part = left >= zeroes.length ? zeroes : zeroes.subarray(0, left)
      left -= part.length
      if (left % (16 * 1024 * 1024) === 0) onChunk()
      if (!to.write(part)) return void to.once('drain', more)
    }
    to.end()
  }
  more()
}

/** The most memory a process ever had resident, KiB; 0 when it is gone. proc(5), VmHWM. */
export function memoryPeakOf(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

/** Lets a process's peak start again from what it has now; proc(5), clear_refs. */
export function resetMemoryPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}
