/** A farm to measure, brought up and taken down by the same commands that an administrator uses. */
import { spawn } from 'node:child_process'
import { chmodSync, copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { peekTemplates } from '../bait/templates/files.ts'
import { run } from '../kit/command.ts'
import { homePaths, type Home } from '../kit/paths.ts'
import { readPidFile } from '../kit/pid-file.ts'
import { until } from '../kit/until.ts'
import { vwnsReplySchema, type VwnView } from '../wire/api.ts'
import { knownVm, type KnownVm } from './known-vm.ts'

const program = (name: string): string => join(import.meta.dirname, name)
/** The job starter as a batch system would run it. */
export const starterFile = program('wnod-starter')
const upMs = 300_000
const templateMs = 120_000

/** MiB of the types that templates are asked for; no two images have the same. */
const shapes = { fresh: 512, 'fresh-tiny': 128 } as const

/** `fresh` makes a VWN for every job, `warm` keeps it. */
const mapping = `
types:
  fresh: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 4, reuse: never }
  warm: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 4, idle_max_s: 3600, jobs_max: 100000 }
  fresh-tiny: { image: tiny, cpus: 1, memory_mib: 128, scratch_gib: 1, reuse: never }
  warm-tiny: { image: tiny, cpus: 1, memory_mib: 128, scratch_gib: 1, idle_max_s: 3600, jobs_max: 100000 }
default: { type: warm, allow: [fresh, fresh-tiny, warm-tiny] }
`

/** `ready` has so many VWNs waiting, of which each takes one job; the others are as above. */
export const poolMapping = ({ memoryMib, min, max }: { memoryMib: number; min: number; max: number }): string =>
  mapping.replace('default:', `  ready: { image: debian12, cpus: 1, memory_mib: ${memoryMib}, scratch_gib: 4, reuse: never, pool: { min: ${min}, max: ${max}, memory_share: 1 } }\ndefault:`).replace('allow: [', 'allow: [ready, ')

export interface BenchFarm extends AsyncDisposable {
  readonly home: Home
  cli(...args: readonly string[]): Promise<string>
  vwns(): Promise<readonly VwnView[]>
  /** Resolves when the host has no VWN left that nobody is to use again, so that one measurement does not disturb the next. */
  quiet(): Promise<void>
  /** Pid of the only bait. */
  baitPid(): Promise<number>
}

export interface FarmWishes {
  /** VWNs are cloned; otherwise each is booted. */
  readonly templates?: boolean
  readonly mapping?: string
  /** What there is to share out, where it is to be more than the machine has. */
  readonly room?: { readonly cpus: number; readonly memoryMib: number; readonly scratchGib: number }
}

/** A farm of one bait in a temporary home, which every user's job starter can reach. */
export async function startBenchFarm(images: string, wishes: FarmWishes = {}): Promise<BenchFarm> {
  const home = homePaths(mkdtempSync(join(tmpdir(), 'wnod-bench-')), { images })
  const cli = async (...args: readonly string[]): Promise<string> =>
    (await run(process.execPath, [program('wnod.js'), ...args, '--home', home.home], { env: { WNOD_IMAGES: images }, timeoutMs: upMs })).stdout
  const vwns = async (): Promise<readonly VwnView[]> => vwnsReplySchema.parse(JSON.parse(await cli('vwns', '--json'))).vwns
  chmodSync(home.home, 0o755)
  mkdirSync(home.etc, { recursive: true })
  writeFileSync(home.mapping, wishes.mapping ?? mapping)
  const { cpus, memoryMib, scratchGib } = wishes.room ?? {}
  const room = wishes.room === undefined ? [] : ['--cpus', String(cpus), '--memory', String(memoryMib), '--scratch', String(scratchGib)]
  await cli('up', '--detach', '--baits', '1', ...room, ...(wishes.templates === true ? [] : ['--templates', '0']))
  return {
    home,
    cli,
    vwns,
    async quiet() {
      await until(async () => !(await vwns()).some(({ type }) => type.startsWith('fresh')), { withinMs: 60_000, everyMs: 200, what: 'VWNs of the last measurement are gone' })
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

/** Runs a job of this type; without bytes to feed, it has no stdin. */
export const jobOf = (farm: BenchFarm, type: string, argv: readonly string[], more: { feedBytes?: number; report?: string } = {}): Promise<Timed> =>
  timed(starterFile, ['--home', farm.home.home, '--type', type, ...(more.report === undefined ? [] : ['--report', more.report]), ...(more.feedBytes === undefined ? ['-n'] : []), '--', ...argv], more)

/** The VM of the warm VWN of this type, once no job and no scrub is in it: a scrub ends whatever it does not know, our own connections too. */
export async function warmVm(farm: BenchFarm, type = 'warm'): Promise<KnownVm> {
  const idle = async (): Promise<string | undefined> => (await farm.vwns()).find((vwn) => vwn.type === type && vwn.state === 'idle')?.vwn
  return knownVm(farm.home, await until(idle, { withinMs: 60_000, what: 'the warm VWN is idle' }))
}

/** Copies of the job starter where every user can run it; the clone it was built in may be somebody's own. */
export function publicStarter(farm: BenchFarm): string {
  for (const file of ['wnod-starter', 'starter.cjs', 'wnod-exec.node']) copyFileSync(program(file), join(farm.home.home, file))
  return join(farm.home.home, 'wnod-starter')
}

/** VWNs that wait for anybody. */
export const readyVwns = async (farm: BenchFarm): Promise<readonly VwnView[]> =>
  (await farm.vwns()).filter(({ type, state, owner, job }) => type === 'ready' && state === 'idle' && owner === null && job === null)

/** A VM of this type that stays for as long as the scope: a job sits in it, for one that root's job has left may be thrown away. */
export async function holdVm(farm: BenchFarm, type: string): Promise<AsyncDisposable & { readonly vm: KnownVm }> {
  const child = spawn(starterFile, ['--home', farm.home.home, '--type', type, '-n', '--', 'sleep', '86400'], { stdio: 'ignore' })
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const vwn = await until(async () => (await farm.vwns()).find((one) => one.type === type && one.state === 'busy')?.vwn, { withinMs: templateMs, what: `a job in ${type}` })
  return {
    vm: knownVm(farm.home, vwn),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await gone
    },
  }
}

const madeSchema = z.object({ msg: z.literal('vwn made'), vwn: z.string(), made: z.enum(['boot', 'clone']), bootedBecause: z.string().nullable(), phases: z.record(z.string(), z.number()) })
/** How a VWN was made. */
export type Made = z.output<typeof madeSchema>

/** What the bait has logged of every VWN that it made, in that order. */
export const everyMade = (farm: BenchFarm): readonly Made[] =>
  readFileSync(farm.home.host('h1').log, 'utf8').split('\n').filter((line) => line.includes('"vwn made"')).map((line) => madeSchema.parse(JSON.parse(line)))

/** The folder of the template for VWNs of this type, once there is one: it is made behind the first VWN, if not before. */
export async function templateOf(farm: BenchFarm, type: keyof typeof shapes): Promise<string> {
  const whole = async (): Promise<string | undefined> =>
    (await peekTemplates(farm.home.host('h1').templates)).find(({ template }) => template.key.shape.memoryMib === shapes[type])?.template.files.folder
  await jobOf(farm, type, ['true'])
  return until(whole, { withinMs: templateMs, what: `a template for ${type}` })
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
