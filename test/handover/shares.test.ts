/** What a job's shared file systems need of the bait: a way for the guest's NFS client, and for nobody else in it. */
import { rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openShares } from '../../bait/job/shares.ts'
import type { Mount } from '../../core/directory.ts'
import { captureLog } from '../../kit/log.ts'
import { freePort } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from '../harness/temp.ts'
import { buildStarter, freshPlace, openDesk, runStarter, sessionOf, starterFolder } from './desk.ts'
import { fakeGuest } from './fake-agent.ts'

beforeAll(buildStarter, 60_000)
afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))
vi.setConfig({ testTimeout: 60_000 })

const mountOf = (port: number, more: Partial<Mount> = {}): Mount => ({ server: '127.0.0.1', port, path: '/export', at: '/tmp', readOnly: false, options: '', ...more })

/** A server that says back what it hears, and knows who came. */
async function echo() {
  const from: number[] = []
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    from.push(socket.remotePort ?? 0)
    sockets.add(socket.on('error', () => undefined))
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = (): void => {
    server.close()
    sockets.forEach((socket) => socket.destroy())
  }
  return { from, port: (server.address() as AddressInfo).port, stop, [Symbol.dispose]: stop }
}

test('bytes go between the NFS client of the guest and the server, from a reserved port to a reserved port', async () => {
  using server = await echo()
  await using guest = await fakeGuest()
  const session = await sessionOf(guest.address)
  const shares = await openShares(session, [mountOf(server.port, { at: '/b/inner' }), mountOf(server.port, { at: '/b', path: '/other', readOnly: true, options: 'soft' })], captureLog().log)
  const [first, second] = shares.mounts
  expect([first, second]).toMatchObject([{ source: '127.0.0.1:/other', at: '/b', readOnly: true, options: 'soft' }, { source: '127.0.0.1:/export', at: '/b/inner' }])
  expect(first?.port).toBe(second?.port)

  const channel = await guest.dial(first?.port ?? 0, 700)
  channel.write('hello')
  expect(String((await once(channel, 'data'))[0])).toBe('hello')
  if (process.getuid?.() === 0) expect(server.from.every((port) => port < 1024)).toBe(true)
  const closed = once(channel, 'close')
  server.stop()
  await closed
  await expect(guest.dial(first?.port ?? 0, 700)).rejects.toThrow()
  shares.close()
  session.close()
})

test('a process of a job is turned away', async () => {
  using server = await echo()
  await using guest = await fakeGuest()
  const session = await sessionOf(guest.address)
  const { log, lines } = captureLog()
  const shares = await openShares(session, [mountOf(server.port)], log)
  await until(() => server.from.length === 1, { withinMs: 10_000, what: 'the look whether the server is there' })
  await expect(guest.dial(shares.mounts[0]?.port ?? 0, 1024)).rejects.toThrow()
  expect(server.from).toHaveLength(1)
  expect(JSON.stringify(lines)).toContain('connection of a job to a shared file system refused')
  shares.close()
  session.close()
})

test('what the mapping says of directories is done before the job is', async () => {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  await using own = await tempFolder()
  const session = await sessionOf(guest.address)
  const run = async (facts: Partial<typeof freshPlace>, contact: 'agent' | 'ssh' = 'agent', args: readonly string[] = []) => {
    const starter = runStarter(desk, ['true'], { input: '', args, cwd: own.path })
    const { freed } = await desk.place(session, contact, { ...freshPlace, ...facts })
    return { ...(await starter.ended), freed: await freed, task: guest.tasks.filter(({ kind }) => kind === 'run').at(-1) }
  }
  const text = ({ stderr }: { readonly stderr: Buffer }): string => stderr.toString()
  const nobody = await freePort()

  const elsewhere = await run({ directory: 'shared', mounts: [mountOf(nobody, { at: '/home' })] })
  expect(elsewhere).toMatchObject({ code: 75, freed: { mustClean: false }, task: undefined })
  expect(text(elsewhere)).toContain('DIRECTORY_NOT_SHARED')
  const agentless = await run({ mounts: [mountOf(nobody)] }, 'ssh')
  expect(text(agentless)).toContain('SHARE_UNSUPPORTED')
  const away = await run({ mounts: [mountOf(nobody)] })
  expect(away).toMatchObject({ freed: { mustClean: false }, task: undefined })
  expect(text(away)).toContain('SHARE_UNREACHABLE')

  expect(await run({ directory: 'home' }, 'agent', ['--stage'])).toMatchObject({ code: 0, task: { stays: false, run: { cwd: null, stage: false } } })
  using server = await echo()
  const shared = await run({ mounts: [mountOf(server.port)] }, 'agent', ['--stage'])
  expect(shared).toMatchObject({ code: 0, task: { stays: true, mounts: [{ at: '/tmp', source: '127.0.0.1:/export' }], run: { stage: false, cwd: Buffer.from(own.path).toString('base64') } } })
  session.close()
})

test('a directory is staged where the mapping says so, and a starter that was not told to does it all the same', async () => {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  await using own = await tempFolder()
  writeFileSync(join(own.path, 'brought along'), 'content')
  const session = await sessionOf(guest.address)
  const starter = runStarter(desk, ['echo', 'done'], { input: '', cwd: own.path })
  await desk.place(session, 'agent', { ...freshPlace, directory: 'stage' })
  expect(await starter.ended).toMatchObject({ code: 0, stdout: Buffer.from('done\n') })
  expect(guest.staged().includes('brought along')).toBe(true)
  session.close()
})

test('a guest that cannot mount says so in a code of its own', async () => {
  await using guest = await fakeGuest({ fails: { step: 'mount', message: 'filer:/export at /home: Permission denied' } })
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const starter = runStarter(desk, ['true'], { input: '' })
  await desk.place(session)
  expect((await starter.ended).stderr.toString()).toMatch(/filer:\/export at \/home: Permission denied.*SHARE_NOT_MOUNTED/)
  session.close()
})
