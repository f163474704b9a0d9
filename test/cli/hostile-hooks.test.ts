/**
 * What a job's owner writes (names, types, comments, values of his environment) is given to our scripts by every batch system, and some of them are run by root:
 * it stays a word, and none of it is executed. Jobs of that kind on real batch systems are in test/batch.
 */
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { execa } from 'execa'
import { expect, test } from 'vitest'
import { distFolder } from '../../kit/dist.ts'
import { playHook } from '../batch/played-pbs/play.ts'
import { tempFolder } from '../harness/temp.ts'

const hooks = join(import.meta.dirname, '../../hooks')
const hostile = (hit: string): readonly string[] => [
  `$(touch ${hit})`, `\`touch ${hit}\``, `'; touch ${hit}; '`, `"; touch ${hit}; "`, `x\ntouch ${hit}\n`, `| touch ${hit} |`, `%s%n%USRCMD%(touch ${hit})`, `* ? [a] ~ {a,b} \\n \\$(touch ${hit})`, '-e', '--help', '',
]

/** A folder whose files are all that these scripts may make, and a program in it that notes its words and answers this code. */
async function room(code = 0) {
  const folder = await tempFolder()
  const at = (...names: string[]): string => join(folder.path, ...names)
  writeFileSync(at('noting'), `#!/bin/sh\nprintf '[%s]' "$@" >>'${at('words')}'\nexit ${code}\n`)
  chmodSync(at('noting'), 0o755)
  return {
    at,
    hit: at('hit'),
    words: () => (existsSync(at('words')) ? readFileSync(at('words'), 'utf8') : ''),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
}
type Room = Awaited<ReturnType<typeof room>>

/** As `wnod install gridengine` links them, with the settings of this host. */
function gridEngineScripts({ at }: Room): void {
  mkdirSync(at('folder'))
  for (const name of ['prolog.sh', 'epilog.sh', 'terminate.sh', 'settings.sh']) symlinkSync(join(hooks, 'gridengine', name), at('folder', name))
  writeFileSync(at('folder/wnod-gridengine.env'), `WNOD_NODE=${at('noting')}\nWNOD_HOOK=hook.cjs\nWNOD_HOME=/home of the farm\n`)
  mkdirSync(at('spool'))
  writeFileSync(at('spool/config'), 'acct_project=none\n')
}

/** By its own first line, or as where /bin/sh is bash. */
function called(file: string, args: readonly string[], env: Readonly<Record<string, string>>, shell: 'sh' | 'bash') {
  const [, options = ''] = /^#!\/bin\/sh(.*)/.exec(readFileSync(file, 'utf8')) ?? []
  const all = { env, extendEnv: false, reject: false, stdin: 'ignore' } as const
  return shell === 'sh' ? execa(file, args, all) : execa('/bin/bash', ['--posix', ...options.trim().split(' ').filter((word) => word !== ''), file, ...args], all)
}

test.each(['sh', 'bash'] as const)('Grid Engine: what root runs beside a job obeys no word of its environment (%s)', async (shell) => {
  await using here = await room(99)
  gridEngineScripts(here)
  mkdirSync(here.at('theirs'))
  for (const name of ['sed', 'head', 'env', 'node', 'tr']) {
    writeFileSync(here.at('theirs', name), `#!/bin/sh\ntouch ${here.hit}\n`)
    chmodSync(here.at('theirs', name), 0o755)
  }
  const functions = Object.fromEntries(['read', 'hook', 'sed', 'head', 'env', 'exec', '[', 'printf'].map((name) => [`BASH_FUNC_${name}%%`, `() { /usr/bin/touch ${here.hit}; }`]))
  writeFileSync(here.at('rc'), `/usr/bin/touch ${here.hit}\n`)
  for (const text of hostile(here.hit)) {
    const env = {
      ...functions, PATH: here.at('theirs'), ENV: here.at('rc'), BASH_ENV: here.at('rc'), IFS: 'o', SHELLOPTS: 'xtrace', PS4: `$(/usr/bin/touch ${here.hit})`, NODE_OPTIONS: `--require=${here.at('rc')}`, WNOD_HOME: '/theirs', WNOD_NODE: here.at('theirs/node'), WNOD_HOOK: here.at('rc'),
      JOB_ID: '7', SGE_TASK_ID: '3', JOB_NAME: text, REQUEST: text, WNOD_TYPE: text, SGE_JOB_SPOOL_DIR: here.at('spool'),
    }
    expect(await called(here.at('folder/prolog.sh'), ['ada', text], env, shell)).toMatchObject({ exitCode: 99, stdout: '', stderr: '' })
    expect(await called(here.at('folder/epilog.sh'), [], env, shell)).toMatchObject({ exitCode: 0, stdout: '', stderr: '' })
    const type = text === '' ? '' : `[--type][${text}]`
    expect(here.words().endsWith(`[hook.cjs][lease][--user][ada][--queue][${text}]${type}[--refused-code][99][--denied-code][0][hook.cjs][release][7.3]`)).toBe(true)
  }
  expect(existsSync(here.hit)).toBe(false)
}, 60_000)

test('Grid Engine: terminate.sh takes whole numbers alone', async () => {
  await using here = await room()
  gridEngineScripts(here)
  for (const text of hostile(here.hit)) await called(here.at('folder/terminate.sh'), [text, '1'], { JOB_ID: text, TMPDIR: here.at() }, 'sh')
  expect([here.words(), existsSync(here.hit), readdirSync(here.at()).filter((name) => name.startsWith('.wnod'))]).toEqual(['', false, []])
}, 60_000)

test('Grid Engine: the verifier answers a line for each job, whatever its parameters say', async () => {
  await using here = await room()
  gridEngineScripts(here)
  symlinkSync(join(hooks, 'gridengine/jsv.sh'), here.at('folder/jsv.sh'))
  writeFileSync(here.at('folder/wnod-gridengine.env'), 'WNOD_TYPES=el9\n')
  const texts = hostile(here.hit).filter((text) => !text.includes('\n') && text !== '') // qmaster ends a value at its line
  const input = [...texts.flatMap((text) => ['START', `PARAM N ${text}`, `PARAM CMDNAME ${text}`, `PARAM l_hard vm=el9,h_rt=${text}`, 'BEGIN']), 'QUIT', ''].join('\n')
  const { stdout, stderr } = await execa(here.at('folder/jsv.sh'), { input, cwd: here.at() })
  expect([stderr, stdout.match(/RESULT STATE CORRECT/g)?.length, existsSync(here.hit)]).toEqual(['', texts.length, false])
})

test('LSF: the control of a job has its id as one word', async () => {
  await using here = await room()
  const control = here.at('control')
  writeFileSync(control, readFileSync(join(hooks, 'lsf/wnod-lsf-control'), 'utf8').replaceAll('@WNOD@', here.at('noting')))
  chmodSync(control, 0o755)
  for (const text of hostile(here.hit)) {
    const env = { PATH: process.env['PATH'] ?? '', LSB_JOBID: text, LSB_JOBINDEX: text, LSB_JOBNAME: text, LSB_JOBPGIDS: '', LSB_JOBPIDS: '' }
    expect(await execa(control, ['suspend'], { env, extendEnv: false })).toMatchObject({ exitCode: 0, stdout: '', stderr: '' })
    expect(here.words().endsWith(`[--batch-job-id][${text}[${text}]]`) || text === '').toBe(true)
  }
  expect(existsSync(here.hit)).toBe(false)
}, 60_000)

test('OpenPBS: the hook hands words on, and reads none of them', async () => {
  await using here = await room()
  const text = hostile(here.hit).join('')
  const made = playHook({ event: 'EXECJOB_LAUNCH', job: text, resources: { vm: text }, progname: '/bin/bash', argv: ['/bin/bash', text], env: { PBS_JOBNAME: text } }, { starter: '/wnod-pbs' })
  expect(made).toMatchObject({ is: 'accepted', argv: ['/wnod-pbs', '/bin/bash', text], env: { PBS_JOBNAME: text, WNOD_TYPE: text } })
  playHook({ event: 'EXECJOB_END', job: text, resources: { vm: text } }, { starter: '/wnod-pbs', wnod: here.at('noting') })
  expect(here.words()).toBe(`[hook][release][--batch-system][pbs][--batch-job-id][${text}]`)
  expect(existsSync(here.hit)).toBe(false)
}, 60_000)

test('HTCondor: the wrapper executes the words that it was given', async () => {
  await using here = await room(3)
  const wrapper = here.at('wnod-wrapper')
  symlinkSync(join(distFolder(), 'wnod-wrapper'), wrapper)
  symlinkSync(here.at('noting'), here.at('wnod-htcondor'))
  for (const text of hostile(here.hit)) {
    for (const asks of [`VM = ${JSON.stringify(text)}`, '']) {
      writeFileSync(here.at('ad'), `Cmd = ${JSON.stringify(text)}\nArgs = ${JSON.stringify(text)}\n${asks}\n`)
      expect(await execa(wrapper, [here.at('noting'), text], { env: { PATH: process.env['PATH'] ?? '', _CONDOR_JOB_AD: here.at('ad') }, extendEnv: false, reject: false })).toMatchObject({ exitCode: 3, stdout: '', stderr: '' })
      expect(here.words().endsWith(asks === '' ? `[${text}]` : `[${here.at('noting')}][${text}]`)).toBe(true)
    }
  }
  expect(existsSync(here.hit)).toBe(false)
}, 60_000)

test('HTCondor: a job hook takes the reason for one of its own, and the ad for data', async () => {
  await using here = await room()
  const hook = here.at('job-hook')
  writeFileSync(hook, readFileSync(join(hooks, 'htcondor/wnod-job-hook'), 'utf8').replace('@WNOD@', here.at('noting')).replace('@ALL@', ''))
  chmodSync(hook, 0o755)
  for (const text of hostile(here.hit)) expect(await execa(hook, [text], { input: `VM = ${text}\n`, env: { PATH: process.env['PATH'] ?? '' }, extendEnv: false })).toMatchObject({ exitCode: 0, stdout: '', stderr: '' })
  expect([here.words().replaceAll('[hook][htcondor][prepare]', ''), existsSync(here.hit)]).toEqual(['', false])
}, 60_000)

test('every script of ours that a batch system calls is looked at here', () => {
  const scripts = readdirSync(hooks, { recursive: true, encoding: 'utf8' }).filter((name) => /^(gridengine|slurm|lsf|pbs|htcondor)\/.*(?<!\.ts)$/.test(name)).map((name) => basename(name)).sort()
  const elsewhere = ['elim.wnod', 'load-sensor.sh', 'wnod-resources'] // are given nothing of a job
  const tested = ['esub.wnod', 'job_submit.lua', 'wnod_spank.c'] // test/cli/install-others.test.ts and test/batch/slurm*.test.ts
  expect(scripts).toEqual([...elsewhere, ...tested, 'epilog.sh', 'jsv.sh', 'prolog.sh', 'settings.sh', 'terminate.sh', 'wnod-job-hook', 'wnod-lsf-control', 'wnod_hook.py', 'wrapper.c'].sort())
})
