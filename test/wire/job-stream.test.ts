import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, afterEach, expect, test } from 'vitest'
import { encodeFrame, encodeHeader, FrameError, FrameReader, frameType, stream, windowBytes, type Frame } from '../../wire/frames.ts'
import { JobStream, sendAll, type JobStreamEvents } from '../../wire/job-stream.ts'

const dir = mkdtempSync(join(tmpdir(), 'wnod-stream-'))
const sockets: Socket[] = []
afterEach(() => sockets.splice(0).forEach((socket) => socket.destroy()))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

/** Two ends of one real unix socket. */
async function socketPair(): Promise<[Socket, Socket]> {
  const path = join(dir, `${sockets.length}.sock`)
  const server = createServer().listen(path)
  await once(server, 'listening')
  const here = connect(path)
  const [there] = (await once(server, 'connection')) as [Socket]
  server.close()
  sockets.push(here, there)
  return [here, there]
}

interface End {
  readonly via: JobStream
  readonly messages: unknown[]
  readonly closed: Promise<Error | null>
}

function end(socket: Socket, events: Partial<JobStreamEvents> = {}): End {
  const messages: unknown[] = []
  let onClose: (error: Error | null) => void = () => {}
  const closed = new Promise<Error | null>((resolve) => (onClose = resolve))
  const via = new JobStream(socket, { onControl: (message) => messages.push(message), onClose, ...events })
  return { via, messages, closed }
}

async function ends(): Promise<[End, End]> {
  const [a, b] = await socketPair()
  return [end(a), end(b)]
}

/** Reads a stream to its end. */
function collect(at: JobStream, streamId: number): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    at.incoming(streamId, {
      write: (chunk, done) => {
        chunks.push(chunk)
        setImmediate(done)
      },
      end: () => resolve(Buffer.concat(chunks)),
    })
  })
}

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

test('frames are cut at any chunk size, DATA in pieces at the right offsets', () => {
  const bytes = randomBytes(1000)
  const wire = Buffer.concat([
    encodeFrame(frameType.control, 0, 0, Buffer.from('{"a":1}')),
    encodeFrame(frameType.data, 1, 2 ** 33, bytes),
    encodeFrame(frameType.end, 1, 2 ** 33 + 1000),
  ])
  for (const size of [1, 3, 13, 14, 15, 100, wire.length]) {
    const frames: Frame[] = []
    const reader = new FrameReader()
    for (let at = 0; at < wire.length; at += size) reader.push(wire.subarray(at, at + size), (frame) => frames.push(frame))
    expect(reader.atBoundary).toBe(true)
    let due = 2 ** 33
    for (const frame of frames.filter(({ type }) => type === frameType.data)) {
      expect(frame.offset).toBe(due)
      due += frame.payload.length
    }
    expect(Buffer.concat(frames.slice(1, -1).map(({ payload }) => payload))).toEqual(bytes)
    expect(frames[0]?.payload.toString()).toBe('{"a":1}')
    expect(frames.at(-1)).toMatchObject({ type: frameType.end, offset: due })
  }
})

test.each([
  ['an unknown type', Buffer.from('0000000009000000000000000000', 'hex')],
  ['an endless frame', Buffer.from('ffffffff02000000000000000000', 'hex')],
  ['an acknowledgement with a payload', Buffer.from('0000000404000000000000000000', 'hex')],
  ['a number beyond 2^53', Buffer.from('000000000200ffffffffffffffff', 'hex')],
  ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
])('%s is garbage', (_what, bytes) => {
  expect(() => new FrameReader().push(bytes, () => {})).toThrow(FrameError)
})

test('control messages arrive in order', async () => {
  const [a, b] = await ends()
  for (let n = 0; n < 100; n += 1) a.via.control({ n })
  a.via.end()
  expect(await b.closed).toBeNull()
  expect(b.messages).toEqual(Array.from({ length: 100 }, (_, n) => ({ n })))
})

test('a stream carries any bytes, and is done when they are consumed', async () => {
  const [a, b] = await ends()
  const bytes = randomBytes(5 * windowBytes + 17)
  const done = new Promise<void>((resolve) => void sendAll(a.via, stream.stdout, Readable.from([bytes.subarray(0, 1), bytes.subarray(1)]), { onDone: resolve }))
  const got = await collect(b.via, stream.stdout)
  await done
  expect(sha(got)).toBe(sha(bytes))
})

test('an empty stream ends', async () => {
  const [a, b] = await ends()
  a.via.outgoing(stream.stdin).end()
  expect(await collect(b.via, stream.stdin)).toHaveLength(0)
})

test('a blocked stream stops its writer at the window, and holds up no other stream and no message', async () => {
  const [a, b] = await ends()
  let taken = 0
  let release: () => void = () => {}
  b.via.incoming(stream.stdout, { write: (chunk, done) => ((taken += chunk.length), (release = done)), end: () => {} })
  const sender = a.via.outgoing(stream.stdout, { onRoom: () => fill() })
  let written = 0
  const fill = (): void => {
    do written += 1024
    while (sender.write(Buffer.alloc(1024)))
  }
  a.via.outgoing(stream.stderr).write(Buffer.from('free'))
  const stderr = await new Promise<Buffer>((resolve) => b.via.incoming(stream.stderr, { write: resolve, end: () => {} }))
  expect(stderr.toString()).toBe('free')
  expect(written).toBe(windowBytes)
  expect(sender.room).toBe(0)
  expect(taken).toBeLessThan(windowBytes)
  release()
  a.via.control({ kind: 'signal' })
  a.via.end()
  await b.closed
  expect(b.messages).toEqual([{ kind: 'signal' }])
})

test('nothing is sent before the stream is open', async () => {
  const [a, b] = await ends()
  expect(a.via.outgoing(stream.stdin).write(Buffer.from('x'))).toBe(false)
  a.via.control({ n: 1 })
  a.via.end()
  expect(await b.closed).toBeNull()
  expect(b.messages).toHaveLength(1)
})

test('a reader that closes stops the writer', async () => {
  const [a, b] = await ends()
  const receiver = b.via.incoming(stream.stdout, { write: (_chunk, done) => (receiver.stop(), done()), end: () => {} })
  let onStop: () => void = () => {}
  const stopped = new Promise<void>((resolve) => (onStop = resolve))
  const sender = a.via.outgoing(stream.stdout, { onStop })
  sender.write(Buffer.alloc(10))
  await stopped
  expect(sender.stopped).toBe(true)
  expect(sender.write(Buffer.alloc(10))).toBe(true) // goes nowhere, like /dev/null
})

test('a reader that closes on the last bytes, when their end has come as well, keeps nobody waiting', async () => {
  const [here, there] = await socketPair()
  const job = end(here)
  const user = end(there, { onControl: () => receiver.stop() }) // the message comes behind the end
  const receiver = user.via.incoming(stream.stdout, { write: () => undefined, end: () => undefined })
  await new Promise<void>((resolve) => {
    const sender = job.via.outgoing(stream.stdout, {
      onRoom() {
        sender.write(Buffer.alloc(10))
        sender.end()
        job.via.control({ over: true })
      },
      onDone: resolve,
    })
  })
})

test('a relay hands bytes on without holding more than the windows, and notices the end', async () => {
  const [job, left] = await ends()
  const [right, user] = await ends()
  const settled = new Promise<number>((resolve) => left.via.relay(right.via, [stream.stdout], { onSettled: resolve }))
  const bytes = randomBytes(20 * windowBytes + 3)
  sendAll(job.via, stream.stdout, Readable.from([bytes]))
  const got = await collect(user.via, stream.stdout)
  expect(sha(got)).toBe(sha(bytes))
  expect(await settled).toBe(stream.stdout)
})

test('a relay passes on what was acknowledged before it was made, and a stop', async () => {
  const [job, left] = await ends()
  const [right, user] = await ends()
  user.via.incoming(stream.stdout, { write: (_chunk, done) => done(), end: () => {} }).stop()
  user.via.control({ sent: true })
  await new Promise<void>((resolve) => {
    const poll = (): void => (right.messages.length > 0 ? resolve() : void setImmediate(poll))
    poll()
  })
  let onStop: () => void = () => {}
  const stopped = new Promise<void>((resolve) => (onStop = resolve))
  job.via.outgoing(stream.stdout, { onStop })
  const settled = new Promise<number>((resolve) => left.via.relay(right.via, [stream.stdout], { onSettled: resolve }))
  await stopped
  expect(await settled).toBe(stream.stdout)
})

test.each([
  ['bytes of a stream that nobody opened', encodeFrame(frameType.data, stream.stdout, 0, Buffer.from('x'))],
  ['a control message out of turn', encodeFrame(frameType.control, 0, 3, Buffer.from('{}'))],
  ['a control message that is not JSON', encodeFrame(frameType.control, 0, 0, Buffer.from('{'))],
  ['an endless row of acknowledgements', Buffer.concat(Array.from({ length: 3 }, (_, n) => encodeHeader(frameType.ack, 9, n, 0)))],
])('%s ends the connection', async (_what, bytes) => {
  const [a, b] = await socketPair()
  const { closed } = end(b)
  a.write(bytes)
  expect(await closed).toBeInstanceOf(FrameError)
})

test('a sender that ignores the window is cut off', async () => {
  const [a, b] = await socketPair()
  const there = end(b)
  there.via.incoming(stream.stdin, { write: () => {}, end: () => {} })
  for (let at = 0; at <= windowBytes; at += 65536) a.write(encodeFrame(frameType.data, stream.stdin, at, Buffer.alloc(65536)))
  expect(await there.closed).toMatchObject({ message: expect.stringContaining('overran') as string })
})

test('a connection that breaks within a frame says so', async () => {
  const [a, b] = await socketPair()
  const there = end(b)
  a.end(Buffer.from([0, 0]))
  expect(await there.closed).toMatchObject({ message: expect.stringContaining('middle of a frame') as string })
})
