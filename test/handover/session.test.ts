/** A guest that does not hear the first connection is asked again; whether it lives is asked over its session, unless it stands still. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { Server, type Connection } from 'ssh2'
import { expect, test } from 'vitest'
import { connectGuest } from '../../bait/ssh/session.ts'
import { newKeyPair } from '../../bait/vwns/keys.ts'
import { fakeClock, type FakeClock } from '../../kit/clock.ts'
import { listenTcp } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { tinyGuest, whyNoTinyGuest } from './tiny-guest.ts'

const everyMs = 5_000
const soon = { withinMs: 5_000 }

/** A server that counts what it is asked, and answers while it may. */
async function server() {
  const [hostKey, clientKey] = [newKeyPair(), newKeyPair()]
  const state = { asked: 0, answers: true, deafTo: 0, silent: new Set<Socket>() }
  const ssh = new Server({ hostKeys: [hostKey.secret] }, (connection: Connection) => {
    connection.on('authentication', (login) => login.accept())
    connection.on('request', (_accept, reject) => {
      state.asked += 1
      if (state.answers) reject?.()
    })
    connection.on('error', () => undefined)
  })
  const door = createServer((socket) => {
    if (state.silent.size === state.deafTo) return ssh.injectSocket(socket)
    state.silent.add(socket.on('error', () => undefined).resume())
  })
  const port = await listenTcp(door, 0)
  return {
    state,
    address: { host: '127.0.0.1', port, hostKey: hostKey.shared, clientKey: clientKey.secret },
    async [Symbol.asyncDispose]() {
      door.close()
      await once(door, 'close')
    },
  }
}

const connected = async (address: Parameters<typeof connectGuest>[0], clock: FakeClock) => {
  const session = await connectGuest(address, AbortSignal.timeout(10_000), { clock })
  let open = true
  void session.closed.then(() => (open = false))
  return { session, isOpen: () => open }
}

test('a connection that a port forward took and its guest lost gets another one beside it, soon and then ever later, until one is answered', async () => {
  await using guest = await server()
  guest.state.deafTo = 3
  const clock = fakeClock()
  let words = 0
  const coming = connectGuest(guest.address, AbortSignal.timeout(10_000), { clock, onWord: () => (words += 1) })
  for (const [index, ms] of [500, 650, 845].entries()) {
    await until(() => guest.state.silent.size === index + 1, soon)
    await clock.advance(ms - 1)
    expect([guest.state.silent.size, words]).toEqual([index + 1, 0])
    await clock.advance(1)
  }
  const session = await coming
  expect(words).toBe(1)
  await until(() => [...guest.state.silent].every((socket) => socket.closed), soon)
  session.close()
  await session.closed
  expect(clock.pending).toBe(0)
})

test('a guest that never says a word is given up after ten seconds, with all connections to it', async () => {
  await using guest = await server()
  guest.state.deafTo = Infinity
  const clock = fakeClock()
  const failed = expect(connectGuest(guest.address, AbortSignal.timeout(10_000), { clock })).rejects.toMatchObject({ code: 'GUEST_UNREACHABLE', cause: { message: 'no word from it for 10000 ms' } })
  await clock.advance(10_000)
  await failed
  await until(() => guest.state.silent.size > 4 && [...guest.state.silent].every((socket) => socket.closed), soon)
  expect(clock.pending).toBe(0)
})

test('a session is asked every five seconds, not while its guest stands still, and ended after half a minute without an answer', async () => {
  await using guest = await server()
  const clock = fakeClock()
  const { session, isOpen } = await connected(guest.address, clock)
  for (let asked = 1; asked <= 10; asked += 1) {
    await clock.advance(everyMs)
    await until(() => guest.state.asked === asked, soon)
  }
  session.stand(true)
  session.stand(true)
  await clock.advance(600_000)
  session.stand(false)
  await clock.advance(everyMs)
  await until(() => guest.state.asked >= 11, soon)
  expect([guest.state.asked, isOpen()]).toEqual([11, true])
  guest.state.answers = false
  for (let asked = 12; asked <= 17; asked += 1) {
    await clock.advance(everyMs)
    await until(() => guest.state.asked === asked, soon)
  }
  expect(isOpen()).toBe(true)
  await clock.advance(everyMs)
  await until(() => !isOpen(), soon)
  expect(clock.pending).toBe(0)
})

test.skipIf(whyNoTinyGuest() !== null)('dropbear answers as well', async () => {
  await using guest = await tinyGuest()
  const clock = fakeClock()
  const { session, isOpen } = await until(() => connected(guest.address, clock), { withinMs: 8_000, what: 'login' })
  for (let times = 0; times < 20; times += 1) {
    await clock.advance(everyMs)
    const channel = await session.exec('true') // its answer comes after that to the question before it
    channel.resume()
    await once(channel, 'close')
  }
  expect(isOpen()).toBe(true)
  session.close()
})
