import { execFileSync, spawn } from 'node:child_process'
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, credsAuthenticator, type NatsConnection } from 'nats'
import { expect, test } from 'vitest'
import { claims, makeCreds, natsConfig } from '../../cli/farm/creds.ts'
import { hostId } from '../../core/ids.ts'
import { freePort } from '../../kit/socket.ts'
import { Undo } from '../../kit/undo.ts'
import { until } from '../../kit/until.ts'
import { subjects } from '../../wire/subjects.ts'

test('each program may say and hear what it needs, and nothing of the others', async () => {
  await using undo = new Undo()
  const folder = await mkdtemp(join(tmpdir(), 'wnod-'))
  undo.push('folder', () => rm(folder, { recursive: true }))
  const [h1, h2] = [hostId('h1'), hostId('h2')]
  const creds = await makeCreds([h1, h2])
  const port = await freePort()
  const config = join(folder, 'nats.conf')
  await writeFile(config, natsConfig(creds, { port, storeDir: join(folder, 'nats'), name: 'test' }))
  const server = spawn('nats-server', ['-c', config], { stdio: 'ignore' })
  undo.push('server', () => new Promise((resolve) => server.once('exit', resolve) && server.kill()))

  const login = async (program: string): Promise<NatsConnection> => {
    const authenticator = credsAuthenticator(new TextEncoder().encode(creds.programs.get(program) ?? ''))
    const inboxPrefix = subjects.inbox(program)
    const bus = await until(() => connect({ port, authenticator, inboxPrefix, reconnect: false }), { withinMs: 10_000, what: `${program} connects` })
    undo.push(program, () => bus.close())
    return bus
  }
  const controller = await login('controller')
  const bait = await login('bait-h1')

  controller.subscribe(subjects.anyReport, { callback: (_, message) => void message.respond('heard') })
  await controller.flush()
  expect((await bait.request(subjects.report(h1), 'hello', { timeout: 5_000 })).string()).toBe('heard')
  expect((await controller.jetstreamManager().then((manager) => manager.getAccountInfo())).limits.max_streams).toBe(-1)

  bait.subscribe(subjects.look(h1), { callback: (_, message) => void message.respond('seen') })
  await bait.flush()
  expect((await controller.request(subjects.look(h1), 'show me', { timeout: 5_000 })).string()).toBe('seen')
  const unasked = bait.status()
  bait.publish('_INBOX.controller.of-somebody', 'nobody has asked me')
  await expect((async () => { for await (const { type, data } of unasked) if (type === 'error') return String(data) })()).resolves.toMatch(/permission/i)

  await expect(bait.request(subjects.report(h2), 'I am h2', { timeout: 5_000 })).rejects.toThrow(/permission/i)
  const overheard = bait.subscribe(subjects.orders(h2))
  await expect((async () => { for await (const _ of overheard) break })()).rejects.toThrow(/permission/i)
  await expect(connect({ port, reconnect: false })).rejects.toThrow(/authorization/i)
})

test("the shipped nats.conf is one that Debian's server takes", async () => {
  await using undo = new Undo()
  const folder = await mkdtemp(join(tmpdir(), 'wnod-'))
  undo.push('folder', () => rm(folder, { recursive: true }))
  await copyFile(new URL('../../systemd/nats.conf', import.meta.url), join(folder, 'nats.conf'))
  await writeFile(join(folder, 'wnod-claims.conf'), claims(await makeCreds([hostId('h1')])))
  expect(() => execFileSync('nats-server', ['-t', '-c', join(folder, 'nats.conf')], { stdio: 'pipe' })).not.toThrow()
})
