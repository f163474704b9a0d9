/** How Grid Engine calls the starter: recorded calls of 8.1.9, and what it would itself have started. */
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { gridEngine } from '../../hooks/gridengine/front-end.ts'
import type { Call, Reading } from '../../hooks/starter/front-end.ts'
import { beforeFile, buildStarter, openDesk, sessionOf, starterFolder } from './desk.ts'
import { fakeGuest, toldTo } from './fake-agent.ts'

const spool = '/spool/execd/bait0/active_jobs/7.1'
const script = '/spool/execd/bait0/job_scripts/7'
const env = {
  JOB_ID: '7', SGE_TASK_ID: 'undefined', QUEUE: 'bait.q', NSLOTS: '2', JOB_SCRIPT: script, SGE_JOB_SPOOL_DIR: spool,
  SGE_STARTER_SHELL_PATH: '/bin/sh', SGE_STARTER_SHELL_START_MODE: 'unix_behavior',
}

interface Asked {
  readonly args?: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly config?: readonly string[]
  readonly files?: Readonly<Record<string, string>>
}

/** The reading of a script of two lines, called like this. */
function read({ args = [script, 'x', 'a b'], env: more = {}, config = [], files = {} }: Asked): Reading {
  const all: Record<string, string> = { [`${spool}/config`]: [...config, 'handle_as_binary=0', 'no_shell=0', 'shell_path=/bin/sh'].join('\n'), [script]: '#!/bin/sh\necho\n', ...files }
  const call: Call = {
    args: args.map((arg) => Buffer.from(arg)), env: { ...env, ...more }, envBytes: () => expect.unreachable(), userShell: () => '/bin/zsh',
    readFile: (path) => Buffer.from(all[String(path)] ?? expect.unreachable(String(path)), 'latin1'),
  }
  return gridEngine(call)
}

const argvOf = (asked: Asked): string[] => read(asked).argv.map(String)
const binary = ['handle_as_binary=1', 'script_file=/bin/echo', 'njob_args=2']
const mode = (name: string): NodeJS.ProcessEnv => ({ SGE_STARTER_SHELL_START_MODE: name })
const login = { SGE_STARTER_USE_LOGIN_SHELL: 'true' }

/** What runs on the host itself: the program by another name, or the words alone. */
function natively(asked: Asked): string[] {
  const { argv, native = { argv } } = read(asked)
  return [...('file' in native ? [String(native.file)] : []), ...native.argv.map(String)]
}

test.each<[string, Asked, readonly string[]]>([
  ['a script', {}, [script, 'x', 'a b']],
  ['posix_compliant', { env: mode('posix_compliant') }, ['/bin/sh', 'sh', script, 'x', 'a b']],
  ['as a login shell', { env: { ...mode('posix_compliant'), ...login } }, ['/bin/sh', '-sh', script, 'x', 'a b']],
  ['also csh', { env: { ...mode('posix_compliant'), ...login, SGE_STARTER_SHELL_PATH: '/bin/csh' } }, ['/bin/csh', '-csh', script, 'x', 'a b']],
  ['script_from_stdin', { env: mode('script_from_stdin'), args: ['-s', 'x'] }, ['/bin/sh', 'sh', '-s', 'x']],
  ['-b y', { config: binary, args: ['/bin/echo', '$HOME', 'a  b'] }, ['/bin/sh', 'sh', '-c', '/bin/echo $HOME a  b ']],
])('on the host itself, as the shepherd starts it: %s', (_name, asked, argv) => {
  expect(natively(asked)).toEqual(argv)
})

test.each<[string, Asked, readonly string[]]>([
  ['unix_behavior: the script itself', {}, [script, 'x', 'a b']],
  ['a script without a first line goes to sh', { files: { [script]: 'echo\n' } }, ['/bin/sh', script, 'x', 'a b']],
  ['a program does not', { files: { [script]: '\x7fELF\x02' } }, [script, 'x', 'a b']],
  ['posix_compliant: the shell of the queue', { env: mode('posix_compliant') }, ['/bin/sh', script, 'x', 'a b']],
  ['as a login shell', { env: { ...mode('posix_compliant'), ...login } }, ['/bin/sh', '-l', script, 'x', 'a b']],
  ['csh cannot be told to be one', { env: { ...mode('posix_compliant'), ...login, SGE_STARTER_SHELL_PATH: '/bin/csh' } }, ['/bin/csh', script, 'x', 'a b']],
  ['script_from_stdin', { env: mode('script_from_stdin'), args: ['-s', 'x'] }, ['/bin/sh', '-s', 'x']],
  ['-b y: a shell reads the words again', { config: binary, args: ['/bin/echo', '$HOME', 'a  b'] }, ['/bin/sh', '-c', '/bin/echo $HOME a  b ', 'sh']],
  ['-b y in a login shell', { config: binary, args: ['/bin/echo'], env: login }, ['/bin/sh', '-l', '-c', '/bin/echo ', '-sh']],
  ['-b y with the script on stdin', { config: binary, args: ['-s', 'x'], env: mode('script_from_stdin') }, ['/bin/sh', '-c', '/bin/echo x ', 'sh']],
  ['-b y -shell n: the words as they are', { config: [...binary], args: ['/bin/echo', '$HOME', 'a  b'], files: { [`${spool}/config`]: 'handle_as_binary=1\nno_shell=1' } }, ['/bin/echo', '$HOME', 'a  b']],
])('%s', (_name, asked, argv) => {
  expect(argvOf(asked)).toEqual(argv)
})

const qrsh = (parent: string): Asked => ({
  args: ['echo', '$HOME', ';', 'exit', '7'],
  env: { JOB_SCRIPT: 'QRSH', SGE_STARTER_SHELL_PATH: '' },
  files: { '/proc/self/status': 'Name:\tnode\nPPid:\t40\n', '/proc/40/cmdline': parent },
})

test('qrsh: the shell of the user gets the words, joined; with -noshell they are as they are', () => {
  expect(argvOf(qrsh(`qrsh_starter\0${spool}\0`))).toEqual(['/bin/zsh', '-c', 'echo $HOME ; exit 7', 'zsh'])
  expect(argvOf(qrsh(`qrsh_starter\0${spool}\0noshell\0`))).toEqual(['echo', '$HOME', ';', 'exit', '7'])
})

test('only what lies in the spool goes along', () => {
  expect(read({}).script).toEqual({ path: Buffer.from(script), content: Buffer.from('#!/bin/sh\necho\n') })
  for (const asked of [{ config: binary }, { env: mode('script_from_stdin'), args: ['-s'] }, qrsh('')]) expect(read({ ...asked, files: { ...('files' in asked ? asked.files : {}), ...('config' in asked ? { [`${spool}/config`]: 'handle_as_binary=1' } : {}) } }).script ?? null).toBeNull()
})

test('what the mapping and the records hear', () => {
  expect(read({}).known).toMatchObject({ batchSystem: 'gridengine', batchJobId: '7', queue: 'bait.q', project: null, cpus: 2, refusedCode: 99, lostCode: 100 })
  expect(read({ env: { SGE_TASK_ID: '3' } }).known.batchJobId).toBe('7.3')
  expect(read({ config: ['acct_project=lhcb', 'job_arg1=x', 'acct_project=other'] }).known.project).toBe('lhcb')
  expect(read({})).toMatchObject({ deathBySignal: 'raise', drops: expect.arrayContaining(['TMPDIR', 'SGE_JOB_SPOOL_DIR']) as string[] })
})

test('a call that is not from a queue is wrong use', () => {
  expect(() => read({ env: { SGE_JOB_SPOOL_DIR: undefined } })).toThrow('starter_method')
})

beforeAll(buildStarter, 60_000)
afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))

test('called by the shepherd, as a login shell and with nothing of ours in the environment, it finds its settings beside the link', async () => {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const [link, active] = [join(desk.folder, 'wnod-gridengine'), join(desk.folder, 'active')]
  chmodSync(desk.folder, 0o755)
  symlinkSync(beforeFile, link)
  writeFileSync(`${link}.env`, `# a comment\nPATH=/nonexistent\nWNOD_NODE=${process.execPath}\nWNOD_SOCKET=${desk.socket}\nWNOD_PROJECT=of the file`)
  mkdirSync(active)
  writeFileSync(join(active, 'config'), 'handle_as_binary=1\nno_shell=1\n')
  const around = { ...env, PATH: '/usr/bin:/bin', SGE_JOB_SPOOL_DIR: active, TMPDIR: '/tmp/7.1.bait.q', WNOD_PROJECT: 'of the job' }
  const ended = execa('bash', ['-c', 'exec -a -wnod-gridengine "$0" "$@"', link, '/bin/true', 'a  b'], { env: around, extendEnv: false, reject: false, stdin: 'ignore' })
  await (await desk.place(session)).freed
  expect(await ended).toMatchObject({ exitCode: 0, stderr: '' })
  session.close()
  const run = toldTo(guest)
  const text = (bytes: string): string => Buffer.from(bytes, 'base64').toString()
  expect(run.argv.map(text)).toEqual(['/bin/true', 'a  b'])
  expect(run.env.map(text).filter((entry) => /^(WNOD|TMP|SGE|PATH|QUEUE)/.test(entry)).sort()).toEqual(['PATH=/usr/bin:/bin', 'QUEUE=bait.q', 'SGE_TASK_ID=undefined'])
  expect(desk.jobs.ended()[0]?.want ?? desk.jobs.live()[0]?.want).toMatchObject({ batchSystem: 'gridengine', batchJobId: '7', queue: 'bait.q', project: 'of the job' })
}, 60_000)
