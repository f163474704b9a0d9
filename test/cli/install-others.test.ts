/** What `wnod install lsf|pbs|htcondor` makes of the files of a batch system, and that it takes all of it back. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import type { Context } from '../../cli/context.ts'
import { installHtcondor } from '../../cli/install/htcondor.ts'
import { installLsf, queueLine } from '../../cli/install/lsf.ts'
import { installPbs } from '../../cli/install/pbs.ts'
import { plainWord } from '../../cli/install/sources.ts'
import { roll } from '../../cli/table.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from '../harness/temp.ts'

vi.setConfig({ testTimeout: 30_000 })

const context = { json: false, ...roll, print: () => undefined, home: { home: '/var/lib/wnod' } } as unknown as Context
const queues = `# queues of the site
Begin Queue
QUEUE_NAME   = normal
End Queue

Begin Queue
QUEUE_NAME   = bait    # for VWNs
PRIORITY     = 30
End Queue
`

async function site() {
  const folder = await tempFolder()
  const at = (...names: string[]): string => join(folder.path, ...names)
  for (const name of ['serverdir', 'config.d', 'mom_priv']) mkdirSync(at(name))
  writeFileSync(at('lsb.queues'), queues)
  writeFileSync(at('mom_priv/config'), '$pbsserver head\n')
  const read = (...names: string[]): string => readFileSync(at(...names), 'utf8')
  return { at, read, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

test('LSF: one line in the queue alone, esub and elim; twice is once, and undone is as before', async () => {
  await using here = await site()
  const options = { queue: 'bait', queues: here.at('lsb.queues'), serverDir: here.at('serverdir'), types: 'el9,debian12', scripts: here.at('scripts') }
  await expect(installLsf(context, { ...options, check: true })).rejects.toMatchObject({ code: 'INSTALL_INCOMPLETE' })
  for (const _twice of [1, 2]) await installLsf(context, options)
  await installLsf(context, { ...options, check: true })
  const line = `JOB_STARTER = exec ${here.at('scripts/wnod-lsf')}; %USRCMD`
  expect(here.read('lsb.queues')).toBe(queues.replace('PRIORITY     = 30\n', `PRIORITY     = 30\n${line}\n`))
  expect(here.read('serverdir/esub.wnod')).toContain("TYPES='el9 debian12'")
  expect(here.read('serverdir/elim.wnod')).toContain(`exec ${here.at('scripts/wnod')} hook resources --format elim`)
  expect(spawnSync(here.at('scripts/wnod'), ['--version'], { encoding: 'utf8', env: {} })).toMatchObject({ status: 0 })
  expect(here.read('scripts/wnod-lsf')).toMatch(/\nexport WNOD_HOME=\/var\/lib\/wnod WNOD_NODE=\/\S+ WNOD_UNREACHABLE=requeue\nexec \/\S+\/wnod-starter --lsf "\$@"\n$/)
  await installLsf(context, { ...options, undo: true })
  expect(here.read('lsb.queues')).toBe(queues)
  expect(readdirSync(here.at()).sort()).toEqual(['config.d', 'lsb.queues', 'mom_priv'])
})

test.each([
  ['no such queue', queues, 'other', 'no queue of the name other'],
  ['a job starter of somebody else', queues.replace('PRIORITY     = 30', 'job_starter = /bin/csh -c'), 'bait', '/bin/csh -c'],
  ['a section without end', queues.replace(/End Queue\n$/, ''), 'bait', 'no queue'],
])('LSF: %s is refused, and nothing is changed', async (_what, text, queue, why) => {
  await using here = await site()
  writeFileSync(here.at('lsb.queues'), text)
  await expect(installLsf(context, { queue, queues: here.at('lsb.queues'), scripts: here.at('scripts') })).rejects.toThrow(why)
  expect([here.read('lsb.queues'), existsSync(here.at('scripts'))]).toEqual([text, false])
})

test('LSF: the queue of another name keeps its own job starter', async () => {
  await using here = await site()
  writeFileSync(here.at('lsb.queues'), queues.replace('= normal', '= normal\nJOB_STARTER = /bin/csh -c'))
  await queueLine(here.at('lsb.queues'), 'bait', 'JOB_STARTER = x; %USRCMD').make()
  expect(here.read('lsb.queues').match(/^JOB_STARTER.*$/gm)).toEqual(['JOB_STARTER = /bin/csh -c', 'JOB_STARTER = x; %USRCMD'])
})

test('Torque: one line of its mom', async () => {
  await using here = await site()
  const options = { momConfig: here.at('mom_priv/config'), scripts: here.at('scripts') }
  for (const _twice of [1, 2]) await installPbs(context, options)
  expect(here.read('mom_priv/config')).toBe(`$pbsserver head\n$job_starter ${here.at('scripts/wnod-torque')}\n`)
  expect(here.read('scripts/wnod-torque.env')).toMatch(/\nWNOD_HOME=\/var\/lib\/wnod\nWNOD_NODE=\/\S+\nWNOD_UNREACHABLE=requeue\n$/)
  expect(spawnSync(here.at('scripts/wnod-torque'), ['true'], { encoding: 'utf8', env: { WNOD_SOCKET: here.at('no.sock') } })).toMatchObject({ status: 75, stdout: '', stderr: expect.stringContaining('(BAIT_UNREACHABLE)') as string })
  await installPbs(context, { ...options, undo: true })
  expect([here.read('mom_priv/config'), existsSync(here.at('scripts'))]).toEqual(['$pbsserver head\n', false])
})

test('OpenPBS: the hook, and settings that it can read', async () => {
  await using here = await site()
  await installPbs(context, { types: 'el9', scripts: here.at('scripts') })
  expect(JSON.parse(here.read('scripts/wnod.json'))).toMatchObject({ starter: here.at('scripts/wnod-pbs'), wnod: here.at('scripts/wnod'), types: ['el9'], default: false })
  expect(spawnSync('python3', ['-B', '-m', 'ast', here.at('scripts/wnod_hook.py')], { stdio: 'ignore' })).toMatchObject({ status: 0 })
  await installPbs(context, { types: 'el9', scripts: here.at('scripts'), undo: true })
  expect(existsSync(here.at('scripts'))).toBe(false)
})

test('HTCondor: a file of its own, and a wrapper that leaves other jobs alone', async () => {
  await using here = await site()
  writeFileSync(here.at('config.d/00-site.conf'), '')
  const options = { configDir: here.at('config.d'), scripts: here.at('scripts') }
  await installHtcondor(context, options)
  expect(here.read('config.d/50-wnod.conf')).toContain(`USER_JOB_WRAPPER = ${here.at('scripts/wnod-wrapper')}\n`)
  writeFileSync(here.at('job.ad'), 'Cmd = "x"\nArgs = "VM = 1"\n')
  const names = { PATH: process.env['PATH'], _CONDOR_JOB_AD: here.at('job.ad'), 'a.b': 'c', 'BASH_FUNC_x%%': '() { :; }' }
  const run = (...words: readonly string[]) => spawnSync(here.at('scripts/wnod-wrapper'), words, { encoding: 'utf8', env: { ...names, _CONDOR_WRAPPER_ERROR_FILE: here.at('failed'), WNOD_SOCKET: here.at('no.sock') } })
  expect(run('printf', '[%s]', 'a b', '')).toMatchObject({ status: 0, stdout: '[a b][]' })
  const environ = run('cat', '/proc/self/environ').stdout.split('\0').filter((entry) => entry !== '' && !entry.startsWith('WNOD_'))
  expect(environ.sort()).toEqual(Object.entries(names).map((entry) => entry.join('=')).sort())
  expect(run('/no/such/job')).toMatchObject({ status: 1, stdout: '' })
  expect(here.read('failed')).toMatch(/^wnod: \/no\/such\/job could not be executed: /)
  writeFileSync(here.at('job.ad'), 'vm="el9"\n')
  expect(run('printf', 'never')).toMatchObject({ status: 75, stdout: '' })
  expect(here.read('failed')).toMatch(/^wnod: the job did not run: .*\(BAIT_UNREACHABLE\)/)
  await installHtcondor(context, { ...options, all: true })
  expect(here.read('config.d/50-wnod.conf')).toContain(`USER_JOB_WRAPPER = ${here.at('scripts/wnod-htcondor')}\n`)
  await installHtcondor(context, { ...options, undo: true })
  expect([readdirSync(here.at('config.d')), existsSync(here.at('scripts'))]).toEqual([['00-site.conf'], false])
})

test('HTCondor: job hooks are ours where a job names no others, say nothing and never fail', async () => {
  await using here = await site()
  const options = { configDir: here.at('config.d'), scripts: here.at('scripts') }
  writeFileSync(here.at('config.d/00-site.conf'), '')
  const hook = here.at('scripts/wnod-job-hook')
  await installHtcondor(context, { ...options, all: true, jobHooks: true })
  expect(here.read('config.d/50-wnod.conf')).toContain(`\nSTARTER_DEFAULT_JOB_HOOK_KEYWORD = WNOD\nWNOD_HOOK_PREPARE_JOB = ${hook}\nWNOD_HOOK_JOB_EXIT = ${hook}\n`)
  const ad = 'ClusterId = 7\nProcId = 0\n'
  for (const args of [[], ['exit'], ['evict']]) expect(spawnSync(hook, args, { input: ad, encoding: 'utf8', env: {} })).toMatchObject({ status: 0, stdout: '', stderr: '' })
  writeFileSync(here.at('scripts/wnod'), `#!/bin/sh\nprintf '[%s]' "$@" >>'${here.at('calls')}'\nread -r line; echo "$line"\nexit 70\n`)
  for (const args of [[], ['site'], ['exit'], ['remove'], ['hold'], ['evict']]) expect(spawnSync(hook, args, { input: ad, encoding: 'utf8' })).toMatchObject({ status: 0, stdout: 'ClusterId = 7\n' })
  const called = (what: string): string => `[hook][htcondor][${what}][--all]`
  expect(here.read('calls')).toBe(['prepare', 'prepare', 'exit', 'exit', 'exit', 'exit'].map(called).join(''))
  writeFileSync(here.at('scripts/wnod'), '#!/bin/sh\n# made by `wnod install`\n')
  await installHtcondor(context, { ...options, undo: true })
  expect([readdirSync(here.at('config.d')), existsSync(here.at('scripts'))]).toEqual([['00-site.conf'], false])
})

test.each(['a b', "it's", '$(id)', 'x;y', '', 'a\nb'])('the word %j goes into no shell script', (word) => {
  expect(() => plainWord(word)).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
})

/** JOB_CONTROLS as LSF runs them, on a group of real processes and with a `wnod` that notes its words and answers `code`. */
async function controlled(action: string, code: number, wanted: string, env: NodeJS.ProcessEnv = {}) {
  await using here = await site()
  await installLsf(context, { scripts: here.at('scripts') })
  writeFileSync(here.at('scripts/wnod'), `#!/bin/sh\nprintf '[%s]' "$@" >>'${here.at('calls')}'\nexit ${code}\n`)
  const job = spawn('sh', ['-c', 'sleep 600 & wait'], { detached: true, stdio: 'ignore' })
  const group = String(job.pid ?? expect.unreachable())
  const state = (): string => readFileSync(`/proc/${group}/stat`, 'latin1').replace(/.*\) /, '').slice(0, 1).replace(/[RS]/, 'runs')
  try {
    const { status } = spawnSync(here.at('scripts/wnod-lsf-control'), [action], { stdio: 'ignore', env: { PATH: process.env['PATH'], LSB_JOBID: '7', LSB_JOBINDEX: '0', LSB_JOBPGIDS: group, ...env } })
    await until(() => state() === wanted, { withinMs: 10_000, what: `the job's state is ${wanted}` }) // a signal takes effect when its process runs next
    return { status, calls: here.read('calls') }
  } finally {
    process.kill(-Number(group), 'SIGCONT')
    process.kill(-Number(group), 'SIGKILL')
  }
}

test('JOB_CONTROLS of LSF: the bait is told, and the processes are stopped and continued', async () => {
  expect(await controlled('suspend', 0, 'T')).toEqual({ status: 0, calls: '[hook][control][suspend][--batch-system][lsf][--batch-job-id][7]' })
  expect(await controlled('resume', 0, 'runs', { LSB_JOBINDEX: '3' })).toEqual({ status: 0, calls: '[hook][control][resume][--batch-system][lsf][--batch-job-id][7[3]]' })
  expect(await controlled('suspend', 75, 'T')).toMatchObject({ status: 0 })
})

test('JOB_CONTROLS of LSF: a job on the host itself is told to end by signals alone', async () => {
  await using here = await site()
  await installLsf(context, { scripts: here.at('scripts') })
  writeFileSync(here.at('scripts/wnod'), `#!/bin/sh\necho called >>'${here.at('calls')}'\n`)
  const job = spawn('sh', ['-c', 'trap "kill %1; exit 3" TERM; sleep 600 & echo up; wait'], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })
  const pid = String(job.pid ?? expect.unreachable())
  const ended = once(job, 'exit')
  await once(job.stdout, 'data')
  await once(spawn(here.at('scripts/wnod-lsf-control'), ['terminate'], { stdio: 'ignore', env: { PATH: process.env['PATH'], LSB_JOBID: '7', LSB_JOBPGIDS: pid, LSB_JOBPIDS: pid } }), 'exit')
  expect([await ended, existsSync(here.at('calls'))]).toEqual([[3, null], false])
})

/** The esub, as LSF calls it at submission. */
async function submit(request: string, env: NodeJS.ProcessEnv = {}) {
  const here = await site()
  await installLsf(context, { serverDir: here.at('serverdir'), types: 'el9,debian12,my-type.1', scripts: here.at('scripts') })
  writeFileSync(here.at('parm'), request)
  writeFileSync(here.at('env'), '')
  const { status, stderr } = spawnSync(here.at('serverdir/esub.wnod'), { encoding: 'utf8', cwd: here.at(), env: { PATH: process.env['PATH'], LSB_SUB_PARM_FILE: here.at('parm'), LSB_SUB_MODIFY_ENVFILE: here.at('env'), LSB_SUB_MODIFY_FILE: here.at('modify'), LSB_SUB_ABORT_VALUE: '97', ...env } })
  const answer = { status, stderr, env: here.read('env'), files: readdirSync(here.at()).sort() }
  await here[Symbol.asyncDispose]()
  return answer
}
const usual = ['config.d', 'env', 'lsb.queues', 'mom_priv', 'parm', 'scripts', 'serverdir']

test.each([
  ['nothing is asked for', 'LSB_SUB_QUEUE="bait"\n', {}, ''],
  ['a type for the esub', 'LSB_SUB_ADDITIONAL="wnod(el9)"\n', {}, 'WNOD_TYPE="el9"\n'],
  ['beside another esub', 'LSB_SUB_ADDITIONAL="openmpi wnod(debian12)"\n', {}, 'WNOD_TYPE="debian12"\n'],
  ['the resource', 'LSB_SUB_RES_REQ="select[vm_debian12>0 && mem>100] rusage[vm_debian12=1]"\n', {}, 'WNOD_TYPE="debian12"\n'],
  ['a resource whose name has other characters', 'LSB_SUB_RES_REQ="rusage[vm_my_type_1=1]"\n', {}, 'WNOD_TYPE="my-type.1"\n'],
  ['the environment', '', { WNOD_TYPE: 'el9' }, 'WNOD_TYPE="el9"\n'],
  ['the nearer one counts', 'LSB_SUB_ADDITIONAL="wnod(el9)"\nLSB_SUB_RES_REQ="vm_debian12>0"\n', { WNOD_TYPE: 'debian12' }, 'WNOD_TYPE="el9"\n'],
])('esub of LSF: %s', async (_what, request, env, written) => {
  expect(await submit(request, env)).toEqual({ status: 0, stderr: '', env: written, files: usual })
})

test.each([
  ['LSB_SUB_ADDITIONAL="wnod(el8)"\n', {}], ['LSB_SUB_RES_REQ="vm_el8>0"\n', {}], ['', { WNOD_TYPE: 'el8' }], ['', { WNOD_TYPE: '$(touch hacked)' }], ['', { WNOD_TYPE: '"; touch hacked; "' }],
  ['LSB_SUB_ADDITIONAL="wnod($(touch hacked))"\n', {}], ['LSB_SUB_ADDITIONAL="wnod(`touch hacked`)"\n', {}], ['LSB_SUB_RES_REQ="vm_$(touch hacked)"\n', {}], ['LSB_SUB_ADDITIONAL="wnod(*)"\n', {}], ['LSB_SUB_ADDITIONAL="wnod(el9 debian12)"\n', {}],
])('esub of LSF: %j with %j is refused, and nothing of it is executed', async (request, env) => {
  const answer = await submit(request, env)
  expect(answer).toMatchObject({ status: 97, env: '', files: usual })
  expect(answer.stderr).toMatch(/^wnod: .*there are: el9 debian12 my-type\.1\n$/)
})
