/**
 * The daemons of a Slurm of one node (slurm.sh), without us, and what they say of jobs. For tests and for the bench.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { distFolder } from '../../kit/dist.ts'
import { run, type CommandResult } from '../../kit/command.ts'
import { freePorts } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { folderOfRun } from '../harness/temp.ts'

/** Whose jobs they are: a user that Debian has on the bait and in the guest. */
export const user = { name: 'games', uid: 5, gid: 60, home: '/usr/games' } as const

/** A job as `scontrol show job` says it; of an array there are several. */
export type JobRecord = ReadonlyMap<string, string>

export interface SlurmDaemons extends AsyncDisposable {
  readonly folder: string
  readonly environment: NodeJS.ProcessEnv
  /** One of Slurm's commands, as root. */
  admin(command: string, ...args: readonly string[]): Promise<CommandResult>
  /** One of Slurm's commands, as the user, in a folder that the guest has too. */
  start(command: string, args: readonly string[], env?: NodeJS.ProcessEnv): ChildProcess
  /** A fresh folder of the user's. */
  desk(): string
  job(id: string): Promise<readonly JobRecord[]>
  /** The same, once none of it is left to run. */
  over(id: string, withinMs?: number): Promise<readonly JobRecord[]>
}

/** A job may wait for a VWN that boots, in the company of others. */
export const jobMs = 150_000

/** Up, and its node takes jobs. */
export async function startSlurmDaemons(): Promise<SlurmDaemons> {
  const folder = mkdtempSync(folderOfRun('slurm'))
  const [ctld, node] = await freePorts(2)
  const environment = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', SLURM_CONF: join(folder, 'etc/slurm.conf') }
  const script = join(dirname(distFolder()), 'test/batch/slurm.sh')
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
  const records = shared(async () => (await slurm.admin('scontrol', '-o', 'show', 'job')).stdout.trimEnd().split(/\n+(?=JobId=)/).filter((line) => line.startsWith('JobId=')).map(readRecord))
  const slurm: SlurmDaemons = {
    folder, environment,
    admin: (command, ...args) => run(command, args, { env: environment }),
    start: (command, args, env = {}) => spawn(command, args, {
      uid: user.uid, gid: user.gid, cwd: '/tmp', stdio: 'pipe', env: { ...environment, HOME: user.home, USER: user.name, LOGNAME: user.name, ...env },
    }),
    desk() {
      const made = mkdtempSync(join(folder, 'jobs/'))
      chownSync(made, user.uid, user.gid)
      return made
    },
    job: async (id) => (await records()).filter((record) => record.get('JobId') === id || record.get('ArrayJobId') === id),
    over: (id, withinMs = jobMs) => until(() => overNow(slurm, id), { withinMs, everyMs: 200, what: `job ${id} is over` }),
    [Symbol.asyncDispose]: end,
  }
  return slurm
}

/** Those who ask while others wait for an answer get the next one together: Slurm is asked about all jobs at once, and never twice at a time. */
function shared<T>(ask: () => Promise<T>): () => Promise<T> {
  let current: Promise<unknown> = Promise.resolve()
  let next: Promise<T> | null = null
  return () => {
    next ??= current.then(() => {
      const answer = ask()
      current = answer.catch(() => undefined)
      next = null
      return answer
    })
    return next
  }
}

/** `JobId=7 JobName=a b UserId=…`: a value goes on until the next ` Name=`. */
export function readRecord(line: string): JobRecord {
  return new Map([...line.matchAll(/(?:^| )([A-Z][\w:/]*)=(.*?)(?= [A-Z][\w:/]*=|$)/gs)].map(([, name = '', value = '']) => [name, value]))
}

const over: ReadonlySet<string> = new Set(['COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY', 'SPECIAL_EXIT', 'BOOT_FAIL', 'DEADLINE'])

/** Nothing of it is left to run. */
export const isOver = (record: JobRecord): boolean => over.has(record.get('JobState') ?? '')

/** The records of a job of which nothing is left to run; null while there is. */
export async function overNow(slurm: SlurmDaemons, id: string): Promise<readonly JobRecord[] | null> {
  const records = await slurm.job(id)
  for (const record of records) await runAgainSoon(slurm, record)
  return records.length > 0 && records.every(isOver) ? records : null
}

/** Waiting for longer than we would have it: Slurm lets a job wait for two minutes before it runs again. */
const soonMs = 5_000
const waitsLong = (record: JobRecord): boolean =>
  record.get('JobState') === 'PENDING' && record.get('Reason') === 'BeginTime' && record.get('Restarts') !== '0' && new Date(record.get('EligibleTime') ?? '').getTime() > Date.now() + soonMs

/** Not at once: slurmd, which counts whole seconds, takes a job that starts in the second in which it was killed for the killed one, and fails it. */
export async function runAgainSoon(slurm: SlurmDaemons, record: JobRecord): Promise<void> {
  if (waitsLong(record)) await slurm.admin('scontrol', 'update', `JobId=${record.get('JobId')}`, 'StartTime=now+2')
}
