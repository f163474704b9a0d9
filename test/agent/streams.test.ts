/** The frames as the C program in the guest reads and writes them: any cut, any garbage, more connections than it has rows for. */
import fc from 'fast-check'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { encodeFrame, encodeHeader, frameType, headerBytes, payloadBytesMax, stream, windowBytes } from '../../wire/frames.ts'
import { describeAgent, runMessage, taskOver } from './harness.ts'

/** Hands on what is written in pieces of these sizes, over and over, each in a write of its own. */
class Cutting extends Duplex {
  readonly #socket: Socket
  readonly #sizes: readonly number[]
  #next = 0

  constructor(socket: Socket, sizes: readonly number[]) {
    super()
    this.#socket = socket
    this.#sizes = sizes
    socket.on('data', (chunk: Buffer) => this.push(chunk)).on('end', () => this.push(null)).on('close', () => this.destroy()).on('error', () => undefined)
  }

  override _read(): void {
    // whatever comes is pushed
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const size = this.#sizes[this.#next++ % this.#sizes.length] ?? chunk.length
    if (chunk.length <= size) return void this.#socket.write(chunk, () => done())
    this.#socket.write(chunk.subarray(0, size), () => setImmediate(() => this._write(chunk.subarray(size), 'binary', done)))
  }

  override _final(done: () => void): void {
    this.#socket.end(done)
  }
}

/** Resolves when it is closed, in good order or not. */
const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.on('error', () => undefined).once('close', () => resolve()))

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

describeAgent('the job stream in the guest', 120_000, (suite) => {

  const opened = async (): Promise<Socket> => {
    const socket = connect(suite.agent.settings.socket)
    await once(socket, 'connect')
    return socket
  }
  const jobs = (): number => (existsSync(suite.agent.settings.cgroups) ? readdirSync(suite.agent.settings.cgroups).filter((name) => name.startsWith('job-')).length : 0)

  test('what goes in comes out, however the connection cuts it', async () => {
    const lengths = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 60_000, max: 140_000 }), fc.constant(windowBytes + 1))
    await fc.assert(
      fc.asyncProperty(lengths, fc.array(fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1000, max: 200_000 })), { minLength: 1, maxLength: 5 }), async (length, sizes) => {
        const bytes = Buffer.from(Array.from({ length }, (_, at) => (at * 31 + length) & 0xff))
        const few = sizes.some((size) => size > 900) ? sizes : [...sizes, 50_000] // not a million writes
        let sent = 0
        const more = (): void => {
          while (sent < length) {
            const part = bytes.subarray(sent, sent + 50_000)
            sent += part.length
            if (!task.stdin.write(part)) return
          }
          task.stdin.end()
        }
        const task = taskOver(new Cutting(await opened(), few), runMessage({ argv: ['cat'], stdin: 'stream' }), { onRoom: more })
        const { stdout, exited } = await task.over
        expect([stdout.length, sha(stdout), exited?.code]).toEqual([length, sha(bytes), 0])
      }),
      { numRuns: 40 },
    )
  })

  const run = encodeFrame(frameType.control, 0, 0, Buffer.from(JSON.stringify(runMessage({ argv: ['sleep', '1000'], stdin: 'stream' }))))
  const data = (id: number, offset: number, length: number): Buffer => Buffer.concat([encodeHeader(frameType.data, id, offset, length), Buffer.alloc(length)])
  test.each<readonly [string, Buffer]>([
    ['a type that there is not', encodeHeader(9 as never, 0, 0, 0)],
    ['a frame without type', Buffer.alloc(headerBytes)],
    ['a payload that is too long', encodeHeader(frameType.data, stream.stdin, 0, payloadBytesMax + 1)],
    ['an offset beyond 2^53', encodeHeader(frameType.ack, stream.stdout, 2 ** 53, 0)],
    ['bytes of a stream that nobody has opened', data(stream.stage, 0, 5)],
    ['bytes of a stream that goes the other way', data(stream.stdout, 0, 5)],
    ['bytes of a stream that there is not', data(77, 0, 5)],
    ['bytes that leave some out', data(stream.stdin, 5, 5)],
    ['bytes beyond the window', Buffer.concat(Array.from({ length: 40 }, (_, n) => data(stream.stdin, n * 65_536, 65_536)))],
    ['bytes after the end', Buffer.concat([encodeHeader(frameType.end, stream.stdin, 0, 0), data(stream.stdin, 0, 1)])],
    ['an end elsewhere', encodeHeader(frameType.end, stream.stdin, 3, 0)],
    ['an acknowledgement of what was never sent', encodeHeader(frameType.ack, stream.stdout, 1, 0)],
    ['an acknowledgement of what we send ourselves', encodeHeader(frameType.ack, stream.stdin, 0, 0)],
    ['an acknowledgement with a payload', Buffer.concat([encodeHeader(frameType.ack, stream.stdout, 0, 3), Buffer.alloc(3)])],
    ['a stop of what we send ourselves', encodeHeader(frameType.stop, stream.stdin, 0, 0)],
    ['a control message out of turn', encodeFrame(frameType.control, 0, 7, Buffer.from('{}'))],
    ['a control message without content', encodeHeader(frameType.control, 0, 1, 0)],
    ['a control message of two lines', encodeFrame(frameType.control, 0, 1, Buffer.from('{}\nstrangers /x'))],
    ['a control message that is no JSON', encodeFrame(frameType.control, 0, 1, Buffer.from('{"kind":'))],
    ['a second job', encodeFrame(frameType.control, 0, 1, run.subarray(headerBytes))],
  ])('%s ends the connection and its job, and nothing else', async (_what, bytes) => {
    const socket = await opened()
    const started = new Promise<void>((resolve) => socket.on('data', (chunk: Buffer) => chunk.includes('"started"') && resolve()))
    const gone = closed(socket)
    socket.write(run)
    await started
    socket.write(bytes)
    await gone
    await until(() => jobs() === 0, { withinMs: 10_000, what: 'the job is gone' })
    expect((await (await suite.agent.run({ argv: ['echo', 'fine'] })).over).stdout.toString()).toBe('fine\n')
  })

  test('noise is never taken for a job', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), async (noise) => {
        const socket = await opened()
        const gone = closed(socket)
        socket.resume().end(noise)
        await gone
      }),
      { numRuns: 200 },
    )
    expect(jobs()).toBe(0)
    expect((await (await suite.agent.run({ argv: ['echo', 'fine'] })).over).stdout.toString()).toBe('fine\n')
  })

  test('connections that are too many are closed, and there is room again when others end', async () => {
    const rows = 16
    const all = await Promise.all(Array.from({ length: 2 * rows }, opened))
    const gone = all.map((socket) => closed(socket.resume()))
    await until(() => all.filter((socket) => socket.destroyed).length >= rows, { withinMs: 10_000, what: 'those too many are closed' })
    expect(all.filter((socket) => !socket.destroyed).length).toBeGreaterThan(rows - 3) // one of an earlier test may just be ending
    all.forEach((socket) => socket.end())
    await Promise.all(gone)
    expect((await (await suite.agent.run({ argv: ['echo', 'fine'] })).over).stdout.toString()).toBe('fine\n')
  })
})
