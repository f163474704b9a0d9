/** What the caller has given the starter and node takes away: noted before node starts, and told to the guest. */
import { rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { parseBefore } from '../../hooks/starter/before.ts'
import { until } from '../../kit/until.ts'
import type { Run } from '../../wire/hook.ts'
import { buildStarter, openDesk, runStarter, sessionOf, starterFolder, type StarterOptions } from './desk.ts'
import { fakeGuest, toldTo } from './fake-agent.ts'

const status = (mask: string) => () => `Name:\tnode\nSigBlk:\t0000000000000000\nSigIgn:\t${mask}\nSigCgt:\t0000000108004602\n`
const never = (): string => expect.unreachable()

test('a note of this process', () => {
  expect(parseBefore('77 1000001001 5 1024 800 7 40', 77, never)).toEqual({ ignored: [1, 13, 37], closed: [0, 2], openFiles: 1024, blocked: [12], inherited: [7, 40] })
  expect(parseBefore('77 0 0 18446744073709551615 0', 77, never)).toEqual({ ignored: [], closed: [], openFiles: null, blocked: [], inherited: [] })
  expect(parseBefore('77 8000000000000000 7 0 8000000000000000', 77, never)).toEqual({ ignored: [64], closed: [0, 1, 2], openFiles: 0, blocked: [64], inherited: [] })
})

test.each([undefined, '', '76 1 1 1024 0', '77 1 8 1024 0', '77 1 1', '77 1 1 1024', '77 x 1 1024 0', ' 77 1 1 1024 0', '77 1 1 1024 0 x'])('without it (%j) only real-time signals are known', (note) => {
  expect(parseBefore(note, 77, status('0000001001001001'))).toEqual({ ignored: [37], closed: [] })
})

vi.setConfig({ testTimeout: 60_000 }) // processes of ours start and end in each; the machine may be busy
beforeAll(buildStarter, 60_000)
afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))

const within = { withinMs: 20_000 }

/** What the guest is told to run, by a starter in these surroundings. */
async function told(options: StarterOptions): Promise<Run> {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const { ended } = runStarter(desk, ['true'], { input: '', ...options })
  await (await desk.place(session)).freed
  expect(await ended).toMatchObject({ code: 0 })
  session.close()
  return toldTo(guest)
}

test('signals that are ignored', async () => {
  expect(await told({ after: "trap '' HUP PIPE RTMIN+3" })).toMatchObject({ ignored: [1, 13, 37] })
  expect(await told({ after: '' })).toMatchObject({ ignored: [] })
  expect(await told({})).toMatchObject({ ignored: [] })
})

test.each([
  ['', { stdin: 'stream', stdout: 'stream', stderr: 'stream' }],
  ['<&-', { stdin: 'closed', stdout: 'stream', stderr: 'stream' }],
  ['<&- >&- 2>&-', { stdin: 'closed', stdout: 'closed', stderr: 'closed' }],
  ['<>/dev/null >/dev/null 2>&-', { stdin: 'null', stdout: 'null', stderr: 'closed' }],
  ['>&- 2>/dev/null', { stdin: 'stream', stdout: 'closed', stderr: 'null' }],
] as const)('files that are closed: %j', async (files, expected) => {
  expect(await told({ after: '', files })).toMatchObject(expected)
})

test('a soft limit of open files that is the starter’s alone', async () => {
  const { limits } = await told({ after: 'ulimit -Sn 200; ulimit -Hn 400' })
  expect(limits).toContainEqual({ name: 'nofile', soft: 200, hard: 400 })
})

test('arguments, environment and their order are as they were, and the note is not in it', async () => {
  const { argv, env } = await told({ after: 'export A=1 B=2', env: { PATH: process.env['PATH'], ZED: 'z' } })
  const text = (base64: string): string => Buffer.from(base64, 'base64').toString()
  expect(argv.map(text)).toEqual(['true'])
  expect(env.map(text).filter((entry) => /^(A|B|ZED|WNOD_.*)=/.test(entry)).sort()).toEqual(['A=1', 'B=2', 'ZED=z'])
})

test('a signal that is ignored does not cancel a waiting job, and another one does', async () => {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const { child, ended } = runStarter(desk, ['sh', '-c', 'echo ran; exit 5'], { input: '', after: "trap '' HUP" })
  await until(() => desk.jobs.live()[0]?.state === 'waiting', within)
  child.kill('SIGHUP')
  await desk.place(session)
  expect(await ended).toMatchObject({ code: 5, stdout: Buffer.from('ran\n') })
  session.close()
  const other = runStarter(desk, ['true'], { after: "trap '' HUP" })
  await until(() => desk.jobs.live()[0]?.state === 'waiting', within)
  other.child.kill('SIGTERM')
  expect(await other.ended).toMatchObject({ signal: 'SIGTERM' })
})

test('a node that is not there is a job that did not run', async () => {
  await using desk = await openDesk()
  const { code, stderr } = await runStarter(desk, ['true'], { after: '', env: { PATH: process.env['PATH'], WNOD_NODE: '/no/such/node' } }).ended
  expect({ code, stderr: stderr.toString() }).toEqual({ code: 75, stderr: 'wnod: the job did not run: /no/such/node: No such file or directory\n' })
})

test('what of the job’s environment would steer node steers the job alone', async () => {
  const theirs = { LD_LIBRARY_PATH: '/nonexistent', NODE_OPTIONS: '--require /nonexistent/x.cjs', NODE_V8_COVERAGE: '/nonexistent/coverage', OPENSSL_CONF: '/nonexistent' }
  const { env } = await told({ after: '', env: { PATH: process.env['PATH'] ?? '', ...theirs } })
  const entries = env.map((entry) => Buffer.from(entry, 'base64').toString())
  expect(entries).toEqual(expect.arrayContaining(Object.entries(theirs).map(([name, value]) => `${name}=${value}`)))
  expect(entries.filter((entry) => entry.startsWith('WNOD_'))).toEqual([])
})
