/**
 * Between a job's pipes and the job stream, with as little work for each byte as node allows: a pipe is read in large pieces into one
 * ring of memory, and what is read there is what the connection sends.
 */
import { Socket } from 'node:net'
import { windowBytes } from '../wire/frames.ts'
import type { JobStream, Receiver } from '../wire/job-stream.ts'

/** A pipe of serve.c holds a megabyte; more at once would only be a longer pause for the other streams. */
const readBytes = 128 * 1024
/**
 * What was read but not acknowledged is still the sender's: at most a window and one read. A further read must fit behind it, and
 * up to one read is wasted where the ring begins again.
 */
const ringBytes = windowBytes + 3 * readBytes
const rings: Buffer[] = []

export interface Outflow {
  /** Ends the stream with what has come so far; safe to repeat. */
  cut(): void
}

/** Sends what comes out of a pipe, and owns the pipe's end. A reader that has closed closes the pipe: SIGPIPE for the writer. */
export function sendPipe(via: JobStream, stream: number, fd: number, onDone: () => void): Outflow {
  const ring = rings.pop() ?? Buffer.allocUnsafeSlow(ringBytes)
  let at = 0
  const space = (): Buffer => {
    if (at + readBytes > ring.length) at = 0
    return ring.subarray(at, at + readBytes)
  }
  const pipe = new Socket({
    fd,
    readable: true,
    writable: false,
    onread: {
      buffer: space,
      callback(got: number, bytes: Uint8Array) {
        at += got
        return sender.write(Buffer.from(bytes.buffer, bytes.byteOffset, got))
      },
    },
  } as ConstructorParameters<typeof Socket>[0])
  const sender = via.outgoing(stream, {
    onRoom: () => void pipe.resume(),
    onStop: () => void pipe.destroy(),
    onDone: () => {
      rings.push(ring)
      onDone()
    },
  })
  pipe.on('error', () => undefined) // `close` follows
  pipe.on('end', () => void pipe.destroy())
  pipe.on('close', () => sender.end())
  pipe.resume() // also where nobody has opened the stream yet: what is read first then waits for that
  return { cut: () => void pipe.destroy() }
}

/** Feeds a pipe, and owns its end. A job that has closed its input makes the sender stop. */
export function feedPipe(via: JobStream, stream: number, fd: number): { readonly receiver: Receiver; readonly ended: Promise<void>; stop(): void } {
  let onEnd: () => void = () => undefined
  const ended = new Promise<void>((resolve) => (onEnd = resolve))
  const pipe = new Socket({ fd, readable: false, writable: true })
  const receiver = via.incoming(stream, {
    write: (chunk, done) => void pipe.write(chunk, (error) => (error === null || error === undefined ? done() : undefined)),
    end: () => {
      pipe.end()
      onEnd()
    },
  })
  const stop = (): void => {
    if (!receiver.ended) receiver.stop()
    pipe.destroy()
  }
  pipe.on('error', stop)
  return { receiver, ended, stop }
}
