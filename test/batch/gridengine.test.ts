/** What is Grid Engine's alone: start modes, binaries, qrsh, its ways to end, suspend and repeat a job. Each natively and in a VWN, and compared. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseSettings } from '../../cli/install/qconf.ts'
import { until } from '../../kit/until.ts'
import { jobsReplySchema } from '../../wire/api.ts'
import { startFarm, type Farm } from '../harness/farm.ts'
import type { BatchCase } from './case.ts'
import { startGridEngine, type GridEngine, type StartMode } from './gridengine.ts'

const mapping = `
types: { debian12: { image: debian12, memory_mib: 512, scratch_gib: 1 }, other: { image: debian12, memory_mib: 512, scratch_gib: 1 } }
default: { type: debian12, allow: [other] }
`
let farm: Farm
let engine: GridEngine

beforeAll(async () => {
  farm = await startFarm({ mapping, cpus: 8, memory: 2048, scratch: 16 })
  engine = await startGridEngine(farm)
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
  const tidy = one.tidy ?? ((text: string) => text)
  expect({ ...ours, stdout: tidy(ours.stdout) }).toEqual({ ...bare, stdout: tidy(bare.stdout) })
}

describe.concurrent('in its three start modes', () => {
  test.each(inModes)('%s: %s', (mode, _name, one) => isAsNatively(mode, one))
})

const cases: readonly BatchCase[] = [
  ...[0, 1, 5, 126, 127, 137, 255].map((code): BatchCase => ({ group: 'exit', name: `exit ${code}`, script: `exit ${code}\n` })),
  ...['TERM', 'KILL', 'SEGV', 'USR1', 'XCPU', 'INT'].map((signal): BatchCase => ({ group: 'signals', name: `death by ${signal}`, script: `ulimit -c 0; kill -${signal} $$\n` })),
  { group: 'streams', name: 'stderr joined to stdout', script: 'echo a; echo b >&2; echo c\n', options: sge('-j', 'y') },
  { group: 'streams', name: 'stdin from a file', script: 'cat; echo end\n', options: sge('-i', '/etc/debian_version') },
  { group: 'environment', name: 'every variable but those of the node', script: 'env | sort\n', options: sge('-v', 'MINE=a b,OTHER=c'), tidy: (text) => text.replaceAll(/^(JOB_ID|SGE_STDOUT_PATH|SGE_STDERR_PATH|JOB_SCRIPT|PATH)=.*$/gm, '$1=…').replaceAll(/^(TMPDIR|TMP|SGE_JOB_SPOOL_DIR)=.*\n/gm, '') },
  { group: 'limits', name: 'limits of the queue', script: 'ulimit -Sf; ulimit -Hs; ulimit -St\n', options: sge('-l', 's_fsize=1M,h_stack=64M,s_cpu=60') },
  { group: 'cancellation', name: 'qdel', script: 'echo up; sleep 60; echo late\n', during: async (job) => { await job.says('up'); await job.cancel() } },
  { group: 'cancellation', name: 'qdel of one that ignores TERM', script: "trap '' TERM; echo up; while :; do sleep 1; done\n", during: async (job) => { await job.says('up'); await job.cancel() } },
  { group: 'cancellation', name: 'qdel with -notify', script: "exec 2>/dev/null; trap 'trap \"\" USR2; echo told' USR2; echo up; while :; do sleep .1; done\n", options: sge('-notify'), during: async (job) => { await job.says('up'); await job.cancel() } },
  { group: 'time limits', name: 'h_rt', script: 'echo up; sleep 60\n', options: sge('-l', 'h_rt=10') },
  { group: 'time limits', name: 's_rt', script: "exec 2>/dev/null; trap 'echo told; exit 4' USR1; echo up; while :; do sleep .1; done\n", options: sge('-l', 's_rt=10') },
  { group: 'requeue', name: 'exit 99', script: 'echo $RESTARTED; [ $RESTARTED = 1 ] || exit 99\n' },
  { group: 'requeue', name: 'by the administrator', script: 'echo $RESTARTED; [ $RESTARTED = 1 ] || sleep 60\n', options: sge('-r', 'y'), during: async (job) => { await job.says('0'); await job.requeue() } },
  { group: 'interactive', name: 'qrsh', command: ['echo', 'a  b', '"c  d"', '$0', ';', 'exit', '7'] },
  { group: 'interactive', name: 'qrsh with stdin', command: ['cat'], stdin: 'one\ntwo\n' },
  { group: 'interactive', name: 'qrsh without a shell', command: ['/usr/bin/printf', '<%s>', 'a b', '$HOME'], options: sge('-noshell') },
]

const named = cases.map((one) => [`${one.group}: ${one.name}`, one] as const)

describe.concurrent('as natively', () => {
  test.each(named)('%s', (_name, one) => isAsNatively('unix', one))
})

test('a job of an array has its task in our records as well', async () => {
  const job = await engine.submit({ group: 'arrays', name: 'array', script: 'echo $SGE_TASK_ID\n', options: sge('-t', '1-3') }, 'vwn')
  const done = await until(() => (engine.accounts(job.id).length === 3 ? engine.accounts(job.id) : null), { withinMs: 60_000, what: 'three tasks have ended' })
  expect(done.map(({ task, failed, exitStatus }) => `${task} ${failed} ${exitStatus}`).sort()).toEqual(['1 0 0', '2 0 0', '3 0 0'])
  expect((await farm.cli(['jobs', '--json'])).stdout).toContain(`"${job.id}.3"`)
})

const jobsOf = async (batchJob: string) => jobsReplySchema.parse(JSON.parse((await farm.cli(['jobs', '--json'])).stdout)).jobs.filter((job) => job.batchJobId === batchJob)
const wait: BatchCase = { group: 'suspension', name: 'a while', script: 'sleep 1\n' }

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
  const at = (name: string): string => join(engine.home, '..', name)
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
  expect(refused.stdout + refused.stderr).toContain('there is no VWN type nosuch; there are: debian12 other')
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

test('the installation says what is made, is taken back to what was there, and leaves what is somebody else’s', async () => {
  const mine = (settings: ReadonlyMap<string, string>): unknown[] => ['starter_method', 'epilog', 'suspend_method', 'terminate_method', 'complex_values'].map((name) => settings.get(name))
  expect(await engine.install('vwn-script.q', ['--check'])).toMatchObject({ code: 0 })
  expect(await engine.install('vwn-script.q', ['--undo'])).toMatchObject({ code: 0 })
  expect(mine(await ofQueue('vwn-script.q'))).toEqual(['NONE', 'NONE', 'NONE', 'NONE', 'NONE'])
  expect(await engine.install('vwn-unix.q', ['--check'])).toMatchObject({ code: 0 })
  expect(await engine.install('vwn-script.q', ['--check'])).toMatchObject({ code: 1, stderr: expect.stringContaining('INSTALL_INCOMPLETE') as string })
  await engine.root(['qconf', '-rattr', 'queue', 'starter_method', '/site/starter', 'bare-script.q'])
  expect(await engine.install('bare-script.q')).toMatchObject({ code: 1, stderr: expect.stringContaining('/site/starter') as string })
  expect(mine(await ofQueue('bare-script.q'))).toEqual(['/site/starter', 'NONE', 'NONE', 'NONE', 'NONE'])
  expect(await engine.install('bare-script.q', ['--replace'])).toMatchObject({ code: 0 })
  for (const queue of ['bare-script.q', 'vwn-posix.q', 'vwn-unix.q']) expect(await engine.install(queue, ['--undo'])).toMatchObject({ code: 0 })
  expect(mine(await ofQueue('bare-script.q'))).toEqual(['/site/starter', 'NONE', 'NONE', 'NONE', 'NONE'])
  expect(parseSettings((await engine.root(['qconf', '-sconf'])).stdout).get('jsv_url')).toMatch(/^none$/i)
  expect((await engine.root(['qconf', '-sc'])).stdout).not.toMatch(/^vm /m)
})

test('no queue is in error after all that', async () => {
  expect(await engine.queuesInError()).toEqual([])
})

/** The mapping may change its mind: from now on no job gets a VWN. */
describe('on the host itself', () => {
  beforeAll(async () => {
    writeFileSync(farm.home.mapping, 'types: { debian12: { image: debian12 } }\ndefault: { bare: true, allow: [debian12] }\n')
    await until(async () => (await farm.cli(['explain', '--user', 'games', '--group', 'games'])).stdout.includes('bare'), { withinMs: 30_000, everyMs: 200, what: 'the mapping is in force' })
  }, 60_000)

  describe.concurrent('as natively', () => {
    test.each(inModes)('%s: %s', (mode, _name, one) => isAsNatively(mode, one))
    test.each(named)('%s', (_name, one) => isAsNatively('unix', one))
  })
})
