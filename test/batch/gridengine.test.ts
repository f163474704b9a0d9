/** What is Grid Engine's alone: start modes, binaries, qrsh, its ways to end, suspend and repeat a job. Each natively and in a VWN, and compared. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
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
/** Numbers of jobs, and the spool that every job has its script in. */
const tidy = (text: string): string => text.replaceAll(/job_scripts\/\d+/g, 'job_scripts/N')

const inModes: readonly [StartMode, string, BatchCase][] = (['unix', 'posix', 'script'] as const).flatMap((mode) => {
  const each = (name: string, one: Partial<BatchCase>): [StartMode, string, BatchCase] => [mode, name, { group: 'script forms', name, tidy, ...one }]
  return [
    each('a script with arguments', { script, args: ['x', 'a b'] }),
    each('a script without a first line', { script: 'echo "$0" "$#"; exit 3\n', args: ['x'] }),
    each('another shell', { script: 'echo $BASH_VERSION; echo "$0"\n', options: sge('-S', '/bin/sh') }),
    each('-b y', { command: ['printf', '<%s>', 'a  b', '"c  d"', '$((1+1))', '|', 'cat', ';', 'echo', '$0'] }),
    each('-b y without a shell', { command: ['/usr/bin/printf', '<%s>', ...words], options: sge('-shell', 'n') }),
  ]
})

/** The lanes run side by side; a job of the same user takes whichever VWN is ready. */
describe.concurrent('in its three start modes', () => {
  test.each(inModes)('%s: %s', async (mode, _name, one) => {
    const [bare, vwn] = await Promise.all([engine.runIn(mode, one, 'bare'), engine.runIn(mode, one, 'vwn')])
    expect(vwn).toEqual(bare)
  })
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
  { group: 'cancellation', name: 'qdel with -notify', script: "trap 'echo told' USR2; echo up; while :; do sleep .1; done\n", options: sge('-notify'), during: async (job) => { await job.says('up'); await job.cancel() } },
  { group: 'time limits', name: 'h_rt', script: 'echo up; sleep 60\n', options: sge('-l', 'h_rt=2') },
  { group: 'time limits', name: 's_rt', script: "trap 'echo told; exit 4' USR1; echo up; while :; do sleep .1; done\n", options: sge('-l', 's_rt=2') },
  { group: 'interactive', name: 'qrsh', command: ['echo', 'a  b', '"c  d"', '$0', ';', 'exit', '7'] },
  { group: 'interactive', name: 'qrsh with stdin', command: ['cat'], stdin: 'one\ntwo\n' },
  { group: 'interactive', name: 'qrsh without a shell', command: ['/usr/bin/printf', '<%s>', 'a b', '$HOME'], options: sge('-noshell') },
]

describe.concurrent('as natively', () => {
  test.each(cases.map((one) => [`${one.group}: ${one.name}`, one] as const))('%s', async (_name, one) => {
    const [bare, vwn] = await Promise.all([engine.run(one, 'bare'), engine.run(one, 'vwn')])
    expect(vwn).toEqual(bare)
  })
})

test('a job of an array has its task in our records as well', async () => {
  const job = await engine.submit({ group: 'arrays', name: 'array', script: 'echo $SGE_TASK_ID\n', options: sge('-t', '1-3') }, 'vwn')
  const done = await until(() => (engine.accounts(job.id).length === 3 ? engine.accounts(job.id) : null), { withinMs: 60_000, what: 'three tasks have ended' })
  expect(done.map(({ task, failed, exitStatus }) => `${task} ${failed} ${exitStatus}`).sort()).toEqual(['1 0 0', '2 0 0', '3 0 0'])
  expect((await farm.cli(['jobs', '--json'])).stdout).toContain(`"${job.id}.3"`)
})

test('no queue is in error after all that', async () => {
  expect(await engine.queuesInError()).toEqual([])
})
