import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { Jobs } from '../../bait/contracts.ts'
import { failure } from '../../core/failure.ts'
import { jobLimits } from '../../core/job.ts'
import { scriptBytesMax } from '../../core/script-path.ts'
import { until } from '../../kit/until.ts'
import type { ScrubReceipt } from '../../wire/bait.ts'
import { JobStream } from '../../wire/job-stream.ts'
import { buildStarter, freshPlace, openDesk, recovered, runStarter, sessionOf, starterFolder } from './desk.ts'
import { fakeGuest, type FakeGuestOptions } from './fake-agent.ts'

beforeAll(buildStarter, 60_000)
afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))

vi.setConfig({ testTimeout: 60_000 }) // processes of ours start and end in each; the machine may be busy

const within = { withinMs: 20_000 }
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** A desk with one guest, and a starter whose job has been given that guest. */
async function farm(options: FakeGuestOptions = {}) {
  const guest = await fakeGuest(options)
  const desk = await openDesk()
  const session = await sessionOf(guest.address)
  return {
    guest, desk, session,
    async run(command: readonly string[], options: Parameters<typeof runStarter>[2] = {}) {
      const starter = runStarter(desk, command, options)
      const { freed, job } = await desk.place(session)
      return { ...starter, freed, job }
    },
    async [Symbol.asyncDispose]() {
      session.close()
      await desk[Symbol.asyncDispose]()
      await guest[Symbol.asyncDispose]()
    },
  }
}

test('output, errors and exit code come back', async () => {
  await using at = await farm()
  const { ended, freed, job } = await at.run(['sh', '-c', 'printf out; printf err >&2; exit 7'], { input: '' })
  expect(await ended).toEqual({ code: 7, signal: null, stdout: Buffer.from('out'), stderr: Buffer.from('err') })
  expect(await freed).toEqual({ mustClean: true })
  const record = await until(() => at.desk.jobs.ended()[0], within)
  expect(record).toMatchObject({ job, vwn: 'v1', name: 'sh', outcome: { is: 'exited', code: 7 } })
  expect(record.phases).toMatchObject({ wait: expect.any(Number) as number, start: expect.any(Number) as number, run: expect.any(Number) as number })
  at.desk.jobs.acknowledge([job])
  expect(at.desk.jobs.ended()).toEqual([])
})

test('a report says what became of the job', async () => {
  await using at = await farm()
  const file = join(at.desk.folder, 'report.json')
  const { ended } = await at.run(['sh', '-c', 'exit 5'], { input: '', args: ['--report', file] })
  await ended
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ job: 'h1-1', vwn: 'v1', type: 'el9', reused: false, outcome: { is: 'exited', code: 5 }, phases: { run: expect.any(Number) as number } })
})

test('a job has one trace from its starter to its guest: a new one, or that of what has submitted it', async () => {
  const told = 'c0ffee'.padStart(32, '1')
  for (const parent of [undefined, `00-${told}-00f067aa0ba902b7-01`, '00-garbage-01', `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`]) {
    await using at = await farm()
    const file = join(at.desk.folder, 'report.json')
    const { ended } = await at.run(['sh', '-c', 'printf "%s" "${TRACEPARENT-none}"'], { input: '', args: ['--report', file], env: { PATH: process.env['PATH'], ...(parent !== undefined && { TRACEPARENT: parent }) } })
    expect((await ended).stdout.toString()).toBe(parent ?? 'none')
    const { trace } = JSON.parse(readFileSync(file, 'utf8')) as { trace: string }
    expect(trace).toMatch(/^[0-9a-f]{32}$/)
    expect(trace === told).toBe(parent?.includes(told) === true)
    expect(at.guest.tasks).toMatchObject([{ kind: 'run', trace }])
    expect((await until(() => at.desk.jobs.ended()[0], within)).trace).toBe(trace)
    const lines = at.desk.lines.filter((line) => line['job'] !== undefined)
    expect(lines.length).toBeGreaterThan(3)
    expect(new Set(lines.map((line) => line['trace']))).toEqual(new Set([trace]))
  }
})

test('death by a signal is death by that signal', async () => {
  await using at = await farm()
  const { ended } = await at.run(['sh', '-c', 'kill -SEGV $$'], { input: '' })
  expect(await ended).toMatchObject({ code: null, signal: 'SIGSEGV' })
})

test.each([
  ['the main process', 'kill -KILL $$', ['--memory', '64'], { code: null, signal: 'SIGKILL' }, 'the 64 MiB of memory that the job asked for ran out'],
  ['one that it waits for', 'exit 137', [], { code: 137, signal: null }, 'the memory of its VWN ran out'],
  ['one that it can do without', 'exit 0', ['--memory', '64'], { code: 0, signal: null }, null],
])('death for want of memory, of %s, is on record, and said where the job has failed', async (_which, script, args, end, words) => {
  await using at = await farm({ outOfMemory: true })
  const { ended } = await at.run(['sh', '-c', script], { input: '', args })
  const { code, signal, stderr } = await ended
  expect({ code, signal }).toEqual(end)
  expect(stderr.toString()).toBe(words === null ? '' : `wnod: a process of the job was killed because ${words}\n`)
  expect((await until(() => at.desk.jobs.ended()[0], within)).outcome).toMatchObject({ is: end.signal === null ? 'exited' : 'signalled', outOfMemory: true })
  expect(at.guest.tasks[0]).toMatchObject({ memoryBytes: args.length === 0 ? null : 64 * 1024 * 1024 })
})

test('bytes go both ways unchanged', async () => {
  await using at = await farm()
  const bytes = randomBytes(10 * 1024 * 1024 + 7)
  const { ended } = await at.run(['sh', '-c', 'cat; echo done >&2'], { input: bytes })
  const { code, stdout, stderr } = await ended
  expect({ code, sha: sha(stdout), stderr: stderr.toString() }).toEqual({ code: 0, sha: sha(bytes), stderr: 'done\n' })
})

test('a signal to the starter reaches the job once', async () => {
  await using at = await farm()
  const { child, ended, stdout } = await at.run(['sh', '-c', 'trap "echo got" USR1; trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done'])
  await until(() => stdout().includes('up'), within)
  child.kill('SIGUSR1')
  child.kill('SIGUSR1')
  await until(() => stdout().includes('got'), within)
  child.kill('SIGTERM')
  expect(await ended).toMatchObject({ code: 3, stdout: Buffer.from('up\ngot\nbye\n') })
})

test('the death of the starter ends the job', async () => {
  await using at = await farm()
  const { child, freed, stdout } = await at.run(['sh', '-c', 'echo up; exec sleep 1000'])
  await until(() => stdout().includes('up'), within)
  expect(at.guest.alive()).toHaveLength(1)
  child.kill('SIGKILL')
  expect(await freed).toEqual({ mustClean: true })
  await until(() => at.guest.alive().length === 0, within)
  expect((await until(() => at.desk.jobs.ended()[0], within)).outcome).toEqual({ is: 'cancelled', signal: null })
})

test('a job that ignores TERM is killed when its starter is gone', async () => {
  const guest = await fakeGuest()
  await using desk = await openDesk({ limits: { ...jobLimits, stopMs: 300 } })
  const session = await sessionOf(guest.address)
  const { child, stdout } = runStarter(desk, ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.05; done'])
  const { freed } = await desk.place(session)
  await until(() => stdout().includes('up'), within)
  child.kill('SIGKILL')
  await freed
  await until(() => guest.alive().length === 0, within)
  session.close()
  await guest[Symbol.asyncDispose]()
})

test('a guest that dies with the job leaves it lost', async () => {
  await using at = await farm()
  const { ended, stdout } = await at.run(['sh', '-c', 'echo up; exec sleep 1000'])
  await until(() => stdout().includes('up'), within)
  at.guest.die()
  const { code, stderr } = await ended
  expect(code).toBe(76)
  expect(stderr.toString()).toMatch(/^wnod: the job is lost: .*\(JOB_GUEST_LOST\): .*\n$/)
})

test('a guest that cannot start the job leaves it refused', async () => {
  await using guest = await fakeGuest({ fails: { step: 'chdir', message: 'no such directory' } })
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const { ended } = runStarter(desk, ['true'], { args: ['--refused-code', '99'] })
  await desk.place(session)
  expect(await ended).toMatchObject({ code: 99, stdout: Buffer.alloc(0) })
  session.close()
})

test('a job is refused while it waits when the controller says so', async () => {
  await using desk = await openDesk()
  const { ended } = runStarter(desk, ['true'])
  const job = (await until(() => desk.jobs.live()[0], within)).job
  desk.jobs.answer({ job, is: 'refused', failure: { code: 'TYPE_UNKNOWN', message: 'no such type', hint: 'choose another' } })
  const { code, stderr } = await ended
  expect(code).toBe(75)
  expect(stderr.toString()).toBe('wnod: the job did not run: no such type (TYPE_UNKNOWN): choose another\n')
})

test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s cancels a waiting job, and the starter dies of it', async (signal) => {
  await using desk = await openDesk()
  const { child, ended } = runStarter(desk, ['true'])
  await until(() => desk.jobs.live()[0], within)
  child.kill(signal)
  expect(await ended).toMatchObject({ code: null, signal, stderr: Buffer.alloc(0) })
  expect((await until(() => desk.jobs.ended()[0], within)).outcome).toEqual({ is: 'cancelled', signal })
})

test('what a job was told of its VWN stays with it, over the end of the bait too', async () => {
  await using at = await farm()
  const { ended, job } = await at.run(['true'], { input: '' })
  await ended
  const scrubReceipt: ScrubReceipt = { ...freshPlace.scrubReceipt, jobsBefore: 1, before: 'same-user', scrub: { checked: ['processes'], tookMs: 3, atMs: 4 } }
  const again = runStarter(at.desk, ['true'], { input: '' })
  const second = await at.desk.place(at.session, 'agent', { ...freshPlace, reused: true, scrubReceipt })
  await again.ended
  const refused = runStarter(at.desk, ['true'], { input: '' })
  const third = await until(() => at.desk.jobs.live().find(({ state }) => state === 'waiting')?.job, within)
  at.desk.jobs.answer({ job: third, is: 'refused', failure: failure('TYPE_UNKNOWN') })
  await refused.ended
  const told = [[job, freshPlace.scrubReceipt], [second.job, scrubReceipt], [third, null]]
  const receipts = (jobs: Jobs) => jobs.ended().map((one) => [one.job, one.scrubReceipt])
  await until(() => at.desk.jobs.ended().length === 3, within)
  expect(receipts(at.desk.jobs)).toEqual(told)
  expect(receipts(await recovered(at.desk.folder))).toEqual(told)
})

test('a bait that starts again says what became of its jobs', async () => {
  await using guest = await fakeGuest()
  await using first = await openDesk()
  const session = await sessionOf(guest.address)
  const running = runStarter(first, ['sleep', '1000'])
  await first.place(session)
  await until(() => first.jobs.live().some(({ state }) => state === 'running'), within)
  const waiting = runStarter(first, ['true'])
  await until(() => first.jobs.live().length === 2, within)
  const next = await recovered(first.folder)
  expect(next.ended().map(({ job, outcome }) => [job, outcome.is])).toEqual([['h1-1', 'lost'], ['h1-2', 'refused']])
  next.acknowledge(next.ended().map(({ job }) => job))
  running.child.kill('SIGKILL')
  waiting.child.kill('SIGKILL')
  await Promise.all([running.ended, waiting.ended])
  session.close()
})

test.runIf(process.getuid?.() === 0)('the job of another user is his own', async () => {
  await using at = await farm()
  const { ended } = await at.run(['true'], { uid: 65534, gid: 65534, input: '' })
  expect(await ended).toMatchObject({ code: 0 })
  expect(at.guest.tasks[0]).toMatchObject({ identity: { user: 'nobody', uid: 65534, gid: 65534, group: 'nogroup' } })
})

test.runIf(process.getuid?.() === 0)('a group that the user is not in is a lie', async () => {
  await using desk = await openDesk()
  const { ended } = runStarter(desk, ['true'], { uid: 65534, gid: 4 })
  const { code, stderr } = await ended
  expect(code).toBe(75)
  expect(stderr.toString()).toContain('(JOB_IDENTITY_FALSE)')
})

const ourIds = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
const largeScript = { path: 'L3g=', content: Buffer.alloc(scriptBytesMax + 1).toString('base64') }

test.each([
  ['who made no proof', { uid: 0, gid: 0 }, false, null, 'JOB_IDENTITY_FALSE'],
  ['who is not who it says', { uid: 12345, gid: 0 }, true, null, 'JOB_IDENTITY_FALSE'],
  ['whose script is too large', ourIds, true, largeScript, 'JOB_SCRIPT_TOO_LARGE'],
])('a caller %s is refused', async (_what, claim, proves, script, code) => {
  await using desk = await openDesk()
  const said = await new Promise<unknown>((resolve) => {
    const via = new JobStream(connect(desk.socket), {
      onControl: (message) => {
        const greet = message as { kind: string; prove: string }
        if (greet.kind !== 'greet') return resolve(message)
        if (proves) mkdirSync(greet.prove, { mode: 0o700 })
        const run = { argv: ['dHJ1ZQ=='], env: [], cwd: null, umask: 0, limits: [], nice: 0, ignored: [], stdin: 'null', stdout: 'null', stderr: 'null', tty: null, stage: false, script }
        const want = { type: null, queue: null, project: null, batchSystem: null, batchJobId: null, cpus: null, memoryMib: null, scratchGib: null }
        via.control({ kind: 'submit', v: 1, groups: [], run, want, ...claim })
      },
      onClose: () => {},
    })
  })
  expect(said).toMatchObject({ kind: 'error', failure: { code } })
  expect(readdirSync(join(desk.folder, 'proof'))).toEqual([])
})

test('a guest with another host key is an impostor', async () => {
  await using guest = await fakeGuest({ impostor: true })
  await expect(sessionOf(guest.address)).rejects.toMatchObject({ code: 'GUEST_KEY_WRONG' })
})

test('a guest that nobody serves is unreachable', async () => {
  const guest = await fakeGuest()
  await guest[Symbol.asyncDispose]()
  await expect(sessionOf(guest.address)).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE' })
})

test.each([
  ['random bytes', randomBytes(64)],
  ['text', Buffer.from('GET / HTTP/1.0\r\n\r\n')],
  ['a huge frame', Buffer.from('ffffffff01000000000000000000', 'hex')],
  ['half a frame, and then nothing', Buffer.from('0000')],
])('%s on the socket is dropped, and the bait stays up', async (_what, bytes) => {
  await using desk = await openDesk({ submitMs: 2_000 }) // the starter below must be quicker than that
  const socket = connect(desk.socket)
  socket.on('error', () => {})
  socket.write(bytes)
  await new Promise((resolve) => socket.on('close', resolve).resume())
  expect(desk.lines.some(({ msg }) => msg.includes('dropped'))).toBe(true)
  const { child, ended } = runStarter(desk, ['true'])
  await until(() => desk.jobs.live()[0], within)
  child.kill('SIGTERM')
  await ended
})
