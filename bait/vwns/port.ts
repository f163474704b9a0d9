/**
 * The bait's end of the virtio-serial port to a guest's agent: one JSON message a line. The guest is not trusted: lines are
 * bounded, garbage is counted and dropped, and a flood is read only so fast.
 */
import { connect } from 'node:net'
import type { Log } from '../../kit/log.ts'
import { randomBytes, type Clock } from '../../kit/clock.ts'
import { fromPortSchema, portLineBytesMax, type FromPort, type ToPort } from '../../wire/guest.ts'
import { LineCutter } from '../lines.ts'

export interface GuestPort {
  send(message: ToPort): void
  /** Resolves when the guest has answered this very question; until then, or for ever, a caller waits as long as it likes. */
  ask(question: Question): Promise<void>
  /** Lines that were dropped because nobody could read them. */
  readonly dropped: number
  close(): void
}

/** What is answered by a pong. */
export type Question = { readonly kind: 'ping' } | { readonly kind: 'wake'; readonly nowMs: number }

export interface PortOptions {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  onMessage?(message: FromPort): void
  /** The connection is gone, asked for or not. */
  onClose?(): void
}

/** What one guest may say per second; the rest waits in its own pipe. */
const perSecond = { lines: 200, bytes: 512 * 1024 }

/** Connects to the port of a VM that was started; rejects when nobody listens there. */
export function openGuestPort(options: PortOptions): Promise<GuestPort> {
  const { path, clock, log, onMessage } = options
  const socket = connect(path)
  const cutter = new LineCutter(portLineBytesMax)
  let garbage = 0
  let lines = 0
  let bytes = 0
  /** Not from one: an answer to a question of the bait before this one must not be taken for one to ours. */
  let asked = Buffer.from(randomBytes(4)).readUInt32LE()
  const unanswered = new Map<number, () => void>()

  const take = (line: Buffer): void => {
    lines += 1
    const message = parsed(line)
    if (message?.kind === 'pong') answered(message.n)
    if (message !== null) onMessage?.(message)
    else if (/^10*$/.test(String((garbage += 1)))) log.warn({ dropped: garbage }, 'guest sent what nobody can read')
  }
  const answered = (n: number): void => {
    unanswered.get(n)?.()
    unanswered.delete(n)
  }
  const send = (message: ToPort): void => void socket.write(`${JSON.stringify(message)}\n`)
  const refill = clock.every(1_000, () => {
    lines = 0
    bytes = 0
    socket.resume()
  })
  socket.on('data', (chunk) => {
    bytes += chunk.length
    cutter.push(chunk, take)
    if (lines > perSecond.lines || bytes > perSecond.bytes) socket.pause()
  })
  socket.on('close', () => {
    refill.cancel()
    options.onClose?.()
  })
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject).on('error', (error) => log.debug({ err: error }, 'guest port ended'))
      resolve({
        send,
        ask: (question) => new Promise((heard) => {
          asked += 1
          unanswered.set(asked, heard)
          send({ ...question, n: asked })
        }),
        get dropped() {
          return garbage + cutter.dropped
        },
        close: () => void socket.destroy(),
      })
    })
  })
}

function parsed(line: Buffer): FromPort | null {
  try {
    return fromPortSchema.parse(JSON.parse(line.toString('utf8')))
  } catch {
    return null
  }
}
