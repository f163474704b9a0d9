/**
 * A real Grid Engine of the test's own (gridengine.sh), beside a farm of its own: queues that run jobs natively, and the same queues with our
 * starter method. What a job was is read from the accounting file, as `qacct` does.
 */
import { execFile } from 'node:child_process'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { distFolder } from '../../kit/dist.ts'
import { until } from '../../kit/until.ts'
import type { Farm } from '../harness/farm.ts'
import { folderOfRun } from '../harness/temp.ts'
import { waitsOfCase, type BatchCase, type BatchSystem, type LiveJob, type Observed, type Wait } from './case.ts'

const root = join(import.meta.dirname, '../..')
const script = join(import.meta.dirname, 'gridengine.sh')
/** Whose jobs they are: a user that Debian has on the bait and in the guest. */
const user = { name: 'games', uid: 5, gid: 60 } as const
/** By the first word of each, as in the names of the queues: `vwn-unix.q`. */
export const startModes = { unix: 'unix_behavior', posix: 'posix_compliant', script: 'script_from_stdin' } as const
export type StartMode = keyof typeof startModes

/** One line of the accounting file, as far as it says how the job ended (accounting(5)). */
export interface Account {
  readonly job: string
  readonly task: string
  readonly failed: string
  readonly exitStatus: string
  readonly startS: number
  readonly endS: number
}

export interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface Submitted extends LiveJob {
  /** What it has said so far. */
  output(): string
  /** The same, once it has ended. */
  observed(): Promise<Observed>
}

/** Where it runs; any exit of a command is an answer. */
export interface GridEngineAlone extends AsyncDisposable {
  /** All that it writes, and what of the machine is bound into it. */
  readonly base: string
  /** Runs a command as the user, or as root with `root`. */
  as(command: readonly string[], options?: { readonly stdin?: string }): Promise<Said>
  root(command: readonly string[], env?: NodeJS.ProcessEnv): Promise<Said>
  /** `wnod …`, as root. */
  wnod(args: readonly string[]): Promise<Said>
}

export interface GridEngine extends BatchSystem, GridEngineAlone {
  /** `wnod install gridengine`, as an administrator runs it there. */
  install(queue: string, options?: readonly string[]): Promise<Said>
  /** Submits, and says which job it is; options of qsub and the script or words. */
  submit(one: BatchCase, how: 'bare' | 'vwn', mode?: StartMode): Promise<Submitted>
  runIn(mode: StartMode, one: BatchCase, how: 'bare' | 'vwn'): Promise<Observed>
  /** What accounting has of a job so far, in order. */
  accounts(job: string): readonly Account[]
  /** State letters of the job (`qw`, `r`, `s`, `Eqw`), empty when it is gone. */
  stateOf(job: string): Promise<string>
  /** Queues in error; none, all being well. */
  queuesInError(): Promise<readonly string[]>
}

/** A case may wait for a VWN that boots, in the company of others. */
const endMs = 150_000
/** So often a deletion is repeated at most while a job has its two seconds of warning, and some more for a slow machine. */
const repeatsMax = 6
/** `failed` of a run that is followed by another: accounting(5), "migrating" and "rescheduling". */
const runsAgain: ReadonlySet<string> = new Set(['24', '25'])

/** Grid Engine alone, without us, with these queues. */
export async function startGridEngineAlone(queues = 'all.q=unix_behavior'): Promise<GridEngineAlone> {
  const base = mkdtempSync(folderOfRun('ge'))
  chmodSync(base, 0o755)
  const [node, dist] = [join(base, 'node'), join(base, 'dist')]
  const bind = [`${process.execPath}:${node}`, `${distFolder()}:${dist}`, `${join(root, 'hooks')}:${join(base, 'hooks')}`, `${join(root, 'node_modules')}:${join(base, 'node_modules')}`]
  const env = { ...process.env, BASE: base, OWNER: user.name, QUEUES: queues, BIND: bind.join(' ') }
  const sh = (args: readonly string[], stdin = '', more: NodeJS.ProcessEnv = {}): Promise<Said> =>
    new Promise((resolve) => {
      const child = execFile(script, args, { env: { ...env, ...more }, timeout: endMs, maxBuffer: 1e8 }, (error, stdout, stderr) => resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr }))
      child.stdin?.on('error', () => undefined)
      child.stdin?.end(stdin)
    })
  const dispose = async (): Promise<void> => {
    await sh(['down'])
    rmSync(base, { recursive: true, force: true })
  }
  const said = await sh(['up'])
  if (said.code === 0) return {
    base,
    as: (command, { stdin } = {}) => sh(['as', ...command], stdin),
    root: (command, more) => sh(['exec', ...command], '', more),
    wnod: (args) => sh(['exec', node, join(dist, 'wnod.js'), ...args]),
    [Symbol.asyncDispose]: dispose,
  }
  await dispose()
  throw new Error(`Grid Engine does not come up: ${said.stderr}`)
}

/** Up, with its jobs of the `vwn` queues going to this farm. */
export async function startGridEngine(farm: Farm): Promise<GridEngine> {
  const queues = Object.entries(startModes).flatMap(([word, mode]) => [`bare-${word}.q=${mode}`, `vwn-${word}.q=${mode}`])
  const alone = await startGridEngineAlone(queues.join(' '))
  const install: GridEngine['install'] = (queue, options = []) =>
    alone.wnod(['install', 'gridengine', '--home', farm.home.home, '--folder', join(alone.base, 'folder'), '--queue', queue, ...options])
  for (const mode of Object.keys(startModes)) {
    const made = await install(`vwn-${mode}.q`)
    if (made.code === 0) continue
    await alone[Symbol.asyncDispose]()
    throw new Error(`wnod install gridengine: ${made.stdout}${made.stderr}`)
  }
  return over(alone, install)
}

function over(alone: GridEngineAlone, install: GridEngine['install']): GridEngine {
  const { base, as } = alone
  let count = 0
  const must = async (command: readonly string[]): Promise<string> => {
    const said = await as(command)
    if (said.code !== 0) throw new Error(`${command.join(' ')}: ${said.stdout}${said.stderr}`)
    return said.stdout
  }
  const accounting = join(base, 'root/default/common/accounting')
  const accounts = (job: string): Account[] => (existsSync(accounting) ? readFileSync(accounting, 'utf8') : '').split('\n').flatMap(parseAccount).filter((one) => one.job === job)
  const ended = (wait: Wait, job: string, tasks: number, meanwhile = (): void => undefined): Promise<readonly Account[]> => {
    const all = (): readonly Account[] | null => {
      meanwhile()
      return accounts(job).filter(({ failed }) => !runsAgain.has(failed)).length < tasks ? null : accounts(job)
    }
    return wait(all, `${tasks} records of job ${job}`)
  }
  const active = (job: string, file: string): string => readFileSync(join(base, `spool/execd/bait0/active_jobs/${job}.1/${file}`), 'utf8')
  const toJob = (job: string, signal: string, all: 'all' | 'top'): boolean => process.kill(Number(active(job, 'job_pid').trim()) * (all === 'all' ? -1 : 1), signal)
  /**
   * Grid Engine repeats a deletion with each load report, once a second here. A shepherd that hears it in the moment in which its `-notify` is over takes the one for the other
   * and never sends KILL, with us or without us: this gives the job what its shepherd owes it.
   */
  const payKill = (job: string): void => {
    try {
      const trace = active(job, 'trace')
      if (trace.split('ignoring repeated KILL').length > repeatsMax && !trace.includes('delivering postponed signal')) toJob(job, 'SIGKILL', 'all')
    } catch {
      // it has ended
    }
  }
  /** What a case that has failed leaves to run would be in the way of others. */
  const clear = async (job: string): Promise<void> => {
    await alone.root(['qdel', '-f', job])
    await until(async () => (await engine.stateOf(job)) === '', { withinMs: 20_000, everyMs: 200, what: `job ${job} is gone` })
  }
  const submit: GridEngine['submit'] = async (one, how, mode = 'unix') => {
    count += 1
    const desk = join(base, `desk-${count}`)
    mkdirSync(desk)
    chownSync(desk, user.uid, user.gid)
    const [out, err, input, file] = [join(desk, 'out'), join(desk, 'err'), join(desk, 'in'), join(desk, 'job')]
    if (one.script !== undefined) writeFileSync(file, one.script, { mode: 0o755 })
    if (one.stdin !== undefined) writeFileSync(input, one.stdin, 'latin1')
    const options = [...(one.stdin === undefined ? [] : ['-i', input]), ...(one.options?.['gridengine'] ?? [])]
    const what = one.script === undefined ? ['-b', 'y', ...(one.command ?? [])] : [file]
    const id = (await must(['qsub', '-terse', '-wd', '/tmp', '-q', `${how}-${mode}.q`, '-N', 'j', '-o', `${out}.$TASK_ID`, '-e', `${err}.$TASK_ID`, ...options, ...what, ...(one.args ?? [])])).trim().split('.', 1)[0] ?? ''
    const read = (path: string): string => readdirSync(desk).filter((name) => name.startsWith(`${basename(path)}.`)).sort().map((name) => readFileSync(join(desk, name), 'latin1')).join('')
    let deleted = false
    const wait = waitsOfCase(endMs)
    return {
      id,
      output: () => read(out),
      says: async (text) => void (await wait(() => read(out).includes(text), `job ${id} says ${text}`, 50)),
      async cancel() {
        deleted = /has deleted/.test(await must(['qdel', id])) // what runs is only registered for it
      },
      async suspend() {
        let looks = 0
        const asked = async (): Promise<boolean> => {
          if (looks++ % 25 === 0) await as(['qmod', '-sj', id]) // a word that meets the job's start is lost
          return (await engine.stateOf(id)).includes('s')
        }
        await wait(asked, `job ${id} is suspended`)
      },
      async resume() {
        await must(['qmod', '-usj', id])
        await wait(async () => !(await engine.stateOf(id)).includes('s'), `job ${id} is running`)
      },
      requeue: async () => void (await must(['qmod', '-rj', id])),
      signal: async (name) => void toJob(id, `SIG${name}`, 'top'),
      endsIn: () => Promise.reject(new Error('Grid Engine does not move the limit of a job that runs')),
      async observed() {
        if (deleted) return { record: { deleted: 'before it ran' }, stdout: read(out), stderr: read(err) }
        const tasks = await ended(wait, id, tasksOf(options), options.includes('-notify') ? () => payKill(id) : undefined)
        const all = (what: 'failed' | 'exitStatus'): string => tasks.map((each) => each[what]).sort().join(' ')
        return { record: { failed: all('failed'), exit_status: all('exitStatus') }, stdout: tidied(read(out)), stderr: tidied(read(err)) }
      },
    }
  }
  const interactive = async (one: BatchCase, how: 'bare' | 'vwn'): Promise<Observed> => {
    const words = ['qrsh', '-now', 'n', '-wd', '/tmp', '-q', `${how}-unix.q`, ...(one.options?.['gridengine'] ?? []), ...(one.command ?? []), ...(one.args ?? [])]
    const said = await as(words, { stdin: one.stdin ?? '' })
    return { record: { code: String(said.code) }, stdout: tidied(said.stdout), stderr: tidied(said.stderr) }
  }
  const runIn: GridEngine['runIn'] = async (mode, one, how) => {
    const job = await submit(one, how, mode)
    try {
      await one.during?.(job)
      return await job.observed()
    } catch (error) {
      await clear(job.id)
      throw new Error(`job ${job.id} (${how}): ${job.output()}`, { cause: error })
    }
  }
  const engine: GridEngine = {
    ...alone, name: 'gridengine', install, accounts, submit, runIn,
    run: (one, how) => (one.script === undefined ? interactive(one, how) : runIn('unix', { ...one, script: one.script.startsWith('#!') ? one.script : `#!/bin/sh\n${one.script}\n` }, how)),
    async stateOf(job) {
      const line = (await must(['qstat', '-u', '*'])).split('\n').find((each) => each.trim().split(/\s+/, 1)[0] === job)
      return line?.trim().split(/\s+/)[4] ?? ''
    },
    async queuesInError() {
      return (await must(['qstat', '-f', '-qs', 'E'])).split('\n').filter((line) => /^\S+\.q@/.test(line))
    },
  }
  return engine
}

/** How many tasks these options of qsub make: `-t FROM-TO:STEP`. */
function tasksOf(options: readonly string[]): number {
  const [, from, to, step = '1'] = /^(\d+)-(\d+)(?::(\d+))?$/.exec(options[options.indexOf('-t') + 1] ?? '') ?? []
  return from === undefined ? 1 : Math.floor((Number(to) - Number(from)) / Number(step)) + 1
}

/** Without what differs between any two runs of one job: its queue and its number. */
const tidied = (text: string): string => text.replaceAll(/\b(?:bare|vwn)-(\w+)\.q/g, 'Q-$1').replaceAll(/(job_scripts|desk-?)\/?\d+/g, '$1/N')

function parseAccount(line: string): Account[] {
  const fields = line.split(':')
  const [, , , , , job, , , , startS, endS, failed, exitStatus] = fields
  if (line.startsWith('#') || job === undefined || failed === undefined || exitStatus === undefined) return []
  return [{ job, task: fields[35] ?? '0', failed, exitStatus, startS: Number(startS), endS: Number(endS) }]
}
