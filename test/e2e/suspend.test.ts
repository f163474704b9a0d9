/** Suspended batch jobs in real guests: everything stands still, the clock is right afterwards, and nothing is left of one that is ended meanwhile. */
import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { programFile } from '../../cli/programs.ts'
import { systemClock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'
import { jobsReplySchema } from '../../wire/api.ts'
import { startFarm, type Farm } from '../harness/farm.ts'

let farm: Farm
beforeAll(async () => { farm = await startFarm({ baits: 1, cpus: 4, templates: 8 }) }, 240_000)
afterAll(() => (farm as Farm | undefined)?.[Symbol.asyncDispose](), 120_000)

const clockErrorMsMax = 100
const soon = { withinMs: 30_000, everyMs: 5 }

/** Says the guest's time again and again, hears SIGTSTP and goes on, and ends by nothing but KILL. */
const ticks = 'trap "echo stop" TSTP; trap "" TERM; echo up; while :; do echo $EPOCHREALTIME; read -t 0.02 <> <(:); done'

interface Ticking {
  readonly child: ChildProcess
  readonly exit: Promise<number | NodeJS.Signals | null>
  /** When each tick came, and what time the guest said it was. */
  readonly heard: { readonly atMs: number; readonly saidMs: number }[]
}

/** A job as Slurm would start it, which ticks. */
async function ticking(): Promise<Ticking> {
  const env = { ...process.env, WNOD_HOME: farm.home.home, WNOD_FRONT_END: 'slurm', WNOD_ARGV0: 'bash', WNOD_TYPE: 'debian12', SLURM_JOB_ID: '7' }
  const child = spawn(process.execPath, [programFile('starter.cjs'), '-c', ticks], { env, cwd: '/tmp', stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = new Promise<number | NodeJS.Signals | null>((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)))
  const heard: { atMs: number; saidMs: number }[] = []
  child.stdout.on('data', (bytes: Buffer) => {
    const atMs = systemClock.nowMs()
    for (const line of bytes.toString().split('\n')) if (/^\d+\.\d+$/.test(line)) heard.push({ atMs, saidMs: Number(line) * 1_000 })
  })
  await until(() => heard.length > 5, { withinMs: 120_000, what: 'ticks of the job' })
  return { child, exit, heard }
}

/** Processor time of the farm's one VM, milliseconds. */
function usedMs(): number {
  const [pid = 0] = farm.vms()
  return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]) / 1e6, 0)
}

const hook = async (...args: string[]): Promise<void> => expect(await farm.cli(['hook', ...args])).toMatchObject({ code: 0, stdout: '', stderr: '' })

async function isClean(): Promise<void> {
  await until(async () => (await farm.api.get('/jobs', jobsReplySchema, { only: 'live' })).jobs.length === 0, { withinMs: 30_000, what: 'no job is left' })
  await until(async () => (await farm.vwns()).every(({ state }) => state === 'idle'), { withinMs: 60_000, what: 'every VWN is idle or gone' })
  expect(await farm.audit()).toMatchObject({ code: 0 })
}

/** What the guest does while it is suspended, by what it costs the host: within 200 ms of the word, nothing. */
async function pausedFor(ms: number, suspend: () => unknown): Promise<void> {
  const fromMs = systemClock.monotonicMs()
  suspend()
  await until(() => systemClock.monotonicMs() - fromMs >= 200, { withinMs: 1_000, everyMs: 1 })
  const before = usedMs()
  await until(() => systemClock.monotonicMs() - fromMs >= ms, { withinMs: 2 * ms, everyMs: 10 })
  // QEMU itself looks after its network twice a second.
  expect(usedMs() - before).toBeLessThan(20)
}

test('TSTP: within 200 ms the guest makes no progress, and with CONT it goes on, right in time', { timeout: 240_000 }, async () => {
  const { child, heard, exit } = await ticking()
  let toldMs = 0
  await pausedFor(3_000, () => {
    toldMs = systemClock.nowMs()
    child.kill('SIGTSTP')
  })
  const count = heard.length
  const goesOnMs = systemClock.nowMs()
  child.kill('SIGCONT')
  await until(() => heard.at(-1)?.saidMs !== undefined && (heard.at(-1)?.saidMs ?? 0) > goesOnMs, soon)
  await until(() => heard.length > count + 20, soon)
  // What was said while the starter itself was stopped came later; by the guest's own clock, as right as it has to be, nothing was said meanwhile.
  const meanwhile = heard.filter(({ saidMs }) => saidMs > toldMs + 200 + clockErrorMsMax && saidMs < goesOnMs - clockErrorMsMax)
  expect(meanwhile).toEqual([])
  const errors = heard.slice(-15).map(({ atMs, saidMs }) => atMs - saidMs)
  expect(Math.min(...errors)).toBeGreaterThan(-clockErrorMsMax)
  expect(Math.min(...errors)).toBeLessThan(clockErrorMsMax)
  child.kill('SIGKILL')
  await exit
  await isClean()
  expect(await farm.vwns()).toMatchObject([{ state: 'idle', jobsRun: 1 }]) // as good as new: its clock is one of the things that a scrub looks at
})

test('wnod hook suspends, resumes and terminates it by the batch job\'s id', { timeout: 240_000 }, async () => {
  const { heard, exit } = await ticking()
  await hook('control', 'suspend', '7', '--batch-system', 'slurm')
  const count = heard.length
  await pausedFor(1_000, () => undefined)
  expect(heard.length - count).toBeLessThan(3) // those that were on their way
  await hook('control', 'resume', '7', '--batch-system', 'slurm')
  await until(() => heard.length > count + 20, soon)
  await hook('control', 'suspend', '7', '--batch-system', 'slurm')
  await hook('control', 'terminate', '7', '--batch-system', 'slurm', '--grace', '1')
  expect(await exit).toBe('SIGKILL')
  await isClean()
  await hook('release', '7')
})

test('killed while suspended, the starter takes the job with it within two seconds', { timeout: 240_000 }, async () => {
  const { child, exit } = await ticking()
  await hook('control', 'suspend', '7')
  const fromMs = systemClock.monotonicMs()
  child.kill('SIGKILL')
  await exit
  await until(async () => (await farm.api.get('/jobs', jobsReplySchema, { only: 'live' })).jobs.length === 0, { withinMs: 30_000, everyMs: 20, what: 'no job is left' })
  expect(systemClock.monotonicMs() - fromMs).toBeLessThan(2_000)
  await isClean()
})

test('a bait that dies meanwhile leaves no VM paused, and the job is lost', { timeout: 240_000 }, async () => {
  const { exit } = await ticking()
  await hook('control', 'suspend', '7')
  await farm.kill('bait-h1')
  expect(await exit).toBe(76)
  await farm.restart('bait-h1')
  await farm.ready()
  await isClean()
  expect(await farm.run(['sh', '-c', 'echo $(date +%s)'], { options: ['--type', 'debian12'] }).then(({ stdout }) => Math.abs(Number(stdout) * 1_000 - systemClock.nowMs()))).toBeLessThan(3_000)
})
