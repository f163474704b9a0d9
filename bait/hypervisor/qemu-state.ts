/**
 * How a guest's state leaves QEMU and comes back, without its memory, which is in a file. QEMU's sandbox lets it start no program and
 * Node cannot hand it a descriptor, so the state passes through a socket, in both directions one connection and then end-of-file:
 *
 *   save      we listen ◀── QEMU connects (`migrate`), writes all, closes
 *   restore   QEMU listens (`migrate-incoming`) ◀── we connect, write all, close
 *
 * Neither waits for ever, but both leave the deadline and the death of QEMU to `signal`.
 */
import { createServer, connect, type Server, type Socket } from 'node:net'
import { VwnError } from '../../core/errors.ts'
import { tryUnlink } from '../../kit/atomic-file.ts'
import { gate } from '../../kit/service.ts'
import { listenUnix } from '../../kit/socket.ts'
import type { Qmp } from './qmp.ts'

/** Device state is tens of kilobytes, and ours to hold; what is larger has guest memory in it by mistake. */
const stateBytesMax = 64 * 1024 * 1024

/** The state of a stopped guest; TEMPLATE_NOT_SAVED, or what aborted the signal. QEMU has written to its disks for the last time. */
export async function takeState(qmp: Qmp, path: string, signal: AbortSignal): Promise<Uint8Array> {
  const ended = watchMigration(qmp)
  await prepare(qmp)
  const receiver = await receive(path)
  try {
    await qmp.execute('migrate', { uri: `unix:${path}` })
    const outcome = await orAborted(ended, signal)
    if (outcome === 'failed') throw new VwnError('TEMPLATE_NOT_SAVED', { why: await reason(qmp) })
    return await orAborted(receiver.bytes, signal)
  } finally {
    receiver.close()
  }
}

/** A waiting QEMU has taken the state, and its guest is stopped where it stood; what aborted the signal otherwise: a QEMU that refuses, ends. */
export async function giveState(qmp: Qmp, path: string, state: Uint8Array, signal: AbortSignal): Promise<void> {
  const ended = watchMigration(qmp)
  await prepare(qmp)
  await qmp.execute('migrate-incoming', { uri: `unix:${path}` })
  const socket = connect(path)
  socket.on('error', () => undefined) // QEMU itself says why it does not read on
  socket.end(state)
  try {
    const outcome = await orAborted(ended, signal)
    if (outcome === 'failed') throw new VwnError('TEMPLATE_REFUSED', { said: await reason(qmp) })
  } finally {
    socket.destroy()
    await tryUnlink(path)
  }
}

/** Both sides must know that the memory is not in the stream. */
async function prepare(qmp: Qmp): Promise<void> {
  const capabilities = ['x-ignore-shared', 'events'].map((capability) => ({ capability, state: true }))
  await qmp.execute('migrate-set-capabilities', { capabilities })
}

/** QEMU's own word that all has passed, or that it has not; asked for before anything can be missed. */
function watchMigration(qmp: Qmp): Promise<'completed' | 'failed'> {
  return new Promise((resolve) =>
    qmp.onEvent(({ event, data }) => {
      const status = event === 'MIGRATION' && typeof data === 'object' && data !== null && 'status' in data ? data.status : null
      if (status === 'completed') resolve('completed')
      if (status === 'failed' || status === 'cancelled') resolve('failed')
    }),
  )
}

async function reason(qmp: Qmp): Promise<string> {
  const answer = await qmp.execute('query-migrate').catch(() => null)
  return typeof answer === 'object' && answer !== null && 'error-desc' in answer ? String(answer['error-desc']) : 'it did not say why'
}

async function receive(path: string): Promise<{ bytes: Promise<Uint8Array>; close(): void }> {
  const chunks: Buffer[] = []
  let length = 0
  const all = gate()
  all.opened.catch(() => undefined) // nobody asks any more when something else went wrong first
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', (cause) => all.refuse(new VwnError('TEMPLATE_NOT_SAVED', { why: 'the state was cut short' }, { cause })))
    socket.on('end', () => {
      if (length > 0) all.open() // somebody who only looks whether we are there sends nothing
    })
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      length += chunk.length
      if (length <= stateBytesMax) return
      all.refuse(new VwnError('TEMPLATE_NOT_SAVED', { why: 'the state is too large', stateBytesMax }))
      socket.destroy()
    })
  })
  await listenUnix(server, path, 0o600)
  return {
    bytes: all.opened.then(() => Buffer.concat(chunks)),
    close() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

/** The promise's outcome, or what aborted the signal if that comes first. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason as Error)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    promise.finally(() => signal.removeEventListener('abort', abort)).then(resolve, reject)
  })
}
