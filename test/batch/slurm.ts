/**
 * A real Slurm of one node (slurm.sh), whose jobs go into the VWNs of a real farm: by our plugin, installed as an administrator would.
 * The partition `bare` is one that nobody has rolled us out to.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run, type CommandResult } from '../../kit/command.ts'
import { until } from '../../kit/until.ts'
import { ended, type Ended, type Farm } from '../harness/farm.ts'
import type { BatchCase, BatchSystem, LiveJob, Observed } from './case.ts'

/** Whose jobs they are: a user that Debian has on the bait and in the guest. */
export const user = { name: 'games', uid: 5, gid: 60, home: '/usr/games' } as const

export interface SlurmJob {
  /** As `scontrol show job` says it; several for an array. */
  readonly records: readonly ReadonlyMap<string, string>[]
}

export interface Slurm extends BatchSystem {
  readonly folder: string
  readonly environment: NodeJS.ProcessEnv
  /** One of Slurm's commands, as root. */
  admin(command: string, ...args: readonly string[]): Promise<CommandResult>
  /** One of Slurm's commands, as the user, in a folder that the guest has too. */
  user(command: string, args: readonly string[], more?: { readonly env?: NodeJS.ProcessEnv; readonly stdin?: string }): Promise<Ended>
  /** The same, in the test's hands. */
  start(command: string, args: readonly string[], env?: NodeJS.ProcessEnv): ChildProcess
  /** A fresh folder of the user's. */
  desk(): string
  job(id: string): Promise<SlurmJob['records']>
  /** The same, once none of it is left to run. */
  over(id: string, withinMs?: number): Promise<SlurmJob['records']>
}

const script = join(import.meta.dirname, 'slurm.sh')
/** A case may wait for a VWN that boots, in the company of others. */
const caseMs = 150_000

/** Slurm alone, without us. */
export async function startSlurmAlone(): Promise<Slurm> {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-slurm-'))
  const [ctld, node] = await freePorts(2)
  const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', SLURM_CONF: join(folder, 'etc/slurm.conf') }
  const shell = (verb: 'up' | 'down') => run(script, [verb], { env: { BASE: folder, CTLD_PORT: String(ctld), NODE_PORT: String(node) }, timeoutMs: 60_000 })
  const end = async (): Promise<void> => {
    await shell('down')
    rmSync(folder, { recursive: true, force: true })
  }
  chmodSync(folder, 0o755)
  mkdirSync(join(folder, 'jobs'), { mode: 0o755 })
  await shell('up').catch(async (error: unknown) => {
    await end()
    throw error
  })
  const slurm: Slurm = {
    name: 'slurm', folder, environment,
    admin: (command, ...args) => run(command, args, { env: environment }),
    user: (command, args, { env = {}, stdin = '' } = {}) => ended(slurm.start(command, args, env), { stdin, withinMs: caseMs }),
    start: (command, args, env = {}) => spawn(command, args, {
      uid: user.uid, gid: user.gid, cwd: '/tmp', stdio: 'pipe', env: { ...environment, HOME: user.home, USER: user.name, LOGNAME: user.name, ...env },
    }),
    desk() {
      const made = mkdtempSync(join(folder, 'jobs/'))
      chownSync(made, user.uid, user.gid)
      return made
    },
    job: async (id) => (await slurm.admin('scontrol', '-o', 'show', 'job', id)).stdout.split('\n').filter((line) => line !== '').map(readRecord),
    over: (id, withinMs = caseMs) => until(() => overNow(slurm, id), { withinMs, everyMs: 200, what: `job ${id} is over` }),
    run: (one, how) => (one.command === undefined ? runBatch(slurm, one, how) : runStep(slurm, one, how)),
    [Symbol.asyncDispose]: end,
  }
  return slurm
}

/** Slurm with us. */
export async function startSlurm(farm: Farm, ...options: readonly string[]): Promise<Slurm> {
  const slurm = await startSlurmAlone()
  const done = await installSlurm(farm, slurm, options)
  if (done.code === 0) return slurm
  await slurm[Symbol.asyncDispose]()
  throw new Error(done.stderr)
}

/** `wnod install slurm` on this Slurm. */
export const installSlurm = (farm: Farm, { environment }: Slurm, options: readonly string[]): Promise<Ended> =>
  farm.cli(['install', 'slurm', '--home', farm.home.home, ...options], { env: environment as Record<string, string> })

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise<ReturnType<typeof createServer>>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server))
  })))
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

// ---------------------------------------------------------------- what Slurm says of a job

/** `JobId=7 JobName=a b UserId=…`: a value goes on until the next ` Name=`. */
export function readRecord(line: string): ReadonlyMap<string, string> {
  return new Map([...line.matchAll(/(?:^| )([A-Z][\w:/]*)=(.*?)(?= [A-Z][\w:/]*=|$)/g)].map(([, name = '', value = '']) => [name, value]))
}

const over: ReadonlySet<string> = new Set(['COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY', 'SPECIAL_EXIT', 'BOOT_FAIL', 'DEADLINE'])

/** The records of a job of which nothing is left to run. One that is to run again does so now: Slurm would let it wait for two minutes. */
async function overNow(slurm: Slurm, id: string): Promise<SlurmJob['records'] | null> {
  const records = await slurm.job(id)
  for (const record of records) {
    if (record.get('JobState') === 'PENDING' && record.get('Reason') === 'BeginTime' && record.get('Restarts') !== '0') await slurm.admin('scontrol', 'update', `JobId=${record.get('JobId')}`, 'StartTime=now')
  }
  return records.every((record) => over.has(record.get('JobState') ?? '')) ? records : null
}

/** What its owner is told at last. */
const verdict = (records: SlurmJob['records']): Observed['record'] => {
  const all = (name: string): string => records.map((record) => record.get(name) ?? '').sort().join(' ')
  return { state: all('JobState'), exit: all('ExitCode'), restarts: all('Restarts') }
}

// ---------------------------------------------------------------- the two ways in

const optionsOf = (one: BatchCase, how: 'bare' | 'vwn'): string[] => ['-D', '/tmp', ...(how === 'vwn' ? ['--vm=debian12'] : []), ...(one.options?.['slurm'] ?? [])]

/** What differs between any two runs of one job. */
const tidied = (text: string, id: string, desk: string): string =>
  text.replaceAll(desk, 'DESK').replace(/\b(job0*)\d+\b/g, '$1N').replace(new RegExp(`\\b(JOB|job|STEP|Step|StepId=|JobId=) ?0*${id}\\b`, 'g'), '$1 N').replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/g, 'TIME')

async function runBatch(slurm: Slurm, one: BatchCase, how: 'bare' | 'vwn'): Promise<Observed> {
  const desk = slurm.desk()
  const file = join(desk, 'job')
  writeFileSync(file, one.script?.startsWith('#!') === true ? one.script : `#!/bin/sh\n${one.script}\n`)
  if (one.stdin !== undefined) writeFileSync(join(desk, 'in'), one.stdin, 'latin1')
  const files = ['-o', join(desk, 'out.%a'), '-e', join(desk, 'err.%a'), ...(one.stdin === undefined ? [] : ['-i', join(desk, 'in')])]
  const submitted = await slurm.user('sbatch', ['--parsable', ...files, ...optionsOf(one, how), file, ...(one.args ?? [])])
  if (submitted.code !== 0) return { record: { submit: String(submitted.code) }, stdout: '', stderr: tidied(submitted.stderr, '', desk) }
  const id = submitted.stdout.trim()
  const said = (name: string): string => readdirSync(desk).filter((each) => each.startsWith(`${name}.`)).sort().map((each) => readFileSync(join(desk, each), 'latin1')).join('')
  try {
    await one.during?.(liveJob(slurm, id, () => said('out')))
    const records = await slurm.over(id)
    return { record: verdict(records), stdout: tidied(said('out'), id, desk), stderr: tidied(said('err'), id, desk) }
  } catch (error) {
    throw new Error(`job ${id} (${how}): ${said('out')}${said('err')}`, { cause: error })
  }
}

async function runStep(slurm: Slurm, one: BatchCase, how: 'bare' | 'vwn'): Promise<Observed> {
  const name = `case-${Math.random().toString(36).slice(2)}`
  const words = ['srun', '-J', name, ...optionsOf(one, how), ...(one.command ?? []), ...(one.args ?? [])]
  const child = words.includes('--pty') ? slurm.start('script', ['-qec', words.map(quoted).join(' '), '/dev/null']) : slurm.start('srun', words.slice(1))
  const end = ended(child, { stdin: one.stdin ?? '', withinMs: caseMs })
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
  const id = async (): Promise<string> => (await slurm.admin('squeue', '-h', '-n', name, '-o', '%A')).stdout.trim()
  if (one.during !== undefined) {
    const now = await until(id, { withinMs: caseMs, what: 'the step has a job' })
    await one.during({ ...liveJob(slurm, now, () => said), signal: async (signal) => void child.kill(`SIG${signal}` as NodeJS.Signals) })
  }
  const { code, signal, stdoutBytes, stderr } = await end
  const noId = (text: string): string => tidied(text, '\\d+', '').replace(/\b(StepId=|step |job |task )[\d.]+/g, '$1N').replaceAll(/^srun: (job N queued and waiting for resources|job N has been allocated resources)\n/gm, '')
  return { record: { exit: String(code ?? signal) }, stdout: noId(stdoutBytes.toString('latin1')), stderr: noId(stderr) }
}

const quoted = (word: string): string => `'${word.replaceAll("'", `'\\''`)}'`

function liveJob(slurm: Slurm, id: string, said: () => string): LiveJob {
  const state = async (wanted: string): Promise<void> => {
    await until(async () => (await slurm.job(id)).some((record) => record.get('JobState') === wanted), { withinMs: caseMs, what: `job ${id} is ${wanted}` })
  }
  return {
    id,
    says: async (text) => void (await until(() => said().includes(text), { withinMs: caseMs, what: `job ${id} says ${text}` })),
    cancel: async () => void (await slurm.user('scancel', [id])),
    async suspend() {
      await slurm.admin('scontrol', 'suspend', id)
      await state('SUSPENDED')
    },
    async resume() {
      await slurm.admin('scontrol', 'resume', id)
      await state('RUNNING')
    },
    async requeue() {
      await slurm.admin('scontrol', 'requeue', id)
    },
    signal: async (name) => void (await slurm.user('scancel', ['-b', '-s', name, id])),
  }
}
