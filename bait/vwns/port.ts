/**
 * The bait's end of the virtio-serial port to a guest's agent: one JSON message a line. The guest is not trusted: lines are
 * bounded, garbage is counted and dropped, and a flood is read only so fast.
 */
import { connect } from 'node:net'
import type { Log } from '../../kit/log.ts'
import type { Clock } from '../../kit/clock.ts'
import { fromPortSchema, portLineBytesMax, type FromPort, type ToPort } from '../../wire/guest.ts'
import { LineCutter } from '../lines.ts'

export interface GuestPort {
  send(message: ToPort): void
  /** Lines that were dropped because nobody could read them. */
  readonly dropped: number
  close(): void
}

export interface PortOptions {
  readonly path: string
  readonly clock: Clock
  readonly log: Log
  onMessage(message: FromPort): void
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

  const take = (line: Buffer): void => {
    lines += 1
    const message = parsed(line)
    if (message !== null) onMessage(message)
    else if (/^10*$/.test(String((garbage += 1)))) log.warn({ dropped: garbage }, 'guest sent what nobody can read')
  }
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
        send: (message) => void socket.write(`${JSON.stringify(message)}\n`),
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
