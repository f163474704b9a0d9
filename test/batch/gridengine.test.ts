/** Grid Engine: every case of the comparison, and what is its alone: start modes, installing, types, what becomes of jobs that get no VWN. */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseSettings } from '../../cli/install/qconf.ts'
import { until } from '../../kit/until.ts'
import { jobsReplySchema, vwnsReplySchema } from '../../wire/api.ts'
import { startFarm, type Farm } from '../harness/farm.ts'
import { accountOf } from './accounts.ts'
import type { BatchCase } from './case.ts'
import { compared, roomForCases, templateReady } from './compared.ts'
import { startGridEngine, startGridEngineAlone, type GridEngine, type Said, type StartMode } from './gridengine.ts'

const mapping = `
types: { debian12: { image: debian12, memory_mib: 512, scratch_gib: 4 }, other: { image: debian12, memory_mib: 512, scratch_gib: 4 }, huge: { image: debian12, memory_mib: 900000, scratch_gib: 1 } }
default: { type: debian12, allow: [other, huge] }
`
let farm: Farm
let engine: GridEngine

beforeAll(async () => {
  farm = await startFarm({ mapping, ...roomForCases })
  const [started] = await Promise.all([startGridEngine(farm), templateReady(farm)])
  engine = started
}, 300_000)
afterAll(async () => {
  await engine?.[Symbol.asyncDispose]()
  await farm?.[Symbol.asyncDispose]()
}, 120_000)

const sge = (...words: string[]) => ({ gridengine: words })
const words = ['a b', '', '$HOME', '*', "'", '"q"', '\\n', '-l']
const show = 'printf "<%s>" "$@"; echo; [ "$1" = from-stdin ] || echo "$0" $-; cat; shopt -q login_shell && echo login; id -un; pwd; umask; ulimit -c -n'
const script = `#!/bin/bash\n${show}\n`
const inModes: readonly [StartMode, string, BatchCase][] = (['unix', 'posix', 'script'] as const).flatMap((mode) => {
  const each = (name: string, one: Partial<BatchCase>): [StartMode, string, BatchCase] => [mode, name, { group: 'script forms', name, ...one }]
  return [
    each('a script with arguments', { script, args: [mode === 'script' ? 'from-stdin' : 'x', 'a b'] }),
    each('a script without a first line', { script: 'echo "$#"; exit 3\n', args: ['x'] }),
    each('another shell', { script: 'echo ${BASH_VERSION:-none}; echo $-\n', options: sge('-S', '/bin/sh') }),
    each('-b y', { command: ['printf', '<%s>', 'a  b', '"c  d"', '$((1+1))', '|', 'cat', ';', 'echo', '$0'] }),
    ...(mode === 'script' ? [] : [each('-b y without a shell', { command: ['/usr/bin/printf', '<%s>', ...words], options: sge('-shell', 'n') })]), // natively the program itself would be the script
  ]
})

/** In the queue that is ours as in the one that is not; both run side by side, and a job of the same user takes whichever VWN is ready. */
async function isAsNatively(mode: StartMode, one: BatchCase): Promise<void> {
  const [bare, ours] = await Promise.all([engine.runIn(mode, one, 'bare'), engine.runIn(mode, one, 'vwn')])
  expect(ours).toEqual(bare)
}

describe.concurrent('in its three start modes', () => {
  test.each(inModes)('%s: %s', (mode, _name, one) => isAsNatively(mode, one))
})

compared('gridengine', () => engine)

test('a job of an array has its task in our records as well', async () => {
  const job = await engine.submit({ group: 'arrays', name: 'array', script: 'echo $SGE_TASK_ID\n', options: sge('-t', '1-3') }, 'vwn')
  const done = await until(() => (engine.accounts(job.id).length === 3 ? engine.accounts(job.id) : null), { withinMs: 60_000, what: 'three tasks have ended' })
  expect(done.map(({ task, failed, exitStatus }) => `${task} ${failed} ${exitStatus}`).sort()).toEqual(['1 0 0', '2 0 0', '3 0 0'])
  expect((await farm.cli(['jobs', '--json'])).stdout).toContain(`"${job.id}.3"`)
})

test('VWNs are clones of the template that the farm was given', async () => {
  const { vwns } = vwnsReplySchema.parse(JSON.parse((await farm.cli(['vwns', '--json'])).stdout))
  expect(vwns.map(({ madeBy }) => madeBy)).toContain('clone')
})

test('Grid Engine’s accounts and ours say the same of a job: how it ended, and when', async () => {
  const ends = { 'sleep 1; exit 0': { cause: 'exited', exitCode: 0 }, 'exit 3': { cause: 'exited', exitCode: 3 }, 'kill -KILL $$': { cause: 'signalled', signal: 'SIGKILL' } }
  for (const [script, end] of Object.entries(ends)) {
    const job = await engine.submit({ group: 'exit', name: 'accounts', script: `${script}\n` }, 'vwn')
    await job.observed()
    const [theirs] = engine.accounts(job.id)
    const ours = await accountOf(farm, job.id)
    expect(ours).toMatchObject({ ...end, user: 'games', batchSystem: 'gridengine', queue: 'vwn-unix.q', host: 'h1', type: 'debian12' })
    expect(String(ours.exitCode ?? 128 + constants.signals.SIGKILL)).toBe(theirs?.exitStatus)
    // Grid Engine has whole seconds.
    expect(Math.abs(ours.submittedAtMs - (theirs?.startS ?? 0) * 1_000)).toBeLessThan(2_000)
    expect(Math.abs(ours.endedAtMs - (theirs?.endS ?? 0) * 1_000)).toBeLessThan(2_000)
  }
})

const jobsOf = async (batchJob: string) => jobsReplySchema.parse(JSON.parse((await farm.cli(['jobs', '--json'])).stdout)).jobs.filter((job) => job.batchJobId === batchJob)
const wait: BatchCase = { group: 'suspension', name: 'a while', script: 'sleep 1\n' }

test('a job hears of its soft limit', async () => {
  const told: BatchCase = { group: 'time limits', name: 'soft', script: "exec 2>/dev/null; trap 'echo told; exit 4' USR1; echo up; while :; do sleep .1; done\n", options: sge('-l', 's_rt=10') }
  await engine.run(wait, 'vwn') // so that a VWN waits for it
  const [bare, vwn] = await Promise.all([engine.run(told, 'bare'), engine.run(told, 'vwn')])
  expect(bare.stdout).toBe('up\ntold\n')
  expect(vwn).toEqual(bare)
})

test('a suspended job stands still with its VWN, and goes on', async () => {
  const job = await engine.submit({ group: 'suspension', name: 'counts', script: 'i=0; while [ $i -lt 10000 ]; do i=$((i + 1)); echo $i; sleep .05; done\n' }, 'vwn')
  await job.says('10\n')
  await job.suspend()
  await engine.run(wait, 'bare')
  const still = job.output()
  await engine.run(wait, 'bare')
  expect(job.output()).toBe(still)
  expect(await engine.stateOf(job.id)).toBe('s')
  await job.resume()
  await until(() => job.output().length > still.length, { withinMs: 20_000, what: 'it counts on' })
  await job.cancel()
  expect((await job.observed()).record).toEqual({ failed: '100', exit_status: '137' })
  await until(async () => (await jobsOf(job.id)).every(({ endedAtMs }) => endedAtMs !== null), { withinMs: 20_000, what: 'it has ended for us' })
})

test('a job that gets no VWN runs again, one that never will has failed, and both are told why', async () => {
  const again = await engine.submit({ group: 'exit', name: 'no bait', script: 'echo never\n', options: sge('-v', 'WNOD_SOCKET=/nonexistent', '-j', 'y') }, 'vwn')
  await until(() => engine.accounts(again.id).length >= 2, { withinMs: 60_000, what: 'it was tried twice' })
  expect(engine.accounts(again.id)[0]).toMatchObject({ failed: '25', exitStatus: '99' })
  await again.cancel()
  expect(again.output()).toMatch(/^wnod: the job did not run: .*BAIT_UNREACHABLE/)
  const never = await engine.submit({ group: 'exit', name: 'no type', script: 'echo never\n', options: sge('-v', 'WNOD_TYPE=nosuch') }, 'vwn')
  expect(await never.observed()).toMatchObject({ record: { failed: '0', exit_status: '77' }, stdout: '', stderr: expect.stringMatching(/^wnod: the job did not run: .*nosuch/) as string })
})

test('jobs that pend and say their type count for the warm pool, each task for itself', async () => {
  const at = (name: string): string => join(engine.base, name)
  const submit = (...options: readonly string[]) => engine.as(['qsub', '-terse', '-q', 'vwn-unix.q', '-wd', '/tmp', '-o', '/dev/null', '-e', '/dev/null', ...options, '-b', 'y', 'true'])
  expect((await engine.root(['qmod', '-d', 'vwn-unix.q'])).code).toBe(0)
  try {
    const said = [await submit('-l', 'vm=other'), await submit('-l', 'vm=debian12', '-t', '1-5:2', '-v', 'A=1'), await submit('-l', 'vm=other', '-h'), await submit()]
    expect(said.map(({ code }) => code)).toEqual([0, 0, 0, 0])
    expect(await engine.root([at('node'), at('dist/hook.cjs'), 'pending', '--from', 'gridengine', '--dry-run'])).toEqual({ code: 0, stdout: 'debian12=3\nother=1\n', stderr: '' })
    await engine.as(['qdel', ...said.map(({ stdout }) => stdout.trim().split('.', 1)[0] ?? '')])
  } finally {
    await engine.root(['qmod', '-e', 'vwn-unix.q'])
  }
})

test('-l vm=TYPE is the type of the job, in a queue that has VWNs; one that there is not is refused at submit', async () => {
  const said = await engine.as(['qsub', '-terse', '-l', 'vm=other', '-wd', '/tmp', '-o', '/dev/null', '-e', '/dev/null', '-b', 'y', 'true'])
  expect(said).toMatchObject({ code: 0 })
  await until(() => engine.accounts(said.stdout.trim())[0]?.exitStatus === '0', { withinMs: 90_000, what: 'it has ended well' })
  expect(await jobsOf(said.stdout.trim())).toMatchObject([{ type: 'other' }])
  const refused = await engine.as(['qsub', '-l', 'vm=nosuch', '-b', 'y', 'true'])
  expect(refused.code).not.toBe(0)
  expect(refused.stdout + refused.stderr).toContain('there is no VWN type nosuch; there are: debian12 other huge')
})

/** What Grid Engine says that this host has room for. */
const room = async (name: string): Promise<number> => Number(new RegExp(`:${name}=([\\d.]+)`).exec((await engine.root(['qhost', '-h', 'bait0', '-F', name])).stdout)?.[1] ?? Number.NaN)
const quiet = ['-wd', '/tmp', '-o', '/dev/null', '-e', '/dev/null']

test('Grid Engine knows what each type has room for, and sends jobs that ask for it where and when there is some', async () => {
  expect(await engine.install('vwn-unix.q', ['--resources'])).toMatchObject({ code: 0 })
  expect(await engine.install('vwn-unix.q', ['--resources', '--check'])).toMatchObject({ code: 0 })
  await until(async () => (await room('vm_debian12')) > 0 && (await room('vm_huge')) === 0, { withinMs: 60_000, everyMs: 500, what: 'there is room' })
  const said = await engine.as(['qsub', '-terse', '-l', 'vm_other=1', ...quiet, '-b', 'y', 'true'])
  await until(() => engine.accounts(said.stdout.trim())[0]?.exitStatus === '0', { withinMs: 90_000, what: 'it has ended well' })
  expect(await jobsOf(said.stdout.trim())).toMatchObject([{ type: 'other' }])
  await farm.kill('controller')
  await until(async () => (await room('vm_debian12')) === 0, { withinMs: 60_000, everyMs: 500, what: 'there is none without a controller' })
  const later = (await engine.as(['qsub', '-terse', '-l', 'vm_debian12=1', ...quiet, '-b', 'y', 'true'])).stdout.trim()
  await engine.run(wait, 'bare')
  expect(await engine.stateOf(later)).toBe('qw')
  await farm.restart('controller')
  await until(() => engine.accounts(later)[0]?.exitStatus === '0', { withinMs: 90_000, what: 'it has run' })
})

test('a prolog gives back what this host has no VWN for, silently, and lets the starter say what there never is', async () => {
  expect(await engine.install('vwn-unix.q', ['--prolog'])).toMatchObject({ code: 0 })
  expect(await engine.run(wait, 'vwn')).toEqual(await engine.run(wait, 'bare'))
  const back = await engine.submit({ group: 'exit', name: 'no room', script: 'echo never\n', options: sge('-l', 'vm=huge', '-j', 'y') }, 'vwn')
  await until(() => engine.accounts(back.id).length >= 2, { withinMs: 60_000, what: 'it was tried twice' })
  await back.cancel()
  expect(back.output()).toBe('')
  const never = await engine.submit({ group: 'exit', name: 'no type', script: 'echo never\n', options: sge('-v', 'WNOD_TYPE=nosuch', '-v', `NODE_OPTIONS=--require=${engine.base}/nosuch.js`) }, 'vwn')
  expect(await never.observed()).toMatchObject({ record: { failed: '0', exit_status: '77' }, stderr: expect.stringMatching(/^wnod: the job did not run: .*nosuch/) as string })
  expect(await engine.queuesInError()).toEqual([])
})

const ofQueue = async (queue: string): Promise<ReadonlyMap<string, string>> => parseSettings((await engine.root(['qconf', '-sq', queue])).stdout)

test('qdel is gentle where that was installed: TERM, then KILL', async () => {
  expect(await engine.install('vwn-posix.q', ['--grace', '3'])).toMatchObject({ code: 0 })
  const ends = await engine.submit({ group: 'cancellation', name: 'ends', script: "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep .1; done\n" }, 'vwn', 'posix')
  const stays = await engine.submit({ group: 'cancellation', name: 'stays', script: "trap 'echo no' TERM; echo up; while :; do sleep .1; done\n" }, 'vwn', 'posix')
  for (const job of [ends, stays]) {
    await job.says('up')
    await job.cancel()
  }
  expect(await ends.observed()).toMatchObject({ record: { exit_status: '5' }, stdout: 'up\nbye\n' })
  expect(await stays.observed()).toMatchObject({ record: { exit_status: '137' }, stdout: 'up\nno\n' })
})

/** The mapping may change its mind: from now on no job gets a VWN. */
describe('on the host itself', () => {
  beforeAll(async () => {
    writeFileSync(farm.home.mapping, mapping.replace('type: debian12, allow: [', 'bare: true, allow: [debian12, '))
    await until(async () => (await farm.cli(['explain', '--user', 'games', '--group', 'games'])).stdout.includes('bare'), { withinMs: 30_000, everyMs: 200, what: 'the mapping is in force' })
  }, 60_000)

  describe.concurrent('in its three start modes', () => {
    test.each(inModes)('%s: %s', (mode, _name, one) => isAsNatively(mode, one))
  })
  compared('gridengine', () => engine, { where: 'on the host itself' })
})

test('the installation says what is made, is taken back to what was there, and leaves what is somebody else’s', async () => {
  const mine = (settings: ReadonlyMap<string, string>): unknown[] => ['starter_method', 'prolog', 'epilog', 'suspend_method', 'terminate_method', 'complex_values'].map((name) => settings.get(name))
  expect(await engine.install('vwn-script.q', ['--check'])).toMatchObject({ code: 0 })
  expect(await engine.install('vwn-script.q', ['--undo'])).toMatchObject({ code: 0 })
  expect(mine(await ofQueue('vwn-script.q'))).toEqual(['NONE', 'NONE', 'NONE', 'NONE', 'NONE', 'NONE'])
  expect(await engine.install('vwn-unix.q', ['--check'])).toMatchObject({ code: 0 })
  expect(await engine.install('vwn-script.q', ['--check'])).toMatchObject({ code: 1, stderr: expect.stringContaining('INSTALL_INCOMPLETE') as string })
  await engine.root(['qconf', '-rattr', 'queue', 'starter_method', '/site/starter', 'bare-script.q'])
  expect(await engine.install('bare-script.q')).toMatchObject({ code: 1, stderr: expect.stringContaining('/site/starter') as string })
  expect(mine(await ofQueue('bare-script.q'))).toEqual(['/site/starter', 'NONE', 'NONE', 'NONE', 'NONE', 'NONE'])
  expect(await engine.install('bare-script.q', ['--replace'])).toMatchObject({ code: 0 })
  for (const queue of ['bare-script.q', 'vwn-posix.q', 'vwn-unix.q']) expect(await engine.install(queue, ['--undo'])).toMatchObject({ code: 0 })
  expect(mine(await ofQueue('bare-script.q'))).toEqual(['/site/starter', 'NONE', 'NONE', 'NONE', 'NONE', 'NONE'])
  expect(parseSettings((await engine.root(['qconf', '-sconf'])).stdout).get('jsv_url')).toMatch(/^none$/i)
  expect((await engine.root(['qconf', '-sc'])).stdout).not.toMatch(/^vm/m)
  expect(parseSettings((await engine.root(['qconf', '-sconf'])).stdout).get('load_sensor')).toMatch(/^none$/i)
  expect(parseSettings((await engine.root(['qconf', '-se', 'bait0'])).stdout).get('complex_values')).toBe('NONE')
  expect(existsSync(join(engine.base, 'folder'))).toBe(false)
})

test('the three commands of docs/gridengine.md, as written', async () => {
  await using alone = await startGridEngineAlone()
  const wnod = join(alone.base, 'bin/wnod')
  mkdirSync(dirname(wnod))
  writeFileSync(wnod, `#!/bin/sh\nexec ${alone.base}/node ${alone.base}/dist/wnod.js "$@"\n`, { mode: 0o755 })
  const env = { PATH: `${dirname(wnod)}:${process.env['PATH']}`, WNOD_HOME: join(alone.base, 'farm') }
  const [up = '', installing = '', job = '', ...more] = (/^```sh\n([^`]*)```$/m.exec(readFileSync(join(import.meta.dirname, '../../docs/gridengine.md'), 'utf8'))?.[1] ?? '').trim().split('\n')
  expect(more).toEqual([])
  const here = readdirSync('/etc').includes('wnod')
  const shell = (line: string): Promise<Said> => alone.root(['sh', '-c', line], env)
  try {
    expect(await shell(up)).toMatchObject({ code: 0 })
    expect(await shell(installing)).toMatchObject({ code: 0 })
    expect(await alone.as(['sh', '-c', job])).toEqual({ code: 0, stdout: expect.stringMatching(/^h1-v\d+\n$/) as string, stderr: '' })
  } finally {
    await shell(`${installing} --undo`)
    await shell('wnod down')
    if (!here) rmSync('/etc/wnod', { recursive: true, force: true })
  }
}, 240_000)

test('no queue is in error after all that', async () => {
  expect(await engine.queuesInError()).toEqual([])
})
