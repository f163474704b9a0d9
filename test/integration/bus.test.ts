import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createUser } from 'nkeys.js'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { connectBus, type Bus, type BusOptions } from '../../kit/bus.ts'
import { systemClock } from '../../kit/clock.ts'
import { captureLog } from '../../kit/log.ts'
import type { Kit } from '../../kit/service.ts'
import { freePort } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { startNats } from '../harness/nats.ts'
import { tempFolder } from '../harness/temp.ts'

const message = z.strictObject({ n: z.int() })
const soon = { withinMs: 20_000 }

function kitOf(signal = new AbortController().signal) {
  const { log, lines } = captureLog()
  const kit: Kit = { clock: systemClock, log, signal }
  return { kit, lines }
}

const connectTo = (kit: Kit, url: string, options: Partial<BusOptions> = {}): Promise<Bus> =>
  connectBus(kit, { servers: [url], name: 'test', firstConnectMs: 10_000, ...options })

test('messages and answers arrive checked', async () => {
  await using server = await startNats()
  const { kit } = kitOf()
  await using bait = await connectTo(kit, server.url, { inboxPrefix: '_INBOX.bait-h1' })
  await using controller = await connectTo(kit, server.url)

  const seen: unknown[] = []
  using _orders = bait.subscribe('orders.*', message, (order, subject) => void seen.push([subject, order]))
  using _reports = controller.answer('report', message, ({ n }) => ({ n: n + 1 }))
  await until(async () => (await bait.request('report', { n: 1 }, { answer: message, timeoutMs: 500 })).n === 2, soon)
  controller.publish('orders.h1', { n: 7 })
  await until(() => seen.length === 1, soon)
  expect(seen).toEqual([['orders.h1', { n: 7 }]])
})

test('what nobody can read is dropped and counted, and stops nothing', async () => {
  await using server = await startNats()
  const { kit, lines } = kitOf()
  await using bus = await connectTo(kit, server.url)
  const seen: number[] = []
  using _all = bus.subscribe('x', message, ({ n }) => void seen.push(n))
  const garbage = ['', 'garbage', '{"n":', '[]', '{"n":"1"}', '{"n":1,"more":1}', '"\ud800"']
  for (const text of garbage) bus.nats.publish('x', text)
  bus.nats.publish('x', new Uint8Array([0xff, 0xfe, 0x00]))
  bus.publish('x', { n: 1 })
  await until(() => seen.length === 1, soon)
  expect(bus.dropped).toBe(garbage.length + 1)
  expect(lines.filter((line) => line.level === 'warn').map((line) => line['dropped'])).toEqual([1])
  expect(lines.filter((line) => line.msg === 'message dropped')).toHaveLength(bus.dropped)
})

test('a request learns why it has no good answer', async () => {
  await using server = await startNats()
  const { kit, lines } = kitOf()
  await using bus = await connectTo(kit, server.url)
  const ask = (subject: string, body: unknown = { n: 1 }) => bus.request(subject, body, { answer: message, timeoutMs: 300 })

  using _odd = bus.answer('odd', message, () => ({ n: 'one' }))
  using _fails = bus.answer('fails', message, () => Promise.reject(new Error('the disk\nis on fire')))
  using _slow = bus.answer('slow', message, () => new Promise(() => undefined))
  await bus.nats.flush()
  await expect(ask('nobody')).rejects.toMatchObject({ code: 'BUS_NO_ANSWER' })
  await expect(ask('slow')).rejects.toMatchObject({ code: 'BUS_NO_ANSWER' })
  await expect(ask('odd')).rejects.toMatchObject({ code: 'BUS_BAD_REPLY' })
  await expect(ask('odd', { m: 1 })).rejects.toMatchObject({ code: 'BUS_REFUSED', facts: { why: expect.stringContaining('not understood') as string } })
  await expect(ask('fails')).rejects.toMatchObject({ code: 'BUS_REFUSED', facts: { why: 'the disk is on fire' } })
  expect(lines.find((line) => line.msg === 'request handler failed')).toBeDefined()
})

test('a handler that fails is logged and called again for the next message', async () => {
  await using server = await startNats()
  const { kit, lines } = kitOf()
  await using bus = await connectTo(kit, server.url)
  let calls = 0
  using _failing = bus.subscribe('x', message, () => {
    calls++
    throw new Error('boom')
  })
  bus.publish('x', { n: 1 })
  bus.publish('x', { n: 2 })
  await until(() => calls === 2 && lines.filter((line) => line.msg === 'message handler failed').length === 2, soon)
})

test('a server that dies and comes back is found again, subscriptions and all', async () => {
  await using server = await startNats()
  const { kit } = kitOf()
  await using bus = await connectTo(kit, server.url)
  const seen: number[] = []
  let changes = 0
  bus.changed(() => changes++)
  using _all = bus.subscribe('x', message, ({ n }) => void seen.push(n))
  await server.kill()
  await until(() => !bus.connected, soon)
  await expect(bus.request('x', { n: 0 }, { answer: message, timeoutMs: 200 })).rejects.toMatchObject({ code: 'BUS_NO_ANSWER' })
  await server.start()
  await until(() => bus.connected, soon)
  bus.publish('x', { n: 5 })
  await until(() => seen.includes(5), soon)
  expect(changes).toBe(2)
})

test('a closed bus takes no messages and throws nothing but answers', async () => {
  await using server = await startNats()
  const { kit } = kitOf()
  const bus = await connectTo(kit, server.url)
  await bus.close()
  await bus.close()
  bus.publish('x', { n: 1 })
  await expect(bus.request('x', { n: 1 }, { answer: message, timeoutMs: 100 })).rejects.toMatchObject({ code: 'BUS_NO_ANSWER' })
})

test('no server is said so when there is a limit, and waited for when there is none', async () => {
  const { kit } = kitOf()
  const nowhere = `nats://127.0.0.1:${await freePort()}`
  await expect(connectTo(kit, nowhere, { firstConnectMs: 300 })).rejects.toMatchObject({ code: 'BUS_UNREACHABLE', facts: { servers: nowhere } })

  const stop = new AbortController()
  const waiting = connectTo(kitOf(stop.signal).kit, nowhere, { firstConnectMs: null })
  stop.abort()
  await expect(waiting).rejects.toMatchObject({ code: 'CANCELLED' })

  await using server = await startNats()
  await server.kill()
  const patient = connectTo(kit, server.url, { firstConnectMs: null })
  await server.start()
  await using bus = await patient
  expect(bus.connected).toBe(true)
})

test('wrong credentials are refused at once, right ones accepted', async () => {
  await using folder = await tempFolder()
  const file = (name: string) => join(folder.path, name)
  const [known, stranger] = [createUser(), createUser()]
  await writeFile(file('nats.conf'), `authorization { users = [ { nkey: ${known.getPublicKey()} } ] }\n`)
  await writeFile(file('known.nk'), known.getSeed())
  await writeFile(file('stranger.nk'), `# a stranger\n${new TextDecoder().decode(stranger.getSeed())}\n`)
  await using server = await startNats(['--config', file('nats.conf')])
  const { kit } = kitOf()
  await expect(connectTo(kit, server.url, { nkeyFile: file('stranger.nk') })).rejects.toMatchObject({ code: 'BUS_DENIED' })
  await expect(connectTo(kit, server.url)).rejects.toMatchObject({ code: 'BUS_DENIED' })
  await expect(connectTo(kit, server.url, { credsFile: file('absent') })).rejects.toMatchObject({ code: 'FILE_UNREADABLE' })
  await using bus = await connectTo(kit, server.url, { nkeyFile: file('known.nk') })
  expect(bus.connected).toBe(true)
})
