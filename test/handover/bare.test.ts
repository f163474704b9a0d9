/** A job on the host itself: its starter becomes it, and nothing that the job or its caller could look at tells so. */
import { execFileSync, spawn } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { pack } from '../../hooks/starter/bare.ts'
import { until } from '../../kit/until.ts'
import { hookVersion, type ToStarter } from '../../wire/hook.ts'
import { JobStream } from '../../wire/job-stream.ts'
import { ended, type Ended } from '../harness/farm.ts'
import { beforeFile, buildStarter, openDesk, runStarter, starterFile, starterFolder, type Desk } from './desk.ts'

vi.setConfig({ testTimeout: 60_000 }) // processes of ours start and end in each; the machine may be busy
const within = { withinMs: 20_000 }
const folder = mkdtempSync(join(tmpdir(), 'wnod-bare-'))
const caller = join(folder, 'odd-caller')
beforeAll(() => {
  buildStarter()
  execFileSync('gcc', ['-O1', '-o', caller, join(import.meta.dirname, 'odd-caller.c')])
}, 60_000)
afterAll(() => {
  rmSync(starterFolder, { recursive: true, force: true })
  rmSync(folder, { recursive: true, force: true })
})

/** The controller's word on the next job that waits. */
async function letGo(desk: Desk): Promise<void> {
  const job = await until(() => desk.jobs.live().find(({ state }) => state === 'waiting')?.job, { ...within, everyMs: 5, what: 'a waiting job' })
  desk.jobs.answer({ job, is: 'bare' })
}

/** One that runs on the host itself. */
async function bareJob(desk: Desk, command: readonly string[], options: Parameters<typeof runStarter>[2] = {}) {
  const starter = runStarter(desk, command, options)
  await letGo(desk)
  return starter
}

/** A command in the odd caller's hands: as it is, or by a starter that is told to become it. */
async function odd(command: readonly string[], closed: string, desk: Desk | null): Promise<Ended> {
  const ours = desk === null ? [] : [`WNOD_NODE=${process.execPath}`, `WNOD_SOCKET=${desk.socket}`, 'WNOD_VERBOSE=0']
  const child = spawn(caller, [closed, ...ours, '--', ...(desk === null ? command : [beforeFile, '--', ...command])], { cwd: '/usr', stdio: 'pipe' })
  const end = ended(child, { stdin: 'some input\n' })
  if (desk !== null) await letGo(desk)
  return end
}

/** These bytes on stdin from a pipe, as PBS gives them; what node makes for a child is a socket. */
function piped(text: string): Parameters<typeof runStarter>[2] {
  writeFileSync(join(folder, 'input'), text)
  return { after: '', files: `< <(cat ${join(folder, 'input')})` }
}

/** Names of pipes, and of the process itself, differ from run to run. */
const anyNumber = (text: string): string => text.replace(/\[\d+\]|\/proc\/\d+/g, '#')

/** Lists what it has got, in a shell that needs none of it. */
const files = ['/bin/sh', '-c', 'for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12 40 41; do [ -h /proc/$$/fd/$fd ] && echo "$fd $(readlink /proc/$$/fd/$fd)"; done; true']

describe('as its caller started it', () => {
  test.each<[string, readonly string[], string]>([
    ['its environment, entry by entry', ['/bin/cat', '/proc/self/environ'], '-'],
    ['its words', ['/bin/cat', '/proc/self/cmdline', '/dev/null'], '-'],
    ['its limits', ['/bin/cat', '/proc/self/limits'], '-'],
    ['its signals, umask, groups and what else it may', ['/bin/grep', '-E', '^(Sig(Blk|Ign|Cgt)|Shd|Umask|Uid|Gid|Groups|NoNewPrivs|Seccomp|Cpus_allowed|Cap|Dumpable)', '/proc/self/status'], '-'],
    ['its files', files, '-'],
    ['its files, where stdin is closed', files, '0'],
    ['its files, where stdin and stderr are closed', files, '02'],
    ['flags and offsets of its files', ['/bin/sh', '-c', 'cat /proc/$$/fdinfo/0 /proc/$$/fdinfo/1 /proc/$$/fdinfo/2 /proc/$$/fdinfo/7 | grep -v -e mnt_id -e ino'], '-'],
    ['its directory, and its nice value', ['/bin/sh', '-c', 'pwd -P; nice; cut -d" " -f41 /proc/$$/stat'], '-'],
    ['its stdin', ['/bin/cat'], '-'],
    ['a command by name', ['printf', '%s|', 'a b', '', '$x'], '-'],
    ['a script without a first line', [join(folder, 'plain')], '-'],
  ])('%s', async (_what, command, closed) => {
    await using desk = await openDesk()
    writeFileSync(join(folder, 'plain'), 'echo "$0 ran"\n', { mode: 0o755 })
    // Natively somebody has looked for the name, and for the shell of what is no program.
    const natively = command[0] === 'printf' ? ['/usr/bin/printf', ...command.slice(1)] : command[0]?.startsWith(folder) === true ? ['/bin/sh', ...command] : command
    const [native, bare] = [await odd(natively, closed, null), await odd(command, closed, desk)]
    expect(native.code).toBe(0)
    expect({ ...bare, stdout: anyNumber(bare.stdout), stdoutBytes: null }).toEqual({ ...native, stdout: anyNumber(native.stdout), stdoutBytes: null })
    if (command[1] === '/proc/self/environ') expect(bare.stdoutBytes).toEqual(native.stdoutBytes)
  })
})

describe('it is the process that was its starter', () => {
  test('by its number, and so by its end', async () => {
    await using desk = await openDesk()
    const one = await bareJob(desk, ['sh', '-c', 'echo $$; exit 7'], { input: '' })
    expect(await one.ended).toMatchObject({ code: 7, stdout: Buffer.from(`${one.child.pid}\n`) })
    expect(await (await bareJob(desk, ['sh', '-c', 'kill -SEGV $$'], { input: '' })).ended).toMatchObject({ code: null, signal: 'SIGSEGV' })
    await until(() => desk.jobs.ended().length === 2, within)
    expect(desk.jobs.ended()).toMatchObject([{ vwn: null, usage: null, outcome: { is: 'bare' }, phases: { wait: expect.any(Number) as number } }, { outcome: { is: 'bare' } }])
  })

  test('and gets what it is sent', async () => {
    await using desk = await openDesk()
    const { child, ended: end, stdout } = await bareJob(desk, ['sh', '-c', 'trap "echo got; exit 3" TERM; echo ready; while :; do sleep .05; done'])
    await until(() => stdout() === 'ready\n', within)
    child.kill('SIGTERM')
    expect(await end).toMatchObject({ code: 3, stdout: Buffer.from('ready\ngot\n') })
  })

  test('a signal that has come before ends it all the same', async () => {
    await using desk = await openDesk()
    const { child, ended: end } = runStarter(desk, ['true'], { input: '' })
    await until(() => desk.jobs.live()[0]?.state === 'waiting', within)
    child.kill('SIGINT')
    expect(await end).toMatchObject({ signal: 'SIGINT' })
  })
})

test('options of the starter hold for it: what is set for it, and no stdin', async () => {
  await using desk = await openDesk()
  const { ended: end } = await bareJob(desk, ['sh', '-c', 'echo "$A"; readlink /proc/self/fd/0; wc -c'], { input: 'x', args: ['--env', 'A=b c', '-n'] })
  expect(String((await end).stdout)).toBe('b c\n/dev/null\n0\n')
})

test('a report says so', async () => {
  await using desk = await openDesk()
  const report = join(desk.folder, 'report.json')
  const { ended: end } = await bareJob(desk, ['cat', report], { input: '', args: ['--report', report] })
  expect(JSON.parse(String((await end).stdout))).toMatchObject({ job: 'h1-1', vwn: null, outcome: { is: 'bare' } })
})

test.each([
  ['that is not there', 'no-such-command', 127, 'no-such-command cannot be executed: ENOENT'],
  ['that is no program', '/etc/passwd', 126, '/etc/passwd cannot be executed: EACCES'],
])('a command %s is a job that has failed', async (_what, command, code, words) => {
  await using desk = await openDesk()
  const end = await (await bareJob(desk, [command], { input: '' })).ended
  expect({ ...end, stderr: String(end.stderr) }).toMatchObject({ code, stderr: `wnod: ${words}\n` })
})

describe('called by a batch system', () => {
  test('Slurm: the command that the plugin has replaced, by its full path', async () => {
    await using desk = await openDesk()
    const { ended: end } = await bareJob(desk, ['-c', 'echo "$0 $SLURM_CONF"; env | grep -c ^WNOD', 'x'], { input: '', frontEnd: { WNOD_FRONT_END: 'slurm', WNOD_ARGV0: 'sh', SLURM_JOB_ID: '7', SLURM_CONF: '/etc/slurm' } })
    expect(String((await end).stdout)).toBe('x /etc/slurm\n0\n')
    const named = await bareJob(desk, ['/proc/self/cmdline'], { input: '', frontEnd: { WNOD_FRONT_END: 'slurm', WNOD_ARGV0: 'cat', SLURM_JOB_ID: '8' } })
    expect(String((await named.ended).stdout)).toMatch(/^\/(usr\/)?bin\/cat\0\/proc\/self\/cmdline\0$/)
  })

  test.each([['no-such-command', 2], [join(folder, 'text'), 8]])('Slurm: %s is an error by its number, and goes to no shell', async (command, code) => {
    await using desk = await openDesk()
    writeFileSync(join(folder, 'text'), 'echo never\n', { mode: 0o755 })
    expect(await (await bareJob(desk, [], { input: '', frontEnd: { WNOD_FRONT_END: 'slurm', WNOD_ARGV0: command, SLURM_JOB_ID: '7' } })).ended).toMatchObject({ code, stdout: Buffer.alloc(0) })
  })

  test('PBS: a login shell reads the line that the front end has read before', async () => {
    await using desk = await openDesk()
    const script = join(desk.folder, '7.server.SC')
    writeFileSync(script, '#!/bin/sh\necho "$0 ran"; cat\n', { mode: 0o755 })
    const { ended: end } = await bareJob(desk, ['/bin/bash'], { ...piped(`echo "$0"; ${script}\n`), frontEnd: { WNOD_FRONT_END: 'pbs', PBS_JOBID: '7', HOME: desk.folder } })
    expect(await end).toMatchObject({ code: 0, stdout: Buffer.from(`-bash\n${script} ran\n`) })
  })

  test.each([10, 65_536, 300_000])('PBS: a command of its own reads all %i bytes of its stdin', async (length) => {
    await using desk = await openDesk()
    const { ended: end } = await bareJob(desk, ['wc', '-c'], { ...piped('x'.repeat(length)), frontEnd: { WNOD_FRONT_END: 'pbs', PBS_JOBID: '7' } })
    expect(String((await end).stdout)).toBe(`${length}\n`)
  })

  test('LSF: a script on the stdin of bsub is removed when it has run', async () => {
    await using desk = await openDesk()
    const file = join(desk.folder, '9.7')
    writeFileSync(`${file}.shell`, '#!/bin/sh\necho "$0"; exit 5\n', { mode: 0o700 })
    const { ended: end } = await bareJob(desk, [], { input: '', frontEnd: { WNOD_FRONT_END: 'lsf', LSB_JOBFILENAME: file, LSB_JOBID: '7', LSB_TRAPSIGS: 'trap # 15 10 12 2 1' } })
    expect(await end).toMatchObject({ code: 5, stdout: Buffer.from(`${file}.shell\n`) })
    expect(() => execFileSync('test', ['-e', `${file}.shell`])).toThrow()
  })
})

describe('without a bait', () => {
  const asking = (socket: string, args: readonly string[]): Promise<Ended> =>
    ended(spawn(process.execPath, [starterFile, '--socket', socket, ...args, '--', 'sh', '-c', 'echo ran; exit 4'], { stdio: 'pipe' }))
  const nowhere = (args: readonly string[]): Promise<Ended> => asking(join(folder, 'no.sock'), args)
  /** A bait of the test's own. */
  async function listening(name: string, onConnection: (connection: Socket) => void) {
    const socket = join(folder, name)
    const connections = new Set<Socket>()
    const server = createServer((connection) => {
      connections.add(connection.on('error', () => undefined))
      onConnection(connection)
    })
    await new Promise<void>((resolve) => server.listen(socket, resolve))
    const dispose = async (): Promise<void> => {
      connections.forEach((connection) => connection.destroy())
      await new Promise((resolve) => server.close(resolve))
    }
    return { socket, [Symbol.asyncDispose]: dispose }
  }
  const greet = (proof: string): ToStarter => ({ kind: 'greet', v: hookVersion, host: 'h1', prove: join(folder, proof) })

  test('the job never runs, or runs on the host itself, as the administrator says', async () => {
    expect(await nowhere([])).toMatchObject({ code: 75, stdout: '', stderr: expect.stringContaining('(BAIT_UNREACHABLE)') as string })
    expect(await nowhere(['--unreachable', 'requeue'])).toMatchObject({ code: 75, stdout: '' })
    expect(await nowhere(['--unreachable', 'bare'])).toMatchObject({ code: 4, stdout: 'ran\n', stderr: '' })
    expect(await nowhere(['--unreachable', 'later'])).toMatchObject({ code: 2 })
  })

  test('a job that a bait had accepted before it died never runs on the host: it may be on its way', async () => {
    await using bait = await listening('dying.sock', (connection) => {
      const via: JobStream = new JobStream(connection, {
        onControl: () => {
          via.control({ kind: 'accepted', job: 'h1-1' as never } satisfies ToStarter)
          via.end()
        },
        onClose: () => undefined,
      })
      via.control(greet('dying.proof'))
    })
    expect(await asking(bait.socket, ['--unreachable', 'bare'])).toMatchObject({ code: 75, stdout: '', stderr: expect.stringContaining('(BAIT_UNREACHABLE)') as string })
  })

  test.each([
    ['takes a call and says nothing', () => undefined],
    ['greets and says nothing more', (connection: Socket) => new JobStream(connection, { onControl: () => undefined, onClose: () => undefined }).control(greet('silent.proof'))],
  ])('one that %s is away', async (_what, onConnection) => {
    await using bait = await listening('silent.sock', onConnection)
    const end = await asking(bait.socket, ['--bait-timeout', '1'])
    expect(end).toMatchObject({ code: 75, stdout: '' })
    expect(end.stderr).toMatch(/^wnod: the job did not run: the bait at .* does not answer: it has said nothing for 1 s \(BAIT_UNREACHABLE\): /)
  })

  test('one that says nothing lets the job run on the host itself, where the administrator says so', async () => {
    await using bait = await listening('silent.sock', () => undefined)
    expect(await asking(bait.socket, ['--bait-timeout', '1', '--unreachable', 'bare'])).toMatchObject({ code: 4, stdout: 'ran\n', stderr: '' })
  })
})

test('without what it becomes a job by, the starter says so beforehand, and the job is given back', async () => {
  await using desk = await openDesk()
  const lonely = join(folder, 'starter.cjs')
  copyFileSync(starterFile, lonely)
  const child = spawn(process.execPath, [lonely, '--socket', desk.socket, '--', 'echo', 'ran'], { stdio: 'pipe' })
  const end = ended(child)
  await letGo(desk)
  expect(await end).toMatchObject({ code: 75, stdout: '', stderr: expect.stringContaining('(BARE_IMPOSSIBLE)') as string })
  await until(() => desk.jobs.ended().length === 1, within)
  expect(desk.jobs.ended()).toMatchObject([{ outcome: { is: 'refused', failure: { code: 'BARE_IMPOSSIBLE' } } }])
  expect(await ended(spawn(process.execPath, [lonely, '--socket', '/no', '--unreachable', 'bare', '--', 'echo', 'ran'], { stdio: 'pipe' }))).toMatchObject({ code: 75, stdout: '' })
})

test('what exec.c is told has every byte where its struct has it', () => {
  const word = fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes.map((byte) => byte || 1)))
  const words = fc.array(word, { maxLength: 5 })
  const signals = fc.uniqueArray(fc.integer({ min: 1, max: 64 }))
  fc.assert(fc.property(word, words, words, fc.option(word, { nil: undefined }), signals, fc.option(signals, { nil: undefined }), (file, argv, env, stdin, ignored, blocked) => {
    const before = { ignored, closed: [0, 2], inherited: [7, 40], openFiles: null, ...(blocked !== undefined && { blocked }) }
    const packed = pack({ file, isPath: argv.length > 2, argv, env, stdin, before })
    const has = (at: number): number[] => Array.from({ length: 64 }, (_, bit) => bit + 1).filter((signal) => (packed.readBigUInt64LE(at) >> BigInt(signal - 1)) & 1n)
    expect(has(0)).toEqual([...ignored].sort((a, b) => a - b))
    expect(has(8)).toEqual([...(blocked ?? [])].sort((a, b) => a - b))
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((index) => packed.readUInt32LE(24 + 4 * index))).toEqual([blocked === undefined ? 2 : 3, 5, 2, argv.length, env.length, stdin === undefined ? 0 : 1, stdin?.length ?? 0, argv.length > 2 ? 1 : 0])
    expect([packed.readInt32LE(56), packed.readInt32LE(60)]).toEqual([7, 40])
    expect(packed.subarray(64)).toEqual(Buffer.concat([...[file, ...argv, ...env].flatMap((each) => [each, Buffer.alloc(1)]), ...(stdin === undefined ? [] : [stdin])]))
  }))
})
