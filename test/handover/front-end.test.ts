/** How batch systems call the starter: in the job's place, without options of ours. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { scriptBytesMax } from '../../core/script-path.ts'
import { slurm, slurmBatch } from '../../hooks/slurm/front-end.ts'
import { frontEndOf, type Call } from '../../hooks/starter/front-end.ts'
import { beforeFile, buildStarter, openDesk, sessionOf, starterFolder, type Desk } from './desk.ts'
import { fakeGuest, toldTo } from './fake-agent.ts'

const call = (env: NodeJS.ProcessEnv, args: readonly string[] = []): Call => ({
  args: args.map((arg) => Buffer.from(arg)), env, envBytes: (name) => (env[name] === undefined ? null : Buffer.from(env[name], 'latin1')), readFile: (path) => Buffer.from(`of ${path.toString('latin1')}`), userShell: () => expect.unreachable(),
})
const batch = { WNOD_ARGV0: '/spool/job00007/slurm_script', SLURM_JOB_ID: '7', SLURM_JOB_PARTITION: 'bait', SLURM_JOB_ACCOUNT: 'lhcb', SLURM_CPUS_ON_NODE: '2' }

test('Slurm: the command is what the plugin has replaced, with its own arguments', () => {
  const reading = slurm(call(batch, ['--type', 'a b', '']))
  expect(reading.argv.map(String)).toEqual([batch.WNOD_ARGV0, '--type', 'a b', ''])
  expect(reading).toMatchObject({ deathBySignal: 'raise', known: { batchSystem: 'slurm', batchJobId: '7', queue: 'bait', project: 'lhcb', cpus: 2, memoryMib: null, tty: false } })
  expect(slurm(call({ ...batch, WNOD_ARGV0: '/bin/\xff' })).argv[0]).toEqual(Buffer.from('/bin/\xff', 'latin1'))
})

test.each([
  [{ SLURM_STEP_ID: '0' }, { batchJobId: '7.0' }],
  [{ SLURM_ARRAY_JOB_ID: '5', SLURM_ARRAY_TASK_ID: '3' }, { batchJobId: '5_3' }],
  [{ SLURM_MEM_PER_NODE: '900' }, { memoryMib: 900 }],
  [{ SLURM_MEM_PER_NODE: '0' }, { memoryMib: null }],
  [{ SLURM_MEM_PER_CPU: '300' }, { memoryMib: 600 }],
  [{ SLURM_CPUS_ON_NODE: '2(x3)' }, { cpus: null }],
  [{ SLURM_PTY_PORT: '4711' }, { tty: true }],
])('Slurm: %j', (env, known) => {
  expect(slurm(call({ ...batch, ...env })).known).toMatchObject(known)
})

test.each([
  ['/spool/job00007/slurm_script', {}, 'of /spool/job00007/slurm_script'],
  ['/var/spool/n1/job123456/slurm_script', { SLURM_STEP_ID: '0' }, 'of /var/spool/n1/job123456/slurm_script'],
  ['/spool/job00007/other', {}, null],
  ['/home/ada/slurm_script', {}, null],
  ['spool/job7/slurm_script', {}, null],
  ['slurm_script', {}, null],
  ['true', { SLURM_STEP_ID: '0' }, null],
])('Slurm: the script that %s %j carries', (command, env, content) => {
  const { script } = slurm(call({ ...batch, ...env, WNOD_ARGV0: command }))
  expect(script ?? null).toEqual(content === null ? null : { path: Buffer.from(command), content: Buffer.from(content) })
})

test('Slurm: without the plugin’s word there is no command', () => {
  expect(() => slurm(call({ SLURM_JOB_ID: '7' }))).toThrow('WNOD_ARGV0')
})

test('Slurm: a batch script with our line before its own is the job, without that line', () => {
  const path = '/spool/job00007/slurm_script'
  const whole = Buffer.from('#!/opt/wnod/dist/wnod-starter --slurm-batch\n#!/bin/sh\n\xff', 'latin1')
  const reading = slurmBatch({ ...call({ ...batch, WNOD_ARGV0: '/bin/false' }, [path, '--type', '']), readFile: () => whole })
  expect(reading.argv.map(String)).toEqual([path, '--type', ''])
  expect(reading).toMatchObject({ isHeaded: true, known: { batchJobId: '7', queue: 'bait' }, script: { path: Buffer.from(path), content: Buffer.from('#!/bin/sh\n\xff', 'latin1') } })
  for (const args of [[], ['/home/ada/script'], ['slurm_script']]) expect(() => slurmBatch(call(batch, args))).toThrow('no batch script in the spool')
})

test('a front end that nobody has is wrong use, none is a plain call', () => {
  expect(frontEndOf({})).toBeNull()
  expect(frontEndOf({ WNOD_FRONT_END: '' })).toBeNull()
  for (const name of ['slrum', 'constructor']) expect(() => frontEndOf({ WNOD_FRONT_END: name })).toThrow(name)
})

beforeAll(buildStarter, 60_000)
afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))

test('called by its name, the starter reads no options, and the job sees nothing of the node', async () => {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const link = join(starterFolder, 'wnod-slurm')
  symlinkSync(beforeFile, link)
  const env = { ...batch, PATH: process.env['PATH'] ?? '', WNOD_NODE: process.execPath, WNOD_SOCKET: desk.socket, WNOD_ARGV0: 'true', SLURM_TASK_PID: '12' }
  const ended = execa(link, ['--help', '', '$x'], { env, extendEnv: false, reject: false, stdin: 'ignore' })
  await (await desk.place(session)).freed
  expect(await ended).toMatchObject({ exitCode: 0, stderr: '' })
  session.close()
  const run = toldTo(guest)
  const text = (bytes: string): string => Buffer.from(bytes, 'base64').toString()
  expect(run.argv.map(text)).toEqual(['true', '--help', '', '$x'])
  expect(run.env.map(text).filter((entry) => /^(WNOD|SLURM)_/.test(entry)).sort()).toEqual(['SLURM_CPUS_ON_NODE=2', 'SLURM_JOB_ACCOUNT=lhcb', 'SLURM_JOB_ID=7', 'SLURM_JOB_PARTITION=bait'])
  expect(desk.jobs.ended()[0]?.want ?? desk.jobs.live()[0]?.want).toMatchObject({ batchSystem: 'slurm', batchJobId: '7', queue: 'bait' })
}, 60_000)

const spool = mkdtempSync(join(tmpdir(), 'wnod-spool-'))
afterAll(() => rmSync(spool, { recursive: true, force: true }))
const slurmScript = (name: string, content: Buffer | null): string => {
  const path = join(spool, name, 'slurm_script')
  mkdirSync(join(spool, name))
  if (content !== null) writeFileSync(path, content)
  return path
}
const asSlurm = (desk: Desk, script: string, more: NodeJS.ProcessEnv = {}) =>
  execa(beforeFile, ['a b'], { env: { PATH: process.env['PATH'] ?? '', WNOD_FRONT_END: 'slurm', WNOD_NODE: process.execPath, WNOD_SOCKET: desk.socket, WNOD_ARGV0: script, ...more }, extendEnv: false, reject: false, stdin: 'ignore' })

test('a batch script reaches the guest by its bytes, up to the largest', async () => {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const content = Buffer.concat([Buffer.from('#!/bin/sh\nexit\n'), randomBytes(scriptBytesMax)]).subarray(0, scriptBytesMax)
  const script = slurmScript('job00001', content)
  const ended = asSlurm(desk, script)
  await (await desk.place(session)).freed
  await ended
  session.close()
  const run = toldTo(guest)
  expect(Buffer.from(run.script?.path ?? '', 'base64').toString()).toBe(script)
  expect(Buffer.from(run.script?.content ?? '', 'base64').equals(content)).toBe(true)
  expect(run.argv.map((word) => Buffer.from(word, 'base64').toString())).toEqual([script, 'a b'])
}, 60_000)

test('one that is too large, or gone, is refused in words, and nobody is asked', async () => {
  await using desk = await openDesk()
  expect(await asSlurm(desk, slurmScript('job00002', Buffer.alloc(scriptBytesMax + 1, '#')))).toMatchObject({ exitCode: 77, stderr: expect.stringMatching(/^wnod: the job did not run: .* \(JOB_SCRIPT_TOO_LARGE\): .*$/) as string })
  const gone = slurmScript('job00003', null)
  expect(await asSlurm(desk, gone, { WNOD_REFUSED_CODE: '42' })).toMatchObject({ exitCode: 42, stderr: expect.stringMatching(/^wnod: the job did not run: .*ENOENT.*slurm_script.* \(JOB_SCRIPT_UNREADABLE\): .*$/) as string })
  expect(desk.jobs.live()).toEqual([])
}, 60_000)
