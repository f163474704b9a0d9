/** Slurm: every case of the comparison, and what is its alone: installing, asking for a type, defaults, what becomes of jobs that get no VWN, and whose records say what. */
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../kit/command.ts'
import { until } from '../../kit/until.ts'
import { jobsReplySchema, typesReplySchema, type JobView } from '../../wire/api.ts'
import { startFarm, type Farm } from '../harness/farm.ts'
import { tempFolder } from '../harness/temp.ts'
import { accountOf } from './accounts.ts'
import type { BatchCase } from './case.ts'
import { compared, roomForCases, templateReady } from './compared.ts'
import { readRecord, user } from './slurm-daemons.ts'
import { installSlurm, startSlurm, startSlurmAlone, type Slurm } from './slurm.ts'

const mapping = `
types: { debian12: { image: debian12, memory_mib: 512, scratch_gib: 4, reuse: same-user } }
default: { type: debian12 }
`
const lines = (...all: readonly string[]): string => all.join('\n')
const root = join(import.meta.dirname, '../..')

test('a record of Slurm, also with a name that looks like one', () => {
  expect(Object.fromEntries(readRecord('JobId=7 JobName=a b $x UserId=games(5) ExitCode=0:11 CPUs/Task=1'))).toEqual({ JobId: '7', JobName: 'a b $x', UserId: 'games(5)', ExitCode: '0:11', 'CPUs/Task': '1' })
})

describe('with a farm', () => {
  let farm: Farm
  let slurm: Slurm
  beforeAll(async () => {
    farm = await startFarm({ mapping, ...roomForCases })
    const [started] = await Promise.all([startSlurm(farm, '--default', 'mapping', '--partition', 'other,bait'), templateReady(farm)])
    slurm = started
  }, 240_000)
  afterAll(async () => {
    await slurm?.[Symbol.asyncDispose]()
    await farm?.[Symbol.asyncDispose]()
  }, 60_000)

  compared('slurm', () => slurm)

  const hostname = async (...options: readonly string[]): Promise<string> => (await slurm.user('srun', ['-D', '/tmp', ...options, 'uname', '-n'])).stdout.trim()
  const inVwn = /^h1-v\d+/
  const submit = async (script: string, ...options: readonly string[]): Promise<{ id: string; said: () => string }> => {
    const out = join(slurm.desk(), 'out')
    const { stdout, stderr } = await slurm.user('sbatch', ['--parsable', '-D', '/tmp', '-o', out, ...options, '--wrap', script])
    if (stdout === '') throw new Error(stderr)
    return { id: stdout.trim(), said: () => readFileSync(out, 'latin1') }
  }
  const ours = async (id: string): Promise<JobView | undefined> =>
    jobsReplySchema.parse(JSON.parse((await farm.cli(['jobs', '--json'])).stdout)).jobs.find(({ batchJobId }) => batchJobId === id)

  test('what says nothing goes where its partition says, and --vm says it anywhere', async () => {
    expect(await hostname('-p', 'bait')).toMatch(inVwn)
    expect(await hostname('-p', 'bare')).not.toMatch(inVwn)
    expect(await hostname('-p', 'bare', '--vm=debian12')).toMatch(inVwn)
  })

  test('a job whose allocation was given to a VWN keeps it for its steps', async () => {
    const { stdout } = await slurm.user('salloc', ['-Q', '-p', 'bare', '-D', '/tmp', '--vm=debian12', 'srun', 'uname', '-n'])
    expect(stdout).toMatch(inVwn)
  })

  test.each(['', '../etc', '/etc/passwd', '$(id)', 'a b', 'x;y', '-x', 'a'.repeat(65), 'a\nb', '`id`', 'ä'])('--vm=%j is refused before anything is submitted', async (type) => {
    const before = (await slurm.admin('squeue', '-h', '-t', 'all', '-o', '%A')).stdout
    for (const [command, ...rest] of [['srun', 'true'], ['sbatch', '--wrap', 'true'], ['salloc', 'true']] as const) {
      const { code, stderr } = await slurm.user(command, [`--vm=${type}`, ...rest])
      expect({ command, code }).not.toMatchObject({ code: 0 })
      expect(stderr).toContain('--vm')
    }
    expect((await slurm.admin('squeue', '-h', '-t', 'all', '-o', '%A')).stdout).toBe(before)
  })

  test('a type in the environment that no option has passed does not start anything', async () => {
    const { code, stdout } = await slurm.user('srun', ['-p', 'bare', '-D', '/tmp', '--export=ALL,WNOD_TYPE=x,WNOD_ARGV0=/bin/false', 'echo', 'bare'])
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'bare\n' })
  })

  test('what a user says in our name is not heard', async () => {
    const env = { WNOD_SOCKET: '/nonexistent', WNOD_NODE: '/bin/false', WNOD_HOME: '/nonexistent', WNOD_TYPE: 'nosuch', WNOD_QUEUE: 'x', WNOD_FRONT_END: 'x', WNOD_ARGV0: 'false' }
    const { code, stdout, stderr } = await slurm.user('srun', ['-D', '/tmp', 'uname', '-n'], { env })
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('wnod') as string })
    expect(stdout).toMatch(inVwn)
  })

  test('a type that there is not fails at once, with the reason', async () => {
    const { code, stderr } = await slurm.user('srun', ['--vm=nosuch', 'true'])
    expect(code).toBe(77)
    expect(stderr).toMatch(/^wnod: the job did not run: .*TYPE_UNKNOWN/m)
    const { id } = await submit('true', '--vm=nosuch')
    const [record] = await slurm.over(id)
    expect(record?.get('JobState')).toBe('FAILED')
    expect(record?.get('ExitCode')).toBe('77:0')
  })

  test('a hook tells Slurm what there is room for: a job that asks for more than is left waits, and one that asks for more than there is is refused', async () => {
    const tell = async (): Promise<void> => {
      expect(await farm.cli(['hook', 'resources', '--home', farm.home.home, '--format', 'slurm', '--node', 'bait0'], { env: slurm.environment as Record<string, string> })).toMatchObject({ code: 0, stdout: '', stderr: '' })
    }
    const told = async (): Promise<number> => Number(/ Gres=vm_debian12:(\d+)/.exec((await slurm.admin('scontrol', '-o', 'show', 'node', 'bait0')).stdout)?.[1])
    expect(await told()).toBe(64)
    await tell()
    const room = await told()
    expect(room).toBeGreaterThan(1)
    expect(room).toBeLessThan(64)
    const all = await submit('echo up; exec sleep 60', '--vm=debian12', `--gres=vm_debian12:${room}`)
    await until(() => all.said() === 'up\n', { withinMs: 60_000, what: 'the job with all of it runs' })
    const one = await submit('uname -n', '--vm=debian12', '--gres=vm_debian12:1')
    await until(async () => (await slurm.job(one.id))[0]?.get('Reason') === 'Resources', { withinMs: 20_000, what: 'the other one waits for it' })
    await tell() // what jobs have is not taken off twice
    expect(await told()).toBe(room)
    await slurm.user('scancel', [all.id])
    expect((await slurm.over(one.id))[0]?.get('JobState')).toBe('COMPLETED')
    expect(one.said()).toMatch(inVwn)
    await expect(submit('true', `--gres=vm_debian12:${room + 1}`)).rejects.toThrow(/Requested node configuration is not available/)
  })

  test('--multi-prog is refused, not run on the bare node', async () => {
    const path = join(slurm.desk(), 'programs')
    writeFileSync(path, '0 echo zero\n1 echo one\n')
    const { code, stdout, stderr } = await slurm.user('srun', ['-n', '2', '--multi-prog', path])
    expect(code).not.toBe(0)
    expect(stdout).toBe('')
    expect(stderr).toContain('--multi-prog')
  })

  test('what pends for room counts for the warm pool, as the type that the mapping gives its owner', async () => {
    const pending = (...options: readonly string[]) => farm.cli(['hook', 'pending', '--from', 'slurm', '--partition', 'bait', ...options], { env: slurm.environment as Record<string, string> })
    const shown = async () => typesReplySchema.parse(JSON.parse((await farm.cli(['types', '--json'])).stdout)).types[0]?.pending
    const { id: full } = await submit('sleep 600', '--exclusive', '-p', 'bare')
    await until(async () => (await slurm.job(full))[0]?.get('JobState') === 'RUNNING', { withinMs: 20_000 })
    const waiting = [await submit('true', '--exclusive', '-p', 'bait', '--array=1-3'), await submit('true', '--exclusive', '-p', 'bait', '--hold'), await submit('true', '--exclusive', '-p', 'bare')]
    await until(async () => (await pending('--dry-run')).stdout === 'debian12=3\n', { withinMs: 20_000, what: 'three jobs that pend' })
    expect(await pending()).toMatchObject({ code: 0, stdout: '', stderr: '' })
    await until(async () => (await shown())?.[0]?.jobs === 3, { withinMs: 20_000 })
    expect((await farm.cli(['types'])).stdout).toMatch(/^debian12: 3 pending, as slurm said \d.* ago$/m)
    for (const { id } of [{ id: full }, ...waiting]) await slurm.user('scancel', [id])
    await slurm.over(full)
    expect(await pending()).toMatchObject({ code: 0, stdout: '', stderr: '' })
    await until(async () => (await shown())?.length === 0, { withinMs: 20_000 })
  })

  test('a suspended job makes no progress, and goes on', async () => {
    const { id, said } = await submit('i=0; while [ $i -lt 60 ]; do echo tick; sleep 0.1; i=$((i + 1)); done; echo done')
    await until(() => said().includes('tick'), { withinMs: 60_000 })
    await slurm.admin('scontrol', 'suspend', id)
    // Two seconds after its TSTP Slurm stops the starter; from then on what is written stays what it is.
    const starter = await until(() => stoppedStarter(id), { withinMs: 20_000, what: 'the starter is stopped' })
    const then = said()
    await until(() => Number(process.hrtime.bigint() - starter.sinceNs) > 700e6, { withinMs: 5_000 })
    expect(said()).toBe(then)
    await slurm.admin('scontrol', 'resume', id)
    expect((await slurm.over(id))[0]?.get('ExitCode')).toBe('0:0')
    expect(said()).toBe(`${'tick\n'.repeat(60)}done\n`)
  })

  test('a job that gets no VWN because the bait is away says so and waits', async () => {
    await farm.kill('bait-h1')
    const { id, said } = await submit('echo ran $SLURM_RESTART_COUNT', '--requeue')
    // For a moment its reason is that it has failed.
    const waits = (one: ReadonlyMap<string, string>): boolean => one.get('JobState') === 'PENDING' && one.get('Restarts') === '1' && one.get('Reason') === 'BeginTime'
    await until(async () => (await slurm.job(id)).some(waits), { withinMs: 60_000, what: 'it waits to run again' })
    expect(said()).toMatch(/^wnod: the job did not run: .*BAIT_UNREACHABLE/)
    await farm.restart('bait-h1')
    await farm.ready()
    expect((await slurm.over(id))[0]?.get('JobState')).toBe('COMPLETED')
    expect(said()).toBe('ran 1\n')
  })

  test('Slurm and we say the same of a job: state, exit, times', async () => {
    const { id } = await submit('sleep 1; exit 3', '-J', 'a name')
    const [record] = await slurm.over(id)
    const job = await until(async () => ours(id).then((one) => (one?.endedAtMs === null ? null : one)), { withinMs: 20_000, what: 'our record' })
    expect(record?.get('ExitCode')).toBe('3:0')
    expect(job).toMatchObject({ user: user.name, uid: user.uid, queue: 'bait', batchSystem: 'slurm', outcome: { is: 'exited', code: 3 } })
    const said = (name: string): number => new Date(record?.get(name) ?? '').getTime()
    // Slurm has whole seconds.
    expect(Math.abs(job.submittedAtMs - said('StartTime'))).toBeLessThan(2_000)
    expect(Math.abs((job.endedAtMs ?? 0) - said('EndTime'))).toBeLessThan(2_000)
    const account = await accountOf(farm, id)
    expect(account).toMatchObject({ cause: 'exited', exitCode: 3, user: user.name, queue: 'bait', host: 'h1', type: 'debian12', submittedAtMs: job.submittedAtMs, endedAtMs: job.endedAtMs })
    expect(Math.min(account.runMs - 1_000, account.scrubMs, account.overheadMs)).toBeGreaterThan(0)
    expect(readFileSync(join(slurm.folder, 'log/jobcomp.txt'), 'utf8')).toMatch(new RegExp(`^JobId=${id} .*JobState=FAILED .*ExitCode=3:0`, 'm'))
  })

  test('without a plugin, batch scripts go into VWNs all the same', async () => {
    await using other = await startSlurmAlone('--comment=vm=debian12')
    expect(await installSlurm(farm, other, ['--without-plugin', '--scripts', join(other.folder, 'scripts')])).toMatchObject({ code: 0 })
    const whole: BatchCase = { group: 'script forms', name: '', script: lines('#!/bin/bash', 'trap "echo USR1; exit 3" USR1', 'cat; wc -c <"$0"; echo "${0##*/}"', 'printf "<%s>" "$@"', 'uname -n >&2', 'kill -USR1 $$'), args: ['a b', '$HOME', ''], stdin: 'in\n' }
    const [bare, ours] = await Promise.all([other.run(whole, 'bare'), other.run(whole, 'vwn')])
    expect(ours.stderr).toMatch(inVwn)
    expect(ours).toEqual({ ...bare, stderr: ours.stderr })
  })

  test('afterwards nothing is left, and the node takes jobs', async () => {
    expect(await farm.audit()).toMatchObject({ code: 0 })
    expect((await slurm.admin('sinfo', '-h', '-p', 'bait', '-o', '%t')).stdout.trim()).toBe('idle')
    expect(readdirSync('/tmp').filter((name) => name === 'hostile')).toEqual([])
  })

  test('installing is shown, made once, checked, and taken back exactly', async () => {
    await using other = await startSlurmAlone()
    const files = ['etc/plugstack.conf', 'etc/slurm.conf'].map((name) => join(other.folder, name))
    const content = (): string[] => files.map((file) => readFileSync(file, 'utf8'))
    const set = async (): Promise<string> => /^RequeueExit +=.*$/m.exec((await other.admin('scontrol', 'show', 'config')).stdout)?.[0] ?? ''
    const before = content()
    expect(await installSlurm(farm, other, ['--dry-run'])).toMatchObject({ code: 0, stdout: expect.stringContaining('plugstack.conf') as string })
    expect(content()).toEqual(before)
    expect(await installSlurm(farm, other, ['--check'])).toMatchObject({ code: 1 })
    for (const _twice of [1, 2]) expect(await installSlurm(farm, other, [])).toMatchObject({ code: 0 })
    expect(await installSlurm(farm, other, ['--check'])).toMatchObject({ code: 0 })
    expect(await set()).toMatch(/75/)
    expect((await other.user('srun', ['--help'])).stdout).toContain('--vm=TYPE')
    expect(await installSlurm(farm, other, ['--undo'])).toMatchObject({ code: 0 })
    expect(content()).toEqual(before)
    expect(await set()).not.toMatch(/75/)
    expect((await other.user('srun', ['--help'])).stdout).not.toContain('--vm')
    expect(readdirSync(join(other.folder, 'plugins'))).toEqual([])
  })
})

/** The job starter of a job, once it is stopped. */
function stoppedStarter(id: string): { readonly sinceNs: bigint } | null {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`\0SLURM_JOB_ID=${id}\0`) || !readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('starter.cjs')) continue
      return /^State:\tT/m.test(readFileSync(`/proc/${pid}/status`, 'latin1')) ? { sinceNs: process.hrtime.bigint() } : null
    } catch {
      continue // it has ended meanwhile
    }
  }
  return null
}

test('the three commands of docs/slurm.md, as written', async () => {
  await using slurm = await startSlurmAlone()
  await using folder = await tempFolder()
  await run('chmod', ['755', folder.path])
  mkdirSync(join(folder.path, 'bin'))
  symlinkSync(join(root, 'bin/wnod.js'), join(folder.path, 'bin/wnod'))
  const env = { ...slurm.environment, PATH: `${join(folder.path, 'bin')}:${dirname(process.execPath)}:${slurm.environment['PATH']}`, WNOD_HOME: join(folder.path, 'home') } as Record<string, string>
  const page = readFileSync(join(root, 'docs/slurm.md'), 'utf8')
  const [up = '', installing = '', job = '', ...more] = (/^```sh\n([^`]*)```$/m.exec(page)?.[1] ?? '').trim().split('\n')
  expect(more).toEqual([])
  const shell = (line: string) => run('sh', ['-c', line], { env, cwd: '/tmp', timeoutMs: 150_000 })
  try {
    await shell(up)
    await shell(installing)
    const { code, stdout, stderr } = await slurm.user('sh', ['-c', job])
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('wnod') as string })
    expect(stdout).toMatch(/^h1-v\d+/)
    expect(statSync(join(slurm.folder, 'plugins/wnod_spank.so')).mode & 0o777).toBe(0o644)
  } finally {
    await shell('wnod down')
  }
}, 240_000)
