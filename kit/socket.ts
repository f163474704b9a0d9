import { chmodSync, lstatSync } from 'node:fs'
import { mkdir, unlink } from 'node:fs/promises'
import type { Server as HttpServer } from 'node:http'
import { connect, createServer, type AddressInfo, type Server } from 'node:net'
import { dirname } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { errnoOf, writeFailure } from './atomic-file.ts'
import { checkSocketPath } from './paths.ts'

/**
 * The server listens on this path with these permissions from the first moment. A stale socket of a program that died is
 * replaced; a live one, or a file that is no socket, is refused. Closing the server removes the path.
 */
export async function listenUnix(server: Server, path: string, mode: number): Promise<void> {
  checkSocketPath(path)
  await mkdir(dirname(path), { recursive: true })
  if (await someoneAnswers(path)) throw new VwnError('SOCKET_IN_USE', { path })
  if (isSocket(path)) await unlink(path)
  await listening(server, { path }, () => {
    const before = process.umask(0o777 & ~mode) // listen() binds at once, so nobody can slip in before the chmod
    try {
      server.listen(path)
    } finally {
      process.umask(before)
    }
  })
  chmodSync(path, mode)
}

/** The server listens on this port, or on a free one for 0; returns the port. */
export async function listenTcp(server: Server, port: number, host = '127.0.0.1'): Promise<number> {
  await listening(server, { host, port }, () => server.listen(port, host))
  return (server.address() as AddressInfo).port
}

/** The address of what listens there. */
export const httpUrl = (host: string, port: number): string => `http://${host.includes(':') ? `[${host}]` : host}:${port}`

/** It takes no more requests, and nobody is connected to it. */
export async function closeHttp(server: HttpServer): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeAllConnections()
  await closed
}

/** A port that was free a moment ago, for programs that cannot be handed a socket. */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  const [port = 0] = await freePorts(1, host)
  return port
}

/** So many of them, no two the same. */
export async function freePorts(count: number, host = '127.0.0.1'): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(servers.map((server) => listenTcp(server, 0, host)))
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** True when a program accepts connections there. */
export function someoneAnswers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    const answer = (answers: boolean) => () => {
      socket.destroy()
      resolve(answers)
    }
    socket.once('connect', answer(true))
    socket.once('error', (error) => answer(errnoOf(error) === 'EAGAIN')()) // a full backlog is somebody's
  })
}

const isSocket = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false })?.isSocket() ?? false

function listening(server: Server, where: { path: string } | { host: string; port: number }, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      server.off('error', failed)
      resolve()
    }
    const failed = (cause: Error) => {
      server.off('listening', done)
      reject(listenFailure(where, cause))
    }
    server.once('listening', done)
    server.once('error', failed)
    listen()
  })
}

function listenFailure(where: { path: string } | { host: string; port: number }, cause: Error): VwnError {
  if ('path' in where) return errnoOf(cause) === 'EADDRINUSE' ? new VwnError('SOCKET_IN_USE', where, { cause }) : writeFailure(where.path, cause)
  return new VwnError('PORT_IN_USE', where, { cause })
}
