/**
 * The way from one guest to the servers of the file systems that its job shares with the host. The guest's NFS client connects to a port of its
 * own loopback; its ssh server hands the connection to us, and we take it to the server:
 *
 *   NFS client ─▶ 127.0.0.1:PORT ─(the VWN's ssh connection)─▶ bait, from a reserved port where it may ─▶ server:2049
 *
 * So a guest reaches these servers and nothing else, whatever its network. A server that trusts the user ids that it is told (AUTH_SYS) relies on
 * reserved ports: only root can connect from one. That holds to the end: a guest's connection from any other port, a job's own, goes nowhere.
 */
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { inMountOrder, mountName, type Mount } from '../../core/directory.ts'
import { VwnError } from '../../core/errors.ts'
import { errnoOf } from '../../kit/atomic-file.ts'
import { systemClock } from '../../kit/clock.ts'
import type { Log } from '../../kit/log.ts'
import type { RunTask } from '../../wire/guest.ts'
import type { Incoming, GuestSession } from '../contracts.ts'

export interface OpenShares {
  /** As the guest is told to mount them. */
  readonly mounts: RunTask['mounts']
  /** No connection is taken any more, and none is left; safe to repeat. */
  close(): void
}

/** How long a server may take to accept a connection. */
const connectMs = 5_000
/** Below, only root may bind. */
const unreservedFrom = 1024
/** Of those that mount.nfs and the kernel use themselves. */
const reservedPorts = { first: 665, last: 1023 } as const
const reservedTries = 32

/** The guest can mount these; SHARE_UNREACHABLE when a server accepts no connection. */
export async function openShares(session: GuestSession, mounts: readonly Mount[], log: Log): Promise<OpenShares> {
  const servers = new Map(mounts.map((mount) => [addressOf(mount), mount]))
  await Promise.all([...servers.values()].map(async (server) => (await reach(server)).destroy()))
  const open = new Set<Socket>()
  const ports = new Map<string, number>()
  const closes: (() => void)[] = []
  const close = (): void => {
    for (const end of closes.splice(0)) end()
    for (const socket of open) socket.destroy()
  }
  const take = async (server: Mount, { fromPort, accept, refuse }: Incoming): Promise<void> => {
    if (fromPort >= unreservedFrom) {
      log.warn({ server: server.server, fromPort }, 'connection of a job to a shared file system refused')
      return refuse()
    }
    try {
      const socket = await reach(server)
      open.add(socket.once('close', () => open.delete(socket)))
      join(accept(), socket)
    } catch (error) {
      log.warn({ err: error }, 'shared file system out of reach')
      refuse()
    }
  }
  try {
    for (const [address, server] of servers) {
      const listener = await session.listen((incoming) => void take(server, incoming))
      ports.set(address, listener.port)
      closes.push(listener.close)
    }
  } catch (error) {
    close()
    throw error
  }
  return {
    mounts: inMountOrder(mounts).map((mount) => ({ source: mountName(mount), port: ports.get(addressOf(mount)) ?? 0, at: mount.at, readOnly: mount.readOnly, options: mount.options })),
    close,
  }
}

const addressOf = ({ server, port }: Mount): string => `${server} ${port}`

/** The next reserved port to try: one that was just used may still be remembered by the server. */
let reserved: number = reservedPorts.last

/** A connection to this server, from a reserved port where we are root and one is free. */
async function reach({ server, port }: Mount): Promise<Socket> {
  try {
    for (let tried = 0; tried < reservedTries; tried += 1) {
      reserved = reserved === reservedPorts.first ? reservedPorts.last : reserved - 1
      try {
        return await connected(server, port, reserved)
      } catch (error) {
        const errno = errnoOf(error)
        if (errno === 'EACCES') break
        if (errno !== 'EADDRINUSE' && errno !== 'EADDRNOTAVAIL') throw error
      }
    }
    return await connected(server, port)
  } catch (cause) {
    throw new VwnError('SHARE_UNREACHABLE', { server, port }, { cause })
  }
}

function connected(host: string, port: number, localPort?: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true, keepAlive: true, ...(localPort === undefined ? {} : { localPort }) })
    const late = systemClock.after(connectMs, () => socket.destroy(new Error(`no answer within ${connectMs} ms`)))
    socket.once('close', () => late.cancel())
    socket.once('error', reject)
    socket.once('connect', () => {
      late.cancel()
      socket.removeListener('error', reject)
      resolve(socket.on('error', () => socket.destroy()))
    })
  })
}

/** Bytes go both ways until one side ends or breaks; then the other does. */
function join(guest: Duplex, server: Socket): void {
  guest.on('error', () => guest.destroy())
  guest.once('close', () => server.destroy())
  server.once('close', () => guest.destroy())
  guest.pipe(server)
  server.pipe(guest)
}
