/**
 * The one ssh connection of a VWN. Both keys were made for this VWN alone and exchanged outside the network, so there is nothing to
 * trust on first use: another host key is an impostor.
 */
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Client, utils, type AcceptConnection, type ClientChannel, type ConnectConfig, type RejectConnection, type TcpConnectionDetails } from 'ssh2'
import { isVwnError, VwnError } from '../../core/errors.ts'
import { systemClock, type Clock, type Timer } from '../../kit/clock.ts'
import { agentSocketPath } from '../../wire/guest.ts'
import type { GuestAddress, GuestSession, Incoming } from '../contracts.ts'

/** How long a server may take from its first byte to a finished login; emulated guests need seconds. */
const loginMs = 60_000
/** A server that has not said its first word by then is no server. */
const firstByteMs = 10_000
/**
 * How long a connection may stay silent before there is a second one beside it. QEMU's port forward accepts before the guest listens, and sends
 * a SYN that the guest has lost again only after six seconds: because its card was not up yet, or, in one clone of six without agent, because
 * it was sent to the card's old address at the moment in which the card got its own. Longer each time, for each asking costs a busy guest another process.
 */
const silence = { firstMs: 500, grows: 1.3, longestMs: 2_000 } as const
/** A guest that has not answered for half a minute is dead to us. */
const keepalive = { everyMs: 5_000, unansweredMax: 6 }

/** A server that has a key of this kind is quick with this exchange: see KeyKind. */
const kexFor = (hostKey: string): NonNullable<ConnectConfig['algorithms']> =>
  hostKey.startsWith('ecdsa-sha2-nistp256 ')
    ? { kex: ['ecdh-sha2-nistp256'], serverHostKey: ['ecdsa-sha2-nistp256'] }
    : { kex: ['curve25519-sha256', 'curve25519-sha256@libssh.org'], serverHostKey: ['ssh-ed25519'] }

/** Quick ones first. In an emulated Debian 12 guest on a busy machine AES-GCM carried half as much again as ChaCha20, and logged in twice as fast. */
const algorithms: NonNullable<ConnectConfig['algorithms']> = {
  cipher: ['aes128-gcm@openssh.com', 'aes128-ctr', 'chacha20-poly1305@openssh.com'],
  hmac: ['hmac-sha2-256-etm@openssh.com', 'hmac-sha2-256', 'hmac-sha1'],
  compress: ['none'],
}

export interface ConnectOptions {
  /** Told when the server has said its first word. */
  readonly onWord?: () => void
  readonly clock?: Clock
  /** Socket of the agent in the guest, for tests. */
  readonly agentSocket?: string
  /** For measurements. */
  readonly algorithms?: ConnectConfig['algorithms']
}

/** One attempt to log in to a guest as root; the session is open when it resolves. */
export async function connectGuest(address: GuestAddress, signal: AbortSignal, options: ConnectOptions = {}): Promise<GuestSession> {
  const { clock = systemClock, agentSocket = agentSocketPath } = options
  const socket = await openSocket(address, clock, signal)
  options.onWord?.()
  const client = new Client()
  let close: () => void = () => {}
  const closed = new Promise<void>((resolve) => (close = resolve))
  let keyWrong = false
  try {
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => reject(new VwnError('CANCELLED', { what: 'login to the guest' }, { cause: signal.reason }))
      signal.addEventListener('abort', abort, { once: true })
      client.on('close', () => {
        signal.removeEventListener('abort', abort)
        close()
        reject(new Error('the connection was closed'))
      })
      client.on('error', reject) // stays on: an error of an open session shows as `closed`
      client.once('ready', () => {
        signal.removeEventListener('abort', abort)
        resolve()
      })
      client.connect({
        sock: socket,
        username: 'root',
        privateKey: address.clientKey,
        authHandler: ['publickey'], // its own would ask for a login without a key first
        algorithms: options.algorithms ?? { ...algorithms, ...kexFor(address.hostKey) },
        readyTimeout: loginMs,
        hostVerifier: (shown: Buffer) => {
          keyWrong = !shown.equals(publicKeyBytes(address.hostKey))
          return !keyWrong
        },
      })
      if (signal.aborted) abort()
    })
  } catch (error) {
    client.destroy()
    socket.destroy()
    throw loginFailure(address, error, keyWrong)
  }
  return session(client, closed, { socket, agentSocket, life: keepAlive(client, closed, clock) })
}

/** Logs in as soon as the guest's server is up; gives up on a wrong key, and with the last failure when `signal` aborts. */
export async function connectWhenUp(address: GuestAddress, signal: AbortSignal, options: ConnectOptions & { pauseMs?: number } = {}): Promise<GuestSession> {
  const { clock = systemClock, pauseMs = 100 } = options
  for (;;) {
    try {
      return await connectGuest(address, signal, options)
    } catch (error) {
      if (isVwnError(error, 'GUEST_KEY_WRONG') || signal.aborted) throw error
      await clock.sleep(pauseMs, signal).catch(() => undefined)
      if (signal.aborted) throw error
    }
  }
}

/**
 * Asks again and again for the end of a forward that there is not: every server answers that, and whatever it answers, it is alive. The
 * library's own way cannot be told to leave a guest alone that stands still.
 */
function keepAlive(client: Client, closed: Promise<void>, clock: Clock): (still: boolean) => void {
  let unanswered = 0
  let timer: Timer | null = null
  const ask = (): void => {
    if (unanswered >= keepalive.unansweredMax) return void client.destroy()
    unanswered += 1
    try {
      client.unforwardIn('', 0, () => (unanswered = 0))
    } catch {
      // it is on its way to be closed
    }
  }
  const stand = (still: boolean): void => {
    timer?.cancel()
    unanswered = 0
    timer = still ? null : clock.every(keepalive.everyMs, ask)
  }
  stand(false)
  void closed.then(() => timer?.cancel())
  return stand
}

function session(client: Client, closed: Promise<void>, { socket, agentSocket, life }: { socket: Socket; agentSocket: string; life: (still: boolean) => void }): GuestSession {
  const channel = (what: string, ask: (answer: (error: Error | undefined, channel: ClientChannel) => void) => void, signal?: AbortSignal): Promise<ClientChannel> =>
    new Promise((resolve, reject) => {
      const refuse = (cause: unknown): void => reject(new VwnError('GUEST_CHANNEL_REFUSED', { what }, { cause }))
      const abort = (): void => reject(new VwnError('CANCELLED', { what }, { cause: signal?.reason }))
      if (signal?.aborted) return abort()
      signal?.addEventListener('abort', abort, { once: true })
      void closed.then(() => refuse(new Error('the connection to the guest is gone')))
      try {
        ask((error, opened) => {
          signal?.removeEventListener('abort', abort)
          if (error !== undefined && error !== null) refuse(error)
          else if (signal?.aborted) opened.destroy()
          else resolve(opened)
        })
      } catch (error) {
        refuse(error)
      }
    })
  return {
    client,
    closed,
    openAgent: (signal): Promise<Duplex> =>
      channel('agent', (answer) => void client.openssh_forwardOutStreamLocal(agentSocket, answer), signal),
    async exec(command, signal, terminal) {
      const ask = (): Promise<ClientChannel> =>
        channel('exec', (answer) => void (terminal === undefined ? client.exec(command, answer) : client.exec(command, { pty: terminal }, answer)), signal)
      for (let tried = 1; ; tried += 1) {
        try {
          return await ask()
        } catch (error) {
          if (tried === execTries || !droppedUnheard(error)) throw error
        }
      }
    },
    listen: (take) => listen(client, closed, take),
    close: () => client.destroy(),
    stand: life,
    get carried() {
      return { toGuestBytes: socket.bytesWritten, fromGuestBytes: socket.bytesRead }
    },
  }
}

const loopback = '127.0.0.1'

function listen(client: Client, closed: Promise<void>, take: (incoming: Incoming) => void): ReturnType<GuestSession['listen']> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: unknown): void => reject(new VwnError('GUEST_CHANNEL_REFUSED', { what: 'port' }, { cause }))
    void closed.then(() => refuse(new Error('the connection to the guest is gone')))
    client.forwardIn(loopback, 0, (error, port) => {
      if (error !== undefined && error !== null) return refuse(error)
      const hear = ({ destPort, srcPort }: TcpConnectionDetails, accept: AcceptConnection<ClientChannel>, reject: RejectConnection): void => {
        if (destPort === port) take({ fromPort: srcPort, accept, refuse: reject })
      }
      client.on('tcp connection', hear)
      const close = (): void => {
        client.off('tcp connection', hear)
        try {
          client.unforwardIn(loopback, port)
        } catch {
          // it went with the connection
        }
      }
      resolve({ port, close })
    })
  })
}

/**
 * Dropbear (2022.83) closes a fresh channel without an answer to its `exec` when the end of an earlier one comes at the same moment.
 * The command was not run then, and asking once more is all it takes; what must not run twice guards itself.
 */
const execTries = 4
const droppedUnheard = (error: unknown): boolean => isVwnError(error, 'GUEST_CHANNEL_REFUSED') && error.cause instanceof Error && error.cause.message === 'Unable to exec'

/** Connected, and the server has begun to speak: on the first of several connections, where it takes several. */
function openSocket({ host, port }: GuestAddress, clock: Clock, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const asked = new Set<Socket>()
    const settle = (act: () => void): void => {
      late.cancel()
      next.cancel()
      signal.removeEventListener('abort', abort)
      act()
      for (const socket of asked) socket.removeAllListeners().on('error', () => {}).destroy()
    }
    const fail = (cause: unknown): void => settle(() => reject(new VwnError('GUEST_UNREACHABLE', { host, port }, { cause })))
    const abort = (): void => fail(signal.reason)
    const take = (socket: Socket): void =>
      settle(() => {
        asked.delete(socket)
        resolve(socket.removeAllListeners())
      })
    const ask = (silentMs: number): Timer => {
      const socket = connect({ host, port, noDelay: true })
      asked.add(socket)
      socket.once('error', fail)
      socket.once('readable', () => (socket.readableLength > 0 ? take(socket) : fail(new Error('it closed the connection'))))
      return clock.after(silentMs, () => (next = ask(Math.min(silentMs * silence.grows, silence.longestMs))))
    }
    let next = ask(silence.firstMs)
    const late = clock.after(firstByteMs, () => fail(new Error(`no word from it for ${firstByteMs} ms`)))
    signal.addEventListener('abort', abort, { once: true })
    if (signal.aborted) abort()
  })
}

function loginFailure(address: GuestAddress, cause: unknown, keyWrong: boolean): VwnError {
  if (isVwnError(cause)) return cause
  const where = { host: address.host, port: address.port }
  if (keyWrong) return new VwnError('GUEST_KEY_WRONG', where)
  const level = cause instanceof Error && 'level' in cause ? cause.level : null
  return new VwnError(level === 'client-authentication' ? 'GUEST_AUTH_REFUSED' : 'GUEST_UNREACHABLE', where, { cause })
}

function publicKeyBytes(line: string): Buffer {
  const key = utils.parseKey(line)
  if (key instanceof Error) throw new VwnError('GUEST_KEY_WRONG', { why: 'the key on record cannot be read' }, { cause: key })
  return key.getPublicSSH()
}
