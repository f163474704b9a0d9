/**
 * A whole farm of the test's own: real nats-server, controller and baits from dist/, in a temporary home. Nothing is kept alive by
 * a supervisor, so a test may kill what it likes and say when it comes back. Leaving the scope is an assertion: no process, socket or
 * file of the farm is left; what the programs had logged is kept in one folder when that, or the test, fails.
 *
 *     await using farm = await startFarm({ baits: 1 })
 *     expect(await farm.run(['sh', '-c', 'exit 7'])).toMatchObject({ code: 7 })
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { z } from 'zod'
import { templateVmName } from '../../bait/templates/files.ts'
import { controllerApi, type Api } from '../../cli/client.ts'
import type { Context } from '../../cli/context.ts'
import { takeDown } from '../../cli/farm/down.ts'
import { namedImages } from '../../cli/farm/mapping.ts'
import { farmPrograms, prepareFarm, type FarmWishes } from '../../cli/farm/prepare.ts'
import { conditions } from '../../cli/farm/ready.ts'
import { startProgram, type FarmProgram } from '../../cli/farm/supervisor.ts'
import { vmGroups, vmProcesses } from '../../cli/farm/vms.ts'
import { programFile } from '../../cli/programs.ts'
import { roll } from '../../cli/table.ts'
import { errnoOf } from '../../kit/atomic-file.ts'
import { randomId } from '../../kit/clock.ts'
import { chooseImageStore } from '../../kit/image-store.ts'
import { homePaths, type Home } from '../../kit/paths.ts'
import { readPidFile } from '../../kit/pid-file.ts'
import { commandLine, findProcesses, isAlive, killAndWait, signalProcess } from '../../kit/process.ts'
import { until } from '../../kit/until.ts'
import { giveTemplates, keepTemplates, onceInRun } from './known-templates.ts'
import { folderOfRun } from './temp.ts'
import { typesReplySchema, vwnsReplySchema, type VwnView } from '../../wire/api.ts'
import { outcomeSchema, phasesSchema } from '../../wire/common.ts'

export interface FarmOptions extends FarmWishes {
  /** The text of mapping.yaml; without it there is one type per image and everybody may ask for any. */
  readonly mapping?: string
  /** Called when the home is prepared and before any program runs: change a setting, break something. */
  readonly before?: (home: Home) => void | Promise<void>
}

export interface RunOptions {
  /** Options of the job starter: `['--type', 'tiny']`. */
  readonly options?: readonly string[]
  /** Run as this user; only root may. */
  readonly as?: string
  /** Which bait's job starter this is; the first without. */
  readonly host?: string
  readonly stdin?: string | Uint8Array
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** Fails, and kills the starter, when it takes longer. */
  readonly withinMs?: number
}

/** How a child process ended and what it said. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly stdoutBytes: Buffer
}

/** What the job starter reported of its job. */
export const starterReportSchema = z.object({
  job: z.string().nullable(),
  vwn: z.string().nullable(),
  type: z.string().nullable(),
  reused: z.boolean().nullable(),
  outcome: outcomeSchema.nullable(),
  phases: phasesSchema.nullable(),
})
export type StarterReport = z.output<typeof starterReportSchema>

export interface Farm extends AsyncDisposable {
  readonly home: Home
  readonly api: Api
  readonly hosts: readonly string[]
  /** `nats`, `controller`, `bait-h1`, … */
  readonly programs: readonly string[]
  /** Runs a command through the real job starter, to its end. `report` is null where the starter wrote none. */
  run(argv: readonly string[], options?: RunOptions): Promise<Ended & { readonly report: StarterReport | null }>
  /** The same, in the test's hands. The farm kills it when the scope ends. */
  start(argv: readonly string[], options?: RunOptions): ChildProcess
  /** Runs `wnod …` for this farm. */
  cli(args: readonly string[], options?: Pick<RunOptions, 'env' | 'withinMs' | 'stdin'>): Promise<Ended>
  /** `wnod audit`, once there is nothing left to explain or the time is over. */
  audit(withinMs?: number): Promise<Ended>
  /** Sends a signal to a program; for KILL and TERM it is gone afterwards. */
  kill(program: string, signal?: NodeJS.Signals): Promise<void>
  /** Starts a program that does not run. */
  restart(program: string): Promise<void>
  /** Waits until the farm can take jobs, or only these programs are well. */
  ready(programs?: readonly string[]): Promise<void>
  /** The VWNs that are there, as the controller sees them. */
  vwns(): Promise<readonly VwnView[]>
  /** Pids of the processes of this farm's VWNs; a template that is being made is none. */
  vms(): readonly number[]
  /** What a program has logged so far. */
  log(program: string): string
}

const runMs = 150_000
const readyMs = 180_000

/** A farm that is ready for jobs. */
export async function startFarm(options: FarmOptions = {}): Promise<Farm> {
  if ((options.templates ?? 0) > 0) await onceInRun(makeUsualTemplates)
  return begin(options)
}

/** Of each image, with the usual size: every farm would begin with them, all at the same time. */
async function makeUsualTemplates(): Promise<void> {
  await using farm = await begin({ baits: 1, cpus: 4, templates: 8 })
  const ready = async (): Promise<boolean> => (await farm.api.get('/types', typesReplySchema)).types.every(({ templates }) => templates.some(({ state }) => state === 'ready'))
  await until(ready, { withinMs: readyMs, everyMs: 200, what: 'templates of the usual types' })
}

async function begin(options: FarmOptions): Promise<Farm> {
  const folder = mkdtempSync(folderOfRun('farm'))
  chmodSync(folder, 0o755) // other users' job starters come here
  const home = homePaths(folder, { images: chooseImageStore(folder, process.env) })
  const children = new Set<ChildProcess>()
  const said: string[] = []
  const context: Context = { home, api: controllerApi(home), json: false, ...roll, print: (text) => void said.push(text), say: (text) => void said.push(text) }
  let programs: readonly FarmProgram[] = []
  const dispose = farmEnd(context, children, () => programs.map((program) => program.log))
  try {
    if (options.mapping !== undefined) {
      mkdirSync(home.etc, { recursive: true })
      writeFileSync(home.mapping, options.mapping)
    }
    const record = await prepareFarm(home, { templates: 0, ...options }, await namedImages(home.images))
    programs = farmPrograms(home, record)
    if ((options.templates ?? 0) > 0) for (const host of record.hosts) giveTemplates(home.host(host).templates)
    await options.before?.(home)
    const farm = farmOver(context, record, programs, children, dispose)
    for (const program of programs) await startProgram(program)
    await farm.ready()
    return farm
  } catch (error) {
    await dispose().catch(() => undefined)
    throw error
  }
}

function farmOver(
  context: Context,
  record: { natsPort: number; hosts: readonly string[] },
  programs: readonly FarmProgram[],
  children: Set<ChildProcess>,
  dispose: () => Promise<void>,
): Farm {
  const { home, api } = context
  const named = (name: string): FarmProgram => {
    const program = programs.find((one) => one.name === name)
    if (program === undefined) throw new Error(`this farm has no ${name}, only ${programs.map((one) => one.name).join(', ')}`)
    return program
  }
  const env = (more: RunOptions['env'] = {}): NodeJS.ProcessEnv => ({ ...process.env, WNOD_HOME: home.home, WNOD_IMAGES: home.images, ...more })
  const start = (argv: readonly string[], options: RunOptions, report?: string): ChildProcess => {
    const { as, host, options: more = [], cwd, env: vars } = options
    const given = [...(host === undefined ? [] : ['--socket', home.host(host).socket]), ...(report === undefined ? [] : ['--report', report]), ...more, '--', ...argv]
    const args = as === undefined ? [programFile('starter.cjs'), ...given] : [bin, 'run', '--as', as, ...given]
    const child = spawn(process.execPath, args, { env: env(vars), cwd: cwd ?? home.home, stdio: 'pipe' })
    children.add(child)
    child.once('close', () => children.delete(child))
    return child
  }
  const cli: Farm['cli'] = (args, options = {}) => {
    const child = spawn(process.execPath, [bin, ...args], { env: env(options.env), stdio: 'pipe' })
    children.add(child)
    child.once('close', () => children.delete(child))
    return ended(child, options)
  }
  return {
    home,
    api,
    hosts: record.hosts,
    programs: programs.map((program) => program.name),
    async run(argv, options = {}) {
      const report = join(tmpdir(), `wnod-report-${randomId()}.json`)
      if (options.as !== undefined) writeFileSync(report, '') // the user may not make files everywhere, but may write this one
      if (options.as !== undefined) chmodSync(report, 0o666)
      try {
        const end = await ended(start(argv, options, report), options)
        return { ...end, report: readReport(report) }
      } finally {
        rmSync(report, { force: true })
      }
    },
    start: (argv, options = {}) => start(argv, options),
    cli,
    async audit(withinMs = 120_000) {
      let last: Ended | null = null
      await until(async () => (last = await cli(['audit', '--home', home.home])).code === 0, { withinMs, everyMs: 500, what: 'audit is clean' }).catch(() => undefined)
      if (last === null) throw new Error('audit never answered')
      return last
    },
    async kill(name, signal = 'SIGKILL') {
      const ref = await readPidFile(named(name).pidFile)
      if (ref === null) throw new Error(`${name} does not run`)
      signalProcess(ref, signal)
      if (signal === 'SIGKILL' || signal === 'SIGTERM') await until(() => !isAlive(ref), { withinMs: 20_000, what: `${name} is gone` })
    },
    async restart(name) {
      await startProgram(named(name))
    },
    async ready(only) {
      for (const condition of conditions(home, api, { natsPort: record.natsPort, hosts: record.hosts as never })) {
        if (only !== undefined && !only.includes(condition.name)) continue
        let lacks: string | null = 'not looked at'
        await until(async () => (lacks = await condition.lacks()) === null, { withinMs: readyMs, what: `${condition.name} is ready` }).catch((cause: unknown) => {
          throw new Error(`${condition.name} did not become ready: ${lacks}\n${tailOf(home.log(condition.name))}`, { cause })
        })
      }
    },
    vwns: async () => (await api.get('/vwns', vwnsReplySchema)).vwns,
    vms: () => vmProcesses(home).filter(({ pid }) => !commandLine(pid)?.some((arg) => template.test(arg))).map((vm) => vm.pid),
    log: (name) => readFileSync(named(name).log, 'utf8'),
    [Symbol.asyncDispose]: dispose,
  }
}

const bin = join(import.meta.dirname, '../../bin/wnod.js')
const template = new RegExp(`^wnod[.].*[.]${templateVmName}(,|$)`)

/** Takes everything down, once, and proves that nothing is left. */
function farmEnd(context: Context, children: Set<ChildProcess>, logs: () => readonly string[]): () => Promise<void> {
  const { home } = context
  let over: Promise<void> | null = null
  let inTest = true
  try {
    onTestFinished(({ task }) => {
      if (task.result?.state !== 'fail') rmSync(kept(home), { recursive: true, force: true })
      else process.stderr.write(`logs of the farm: ${kept(home)}\n`)
    })
  } catch {
    inTest = false // then only leftovers make us keep the logs
  }
  const end = async (): Promise<void> => {
    for (const child of children) child.kill('SIGKILL')
    keepLogs(home, logs())
    for (const host of hostsIn(home)) keepTemplates(home.host(host).templates)
    await takeDown(context, { keep: false })
    const left = [
      ...findProcesses((args) => args.some((arg) => arg.includes(home.home) || arg.includes(home.hash)))
        .filter((ref) => ref.pid !== process.pid && ref.pid !== process.ppid)
        .map((ref) => `process ${ref.pid}: ${(commandLine(ref.pid) ?? []).join(' ').slice(0, 300)}`),
      ...(existsSync(home.home) ? readdirSync(home.home, { recursive: true, encoding: 'utf8' }).filter((name) => !name.startsWith('etc')).map((name) => `file ${name}`) : []),
    ]
    left.push(...(await vmGroups(home)).map((group) => `control group ${group}`))
    for (const ref of findProcesses((args) => args.some((arg) => arg.includes(`${home.home}/`)))) await killAndWait(ref).catch(() => undefined)
    rmSync(home.home, { recursive: true, force: true })
    if (left.length === 0 && !inTest) rmSync(kept(home), { recursive: true, force: true })
    if (left.length > 0) throw new Error(`the farm left something behind (logs: ${kept(home)}):\n${left.join('\n')}`)
  }
  return () => (over ??= end())
}

const hostsIn = (home: Home): readonly string[] => (existsSync(home.hosts) ? readdirSync(home.hosts) : [])
const kept = (home: Home): string => join(tmpdir(), `wnod-logs-${home.hash}`)

function keepLogs(home: Home, logs: readonly string[]): void {
  mkdirSync(kept(home), { recursive: true })
  for (const path of [...logs, home.etc, home.hosts, home.db]) {
    if (!existsSync(path)) continue
    copyLive(path, join(kept(home), path.slice(home.home.length + 1).replaceAll('/', '-')))
  }
}

/** Copies what programs write meanwhile: a file may go while it is looked at. What is large, secret or no file is left out. */
function copyLive(from: string, to: string): void {
  for (let tried = 1; ; tried += 1) {
    try {
      return cpSync(from, to, { recursive: true, filter: (path) => !/\.(sock|qcow2|tar|tmp)$|creds$|[/](proof|templates)$/.test(path) })
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || tried === 10) throw error
    }
  }
}

/** Resolves when the child has ended and its output is read; kills it when it takes too long. */
export function ended(child: ChildProcess, options: Pick<RunOptions, 'stdin' | 'withinMs'> = {}): Promise<Ended> {
  const output: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] }
  child.stdout?.on('data', (chunk: Buffer) => output.stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => output.stderr.push(chunk))
  child.stdin?.on('error', () => undefined) // a child need not read
  child.stdin?.end(options.stdin ?? '')
  const withinMs = options.withinMs ?? runMs
  const late = AbortSignal.timeout(withinMs)
  const kill = (): void => void child.kill('SIGKILL')
  late.addEventListener('abort', kill)
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      late.removeEventListener('abort', kill)
      const stdoutBytes = Buffer.concat(output.stdout)
      const stderr = Buffer.concat(output.stderr).toString('utf8')
      if (late.aborted) return reject(new Error(`still running after ${withinMs} ms: ${child.spawnargs.join(' ').slice(0, 300)}\n${stderr}`))
      resolve({ code, signal, stdout: stdoutBytes.toString('utf8'), stderr, stdoutBytes })
    })
  })
}

function readReport(file: string): StarterReport | null {
  if (!existsSync(file)) return null
  const text = readFileSync(file, 'utf8')
  return text === '' ? null : starterReportSchema.parse(JSON.parse(text))
}

const tailOf = (file: string): string => (existsSync(file) ? readFileSync(file, 'utf8').slice(-3000) : '(no log)')
