/**
 * A real Slurm of one node, whose jobs go into the VWNs of a real farm: by our plugin, installed as an administrator would.
 * The partition `bare` is one that nobody has rolled us out to.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { quote } from '../../bait/job/ssh-script.ts'
import { ended, type Ended, type Farm } from '../harness/farm.ts'
import { waitsOfCase, type BatchCase, type BatchSystem, type LiveJob, type Observed, type Wait } from './case.ts'
import { isOver, jobMs, overNow, runAgainSoon, startSlurmDaemons, type JobRecord, type SlurmDaemons } from './slurm-daemons.ts'

export interface Slurm extends BatchSystem, SlurmDaemons {
  /** By which a job of a case asks for a VWN. */
  readonly asks: string
  /** One of Slurm's commands, as the user, to its end. */
  user(command: string, args: readonly string[], more?: { readonly env?: NodeJS.ProcessEnv; readonly stdin?: string }): Promise<Ended>
}

/** Slurm alone, without us. */
export async function startSlurmAlone(asks = '--vm=debian12'): Promise<Slurm> {
  const daemons = await startSlurmDaemons()
  const slurm: Slurm = {
    ...daemons, name: 'slurm', asks,
    user: (command, args, { env = {}, stdin = '' } = {}) => ended(slurm.start(command, args, env), { stdin, withinMs: jobMs }),
    run: (one, how) => (one.command === undefined ? runBatch(slurm, one, how) : runStep(slurm, one, how)),
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

/** What its owner is told at last. */
const verdict = (records: readonly JobRecord[]): Observed['record'] => {
  const all = (name: string): string => records.map((record) => record.get(name) ?? '').sort().join(' ')
  return { state: all('JobState'), exit: all('ExitCode'), restarts: all('Restarts') }
}

// ---------------------------------------------------------------- the two ways in

const optionsOf = ({ asks }: Slurm, one: BatchCase, how: 'bare' | 'vwn'): string[] => ['-D', '/tmp', '-p', 'bare', ...(how === 'vwn' ? [asks] : []), ...(one.options?.['slurm'] ?? [])]

/** What differs between any two runs of one job; and what Slurm says when the step has ended just before one of its signals. */
const tidied = (text: string): string =>
  text.replace(/^slurmstepd-\S+: error: _handle_signal_container: failed signal .* No such process\n/gm, '').replace(/\bjob\d{5,}\b/g, 'jobN').replace(/\b(JOB|job|STEP|step|StepId=|JobId=) ?\d+\b(\.\d+)?/g, '$1 N').replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/g, 'TIME')

async function runBatch(slurm: Slurm, one: BatchCase, how: 'bare' | 'vwn'): Promise<Observed> {
  const desk = slurm.desk()
  const file = join(desk, 'job')
  writeFileSync(file, one.script?.startsWith('#!') === true ? one.script : `#!/bin/sh\n${one.script}\n`)
  if (one.stdin !== undefined) writeFileSync(join(desk, 'in'), one.stdin, 'latin1')
  const files = ['-o', join(desk, 'out.%a'), '-e', join(desk, 'err.%a'), ...(one.stdin === undefined ? [] : ['-i', join(desk, 'in')])]
  const submitted = await slurm.user('sbatch', ['--parsable', ...files, ...optionsOf(slurm, one, how), file, ...(one.args ?? [])])
  if (submitted.code !== 0) return { record: { submit: String(submitted.code) }, stdout: '', stderr: tidied(submitted.stderr).replaceAll(desk, 'DESK') }
  const id = submitted.stdout.trim()
  const said = (name: string): string => readdirSync(desk).filter((each) => each.startsWith(`${name}.`)).sort().map((each) => readFileSync(join(desk, each), 'latin1')).join('')
  const wait = waitsOfCase(jobMs)
  try {
    await one.during?.(liveJob(slurm, id, { wait, said: () => said('out') }))
    const records = await wait(() => overNow(slurm, id), `job ${id} is over`)
    return { record: verdict(records), stdout: tidied(said('out')), stderr: tidied(said('err')) }
  } catch (error) {
    await clear(slurm, id)
    throw new Error(`job ${id} (${how}): ${said('out')}${said('err')}`, { cause: error })
  }
}

/** What a case that has failed leaves to run would be in the way of others. */
async function clear(slurm: Slurm, id: string): Promise<void> {
  await slurm.user('scancel', ['-Q', id])
  await slurm.over(id, 20_000)
}

async function runStep(slurm: Slurm, one: BatchCase, how: 'bare' | 'vwn'): Promise<Observed> {
  const name = `case-${Math.random().toString(36).slice(2)}`
  const words = ['srun', '-J', name, ...optionsOf(slurm, one, how), ...(one.command ?? []), ...(one.args ?? [])]
  const child = words.includes('--pty') ? slurm.start('script', ['-qec', words.map(quote).join(' '), '/dev/null']) : slurm.start('srun', words.slice(1))
  const end = ended(child, { stdin: one.stdin ?? '', withinMs: jobMs })
  const wait = waitsOfCase(jobMs)
  let said = ''
  child.stdout?.on('data', (chunk: Buffer) => (said += chunk.toString('latin1')))
  const id = async (): Promise<string> => (await slurm.admin('squeue', '-h', '-n', name, '-o', '%A')).stdout.trim()
  try {
    if (one.during !== undefined) {
      const now = await wait(id, 'the step has a job')
      await one.during({ ...liveJob(slurm, now, { wait, said: () => said }), signal: async (signal) => void child.kill(`SIG${signal}` as NodeJS.Signals) })
    }
    return observed(await end)
  } catch (error) {
    child.kill('SIGKILL')
    await Promise.allSettled([end])
    const left = await id()
    if (left !== '') await clear(slurm, left)
    throw new Error(`step ${name} (${how}): ${said}`, { cause: error })
  }
}

/** What srun and slurmstepd say comes side by side. */
function observed({ code, signal, stdoutBytes, stderr }: Ended): Observed {
  const spoken = tidied(stderr).split('\n').filter((line) => !/^srun: job N (queued and waiting|has been allocated)/.test(line))
  return { record: { exit: String(code ?? signal) }, stdout: tidied(stdoutBytes.toString('latin1')), stderr: spoken.sort().join('\n') }
}

/** Slurm sets the time of the next run again when the last one is cleared away: it is told as often as it takes. */
async function runsAgain(slurm: Slurm, id: string): Promise<boolean> {
  const [record] = await slurm.job(id)
  if (record !== undefined) await runAgainSoon(slurm, record)
  return record !== undefined && record.get('Restarts') !== '0' && (record.get('JobState') === 'RUNNING' || isOver(record))
}

interface Watched {
  readonly wait: Wait
  readonly said: () => string
}

function liveJob(slurm: Slurm, id: string, { wait, said }: Watched): LiveJob {
  const suspended = async (wanted: boolean): Promise<void> => {
    const is = async (): Promise<boolean> => (await slurm.job(id)).every((record) => (record.get('JobState') === 'SUSPENDED') === wanted)
    await wait(is, `job ${id} is${wanted ? '' : ' not'} suspended`)
  }
  return {
    id,
    says: async (text) => void (await wait(() => said().includes(text), `job ${id} says ${text}`, 50)),
    cancel: async () => void (await slurm.user('scancel', [id])),
    async suspend() {
      await slurm.admin('scontrol', 'suspend', id)
      await suspended(true)
    },
    async resume() {
      await slurm.admin('scontrol', 'resume', id)
      await suspended(false)
    },
    async requeue() {
      await slurm.admin('scontrol', 'requeue', id)
      await wait(() => runsAgain(slurm, id), `job ${id} runs again`)
    },
    async endsIn(seconds) {
      await slurm.admin('scontrol', 'update', `JobId=${id}`, `EndTime=now+${seconds}`)
    },
    signal: async (name) => void (await slurm.user('scancel', ['-b', '-s', name, id])),
  }
}
