/**
 * A client of QEMU's control socket (QMP): one JSON object a line, a greeting, a handshake, then commands answered by id and
 * events in between. QEMU serves one client at a time; the next one is let in when this one has closed.
 */
import { connect, type Socket } from 'node:net'
import { z } from 'zod'
import { VwnError } from '../../core/errors.ts'
import type { Clock } from '../../kit/clock.ts'
import { LineCutter } from '../lines.ts'

export interface QmpEvent {
  readonly event: string
  readonly data: unknown
}

export interface Qmp {
  /** The command's answer; HYPERVISOR_REFUSED, or HYPERVISOR_SILENT when there is none in time or the connection ends. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>
  onEvent(listener: (event: QmpEvent) => void): void
  /** Resolves once, when the connection is gone. */
  readonly closed: Promise<void>
  close(): void
}

const lineBytesMax = 4 * 1024 * 1024

const messageSchema = z.union([
  z.object({ QMP: z.unknown() }).transform(() => ({ is: 'greeting' as const })),
  z.object({ id: z.number(), return: z.unknown() }).transform(({ id, return: answer }) => ({ is: 'answer' as const, id, answer })),
  z.object({ id: z.number(), error: z.object({ desc: z.string() }) }).transform(({ id, error }) => ({ is: 'error' as const, id, why: error.desc })),
  z.object({ event: z.string(), data: z.unknown().optional() }).transform(({ event, data }) => ({ is: 'event' as const, event, data })),
])

interface Waiting {
  answered(answer: unknown): void
  failed(error: VwnError): void
}

/** Connects and shakes hands; HYPERVISOR_SILENT when that is not done in time. */
export async function openQmp(path: string, options: { clock: Clock; withinMs?: number }): Promise<Qmp> {
  const { clock, withinMs = 10_000 } = options
  const socket = connect(path)
  const waiting = new Map<number, Waiting>()
  const listeners: ((event: QmpEvent) => void)[] = []
  let lastId = 0

  const silent = (what: string, cause?: unknown) => new VwnError('HYPERVISOR_SILENT', { socket: path, what, withinMs }, { cause })
  const await_ = <T>(id: number, what: string): Promise<T> =>
    new Promise<unknown>((resolve, reject) => {
      const done = (): void => {
        timer.cancel()
        waiting.delete(id)
      }
      const timer = clock.after(withinMs, () => waiting.get(id)?.failed(silent(what)))
      waiting.set(id, {
        answered: (answer) => (done(), resolve(answer)),
        failed: (error) => (done(), reject(error)),
      })
    }) as Promise<T>

  const take = (line: Buffer): void => {
    const message = parsed(line)
    if (message === null) return
    if (message.is === 'greeting') waiting.get(0)?.answered(undefined)
    else if (message.is === 'answer') waiting.get(message.id)?.answered(message.answer)
    else if (message.is === 'error') waiting.get(message.id)?.failed(new VwnError('HYPERVISOR_REFUSED', { socket: path, why: message.why }))
    else for (const listener of listeners) listener({ event: message.event, data: message.data })
  }
  const closed = whenClosed(socket, (cause) => {
    for (const one of [...waiting.values()]) one.failed(silent('the connection ended', cause))
  })
  const lines = new LineCutter(lineBytesMax)
  socket.on('data', (chunk) => lines.push(chunk, take))

  const execute = async (command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> => {
    if (socket.destroyed) throw silent('the connection has ended')
    const id = ++lastId
    socket.write(`${JSON.stringify({ execute: command, ...(args && { arguments: args }), id })}\n`)
    return await_(id, command)
  }
  try {
    await await_(0, 'greeting')
    await execute('qmp_capabilities')
  } catch (error) {
    socket.destroy()
    throw error
  }
  return {
    execute,
    onEvent: (listener) => void listeners.push(listener),
    closed,
    close: () => void socket.destroy(),
  }
}

function whenClosed(socket: Socket, andThen: (cause: unknown) => void): Promise<void> {
  let cause: unknown
  socket.on('error', (error) => (cause = error))
  return new Promise((resolve) =>
    socket.on('close', () => {
      andThen(cause)
      resolve()
    }),
  )
}

function parsed(line: Buffer): z.output<typeof messageSchema> | null {
  try {
    return messageSchema.parse(JSON.parse(line.toString('utf8')))
  } catch {
    return null // QEMU is ours, but a line we cannot read must not end us: the deadline of its command says so
  }
}
