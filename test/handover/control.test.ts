/** Job control: by signals at the starter, and by `wnod hook` as the methods, prologs and epilogs of batch systems call it. */
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Stillness } from '../../bait/contracts.ts'
import { jobLimits, type JobLimits } from '../../core/job.ts'
import { systemClock } from '../../kit/clock.ts'
import { processOf } from '../../kit/process.ts'
import { until } from '../../kit/until.ts'
import { JobStream } from '../../wire/job-stream.ts'
import { buildStarter, hookFile, openDesk, runStarter, sessionOf, starterFolder } from './desk.ts'
import { fakeGuest } from './fake-agent.ts'

beforeAll(buildStarter, 60_000)
afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))

vi.setConfig({ testTimeout: 60_000 }) // processes of ours start and end in each; the machine may be busy

const within = { withinMs: 20_000 }
const root = process.getuid?.() === 0
/** As Slurm's plugin calls it, for batch job 7. */
const slurm = { WNOD_FRONT_END: 'slurm', WNOD_ARGV0: 'bash', SLURM_JOB_ID: '7' }
/** Counts in a file whatever it hears, which it notes in another: while its starter is stopped nobody passes on what it says. */
const counts = (file: string): string =>
  `trap "echo stop >>${file}.heard" TSTP; trap "echo go >>${file}.heard" CONT; trap "" TERM; echo up; n=0; while :; do n=$((n+1)); echo $n >${file}; sleep 0.02; done`

/** A bait with one guest, which stands still by real signals to all that runs in it. */
async function farm(limits: Partial<JobLimits> = {}, { halts = true } = {}) {
  const guest = await fakeGuest()
  const asked: string[] = []
  const signal = (name: NodeJS.Signals): Promise<void> => Promise.resolve(guest.alive().forEach((pid) => process.kill(-pid, name)))
  const stillness: Stillness = { freeze: () => (asked.push('freeze'), signal('SIGSTOP')), wake: () => (asked.push('wake'), signal('SIGCONT')) }
  const desk = await openDesk({ limits: { ...jobLimits, stopMs: 300, ...limits }, ...(halts && { stillness }) })
  const session = await sessionOf(guest.address)
  const file = join(desk.folder, 'count')
  return {
    guest, desk, asked, file,
    /** A job that is up; of Slurm's, or called by a person who says so. */
    async start(script: string, by: 'slurm' | 'person' = 'slurm') {
      const starter = by === 'slurm' ? runStarter(desk, ['-c', script], { frontEnd: slurm }) : runStarter(desk, ['bash', '-c', script], { args: ['--batch-system', 'slurm', '--batch-job-id', '7.0'] })
      const { freed, job } = await desk.place(session)
      await until(() => starter.stdout().includes('up'), within)
      return { ...starter, freed, job }
    },
    hook: (args: readonly string[], as: { uid?: number; gid?: number; input?: string } = {}) =>
      execa(process.execPath, [hookFile, ...args], { env: { WNOD_SOCKET: desk.socket, PATH: process.env['PATH'] ?? '' }, extendEnv: false, reject: false, cwd: '/', ...as }),
    heard: () => (existsSync(`${file}.heard`) ? readFileSync(`${file}.heard`, 'latin1') : ''),
    count: () => Number(readFileSync(file, 'utf8')) || 0,
    async [Symbol.asyncDispose]() {
      session.close()
      await desk[Symbol.asyncDispose]()
      await guest[Symbol.asyncDispose]()
    },
  }
}

type Farm = Awaited<ReturnType<typeof farm>>
const stateOf = (at: Farm): string | undefined => at.desk.jobs.live()[0]?.state

/** Whatever the guest does stands still: its processes are stopped, and count no further while we look. */
async function standsStill(at: Farm): Promise<number> {
  await until(() => at.asked.at(-1) === 'freeze', within)
  const stood = at.count()
  const untilMs = systemClock.monotonicMs() + 300
  await until(() => systemClock.monotonicMs() > untilMs, within)
  expect(at.count()).toBe(stood)
  return stood
}

describe('a batch job that gets TSTP', () => {
  test('hears it, stands still a moment later whatever it makes of it, and goes on with CONT', async () => {
    await using at = await farm({ pauseMs: 1_000 })
    const { child, ended } = await at.start(counts(at.file))
    child.kill('SIGTSTP')
    await until(() => at.heard() === 'stop\n', within)
    const counted = at.count()
    await until(() => at.count() > counted, within)
    const stood = await standsStill(at)
    await until(() => /State:\tT/.test(readFileSync(`/proc/${child.pid}/status`, 'latin1')), within)
    child.kill('SIGCONT')
    await until(() => at.count() > stood, within)
    await until(() => at.heard().endsWith('go\n'), within)
    expect([at.asked, stateOf(at)]).toEqual([['freeze', 'wake'], 'running'])
    child.kill('SIGKILL')
    await ended
  })

  test('and CONT in time never stands still', async () => {
    await using at = await farm({ pauseMs: 60_000 })
    const { child, ended } = await at.start(counts(at.file))
    child.kill('SIGTSTP')
    await until(() => at.heard() === 'stop\n', within)
    child.kill('SIGCONT')
    await until(() => at.heard() === 'stop\ngo\n' && stateOf(at) === 'running', within)
    expect(at.asked).toEqual([])
    child.kill('SIGKILL')
    await ended
  })

  test('in a guest that cannot be stopped has its processes stopped, whatever they make of the signal', async () => {
    await using at = await farm({}, { halts: false })
    const { child, ended } = await at.start(counts(at.file))
    const [pid = 0] = at.guest.alive()
    const isStopped = (): boolean => /State:\tT/.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
    child.kill('SIGTSTP')
    await until(isStopped, within)
    expect(stateOf(at)).toBe('suspended')
    child.kill('SIGCONT')
    await until(() => !isStopped() && at.heard().endsWith('go\n'), within)
    child.kill('SIGKILL')
    await ended
  })

  test('each signal counts once, also when it comes again some tens of milliseconds later', async () => {
    await using at = await farm()
    const { child, stdout, ended } = await at.start('trap "echo usr" USR1; trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.02; done')
    const twice = async (signal: NodeJS.Signals): Promise<void> => {
      child.kill(signal)
      const fromMs = systemClock.monotonicMs()
      await until(() => systemClock.monotonicMs() - fromMs > 25, { withinMs: 1_000, everyMs: 1 })
      child.kill(signal)
    }
    await twice('SIGUSR1')
    await until(() => stdout().includes('usr'), within)
    child.kill('SIGCONT')
    await twice('SIGTERM')
    expect(await ended).toMatchObject({ code: 3, stdout: Buffer.from('up\nusr\nbye\n') })
  })

  test('dies with its starter all the same, at once and for certain', async () => {
    await using at = await farm({ stopMs: 30_000 })
    const { child, freed } = await at.start(counts(at.file))
    child.kill('SIGTSTP')
    await standsStill(at)
    const fromMs = systemClock.monotonicMs()
    child.kill('SIGKILL')
    await freed
    await until(() => at.guest.alive().length === 0, within)
    expect(systemClock.monotonicMs() - fromMs).toBeLessThan(2_000)
    expect(at.asked).toEqual(['freeze', 'wake'])
  })
})

test('a job that a person runs is left to what TSTP does to it', async () => {
  await using at = await farm({ pauseMs: 0 })
  const { child, ended } = await at.start(counts(at.file), 'person')
  child.kill('SIGTSTP')
  await until(() => at.heard() === 'stop\n' && stateOf(at) === 'suspended', within)
  const counted = at.count()
  await until(() => at.count() > counted + 20, within)
  child.kill('SIGCONT')
  await until(() => at.heard() === 'stop\ngo\n' && stateOf(at) === 'running', within)
  expect(at.asked).toEqual([])
  child.kill('SIGKILL')
  await ended
})

test('a starter that is stopped is not dead, nor is its job', async () => {
  await using at = await farm()
  const { child, ended } = await at.start(counts(at.file))
  child.kill('SIGSTOP')
  const stood = at.count()
  await until(() => at.count() > stood + 20, within)
  expect(stateOf(at)).toBe('running')
  const fromMs = systemClock.monotonicMs()
  child.kill('SIGKILL')
  await ended
  await until(() => at.guest.alive().length === 0, within)
  expect(systemClock.monotonicMs() - fromMs).toBeLessThan(2_000)
})

describe('wnod hook', () => {
  const silent = { exitCode: 0, stdout: '', stderr: '' }

  test('control suspends and resumes the jobs of a batch job, by its id and by ours, and says it once', async () => {
    await using at = await farm()
    const { child, job, ended } = await at.start(counts(at.file), 'person')
    expect(await at.hook(['control', 'suspend', '7', '--batch-system', 'slurm'])).toMatchObject(silent)
    expect(at.asked).toEqual(['freeze'])
    const stood = await standsStill(at)
    expect(await at.hook(['control', 'suspend', job, '--verbose'])).toMatchObject({ ...silent, stdout: `${job} suspended` })
    expect(await at.hook(['control', 'resume', job, '--verbose'])).toMatchObject({ ...silent, stdout: `${job} resumed` })
    await until(() => at.count() > stood, within)
    expect(await at.hook(['control', 'resume', '7.0', '--verbose'])).toMatchObject({ ...silent, stdout: `${job} unchanged` })
    expect(at.asked).toEqual(['freeze', 'wake'])
    child.kill('SIGKILL')
    await ended
  })

  test('control terminate asks, then forces, and returns when nothing is left', async () => {
    await using at = await farm()
    const polite = await at.start('trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.02; done')
    expect(await at.hook(['control', 'terminate', '7', '--batch-system', 'slurm'])).toMatchObject(silent)
    expect(at.guest.alive()).toEqual([])
    expect(await polite.ended).toMatchObject({ code: 3, stdout: Buffer.from('up\nbye\n') })

    const deaf = await at.start(counts(at.file))
    expect(await at.hook(['control', 'suspend', deaf.job])).toMatchObject(silent)
    expect(await at.hook(['control', 'terminate', deaf.job, '--grace', '1', '--verbose'])).toMatchObject({ ...silent, stdout: `${deaf.job} ended` })
    expect(at.guest.alive()).toEqual([])
    expect(await deaf.ended).toMatchObject({ signal: 'SIGKILL' })

    const forced = await at.start('echo up; exec sleep 1000')
    expect(await at.hook(['control', 'terminate', '--now', forced.job])).toMatchObject(silent)
    expect(await forced.ended).toMatchObject({ signal: 'SIGKILL' })
  })

  test('release ends what lives of the batch job and nothing else', async () => {
    await using at = await farm()
    const mine = await at.start(counts(at.file), 'person')
    const waiting = runStarter(at.desk, ['true'], { args: ['--batch-system', 'slurm', '--batch-job-id', '70'] })
    await until(() => at.desk.jobs.live().length === 2, within)
    expect(await at.hook(['release', '--batch-system', 'slurm', '--batch-job-id', '7'])).toMatchObject(silent)
    expect(at.guest.alive()).toEqual([])
    expect(at.desk.jobs.live().map(({ want }) => want.batchJobId)).toEqual(['70'])
    expect(await at.hook(['release', '--batch-system', 'slurm', '--batch-job-id', '7'])).toMatchObject(silent)
    await mine.ended
    expect(await at.hook(['release', '70'])).toMatchObject(silent)
    expect(await waiting.ended).toMatchObject({ signal: 'SIGKILL' })
  })

  test('at the exit of a job of HTCondor, whose ad is on stdin, nothing is left of it; other jobs are not looked at', async () => {
    await using at = await farm()
    const [one, other] = ['7.0', '7.1'].map((id) => runStarter(at.desk, ['true'], { args: ['--batch-system', 'htcondor', '--batch-job-id', id] }))
    await until(() => at.desk.jobs.live().length === 2, within)
    const exit = (ad: string, more: readonly string[] = []) => at.hook(['htcondor', 'exit', ...more], { input: ad })
    for (const ad of ['', 'ClusterId = 7\nProcId = 0\nExitCode = 0\n', 'VM = "el9"\nClusterId = 7\n', 'VM = "el9"\nClusterId = 9\nProcId = 0\n']) expect(await exit(ad)).toMatchObject(silent)
    expect(at.desk.jobs.live()).toHaveLength(2)
    expect(await exit('ClusterId = 7\nVM = "el9"\nProcId = 0\nExitBySignal = true\n')).toMatchObject(silent)
    expect(at.desk.jobs.live().map(({ want }) => want.batchJobId)).toEqual(['7.1'])
    expect(await exit('ClusterId = 7\nProcId = 1\n', ['--all'])).toMatchObject(silent)
    expect(await Promise.all([one?.ended, other?.ended])).toMatchObject([{ signal: 'SIGKILL' }, { signal: 'SIGKILL' }])
  })

  test('where there is no bait there is nothing to release, but nothing can be controlled either', async () => {
    await using at = await farm()
    const nowhere = ['--socket', join(at.desk.folder, 'no.sock')]
    expect(await at.hook(['release', '7', ...nowhere])).toMatchObject(silent)
    expect(await at.hook(['release', '7', '--strict', ...nowhere])).toMatchObject({ exitCode: 75, stderr: expect.stringContaining('(BAIT_UNREACHABLE)') as string })
    expect(await at.hook(['control', 'resume', '7', ...nowhere])).toMatchObject({ exitCode: 75 })
    expect(await at.hook(['control', 'freeze', '7'])).toMatchObject({ exitCode: 2 })
    expect(await at.hook(['control', 'resume'])).toMatchObject({ exitCode: 2 })
  })

  test.runIf(root)('the job of another is his own; root has power over all', async () => {
    await using at = await farm()
    const starter = await at.start('echo up; exec sleep 1000')
    const nobody = { uid: 65534, gid: 65534 }
    for (const args of [['control', 'suspend', starter.job], ['control', 'terminate', '7'], ['release', '7']]) {
      expect(await at.hook(args, nobody)).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('(JOB_NOT_YOURS)') as string })
    }
    expect([stateOf(at), at.asked]).toEqual(['running', []])
    expect(await at.hook(['release', 'another'], nobody)).toMatchObject(silent)
    expect(await at.hook(['release', '7'])).toMatchObject(silent)
    await starter.ended
  })

  test.each([
    ['a false name', { uid: 12345, order: { do: 'resume' } }, 'JOB_IDENTITY_FALSE'],
    ['an order that there is not', { order: { do: 'explode' } }, 'JOB_REQUEST_INVALID'],
    ['a grace of years', { order: { do: 'terminate', graceMs: 1e12 } }, 'JOB_REQUEST_INVALID'],
  ])('%s is refused, and costs nobody else anything', async (_what, claim, code) => {
    await using at = await farm()
    const starter = await at.start('echo up; exec sleep 1000')
    const said = await new Promise<unknown>((resolve) => {
      const via = new JobStream(connect(at.desk.socket), {
        onControl: (message) => ((message as { kind: string }).kind === 'greet'
          ? via.control({ kind: 'control', v: 1, uid: process.geteuid?.(), gid: process.getegid?.(), which: { by: 'batch', batchSystem: null, batchJobId: '7' }, ...claim })
          : resolve(message)),
        onClose: () => {},
      })
    })
    expect(said).toMatchObject({ kind: 'error', failure: { code } })
    expect([stateOf(at), processOf(at.guest.alive()[0] ?? 0) === null]).toEqual(['running', false])
    starter.child.kill('SIGKILL')
    await starter.ended
  })
})
