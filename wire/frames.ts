/**
 * The job stream: one binary protocol from the job starter over the bait to the agent in the guest.
 *
 *   frame   = length u32be (of the payload) · type u8 · stream u8 · offset u64be · payload
 *   CONTROL   payload is one JSON message (wire/hook.ts, wire/guest.ts); offset is its number, counted from 0 in each direction
 *   DATA      payload are the bytes of `stream` that start at `offset`
 *   END       the stream ends after `offset` bytes; no payload
 *   ACK       the receiver has consumed `offset` bytes of `stream` for good; no payload
 *   STOP      the receiver wants no more of `stream` (its reader has closed: SIGPIPE for the writer); no payload
 *
 * Every byte has a number from the first version on, so that a broken connection can be taken up again without losing or
 * doubling one. A sender may send nothing of a stream before the first ACK (`ACK 0` opens it), and never has more than
 * `windowBytes` sent but not acknowledged: the same rule gives backpressure per stream (a blocked stdout holds up neither stderr
 * nor signals nor the exit status), bounds memory, and says what a sender must keep for a re-attach.
 */
export const frameType = { control: 1, data: 2, end: 3, ack: 4, stop: 5 } as const
export type FrameType = (typeof frameType)[keyof typeof frameType]

/** The streams of a job. `stage` carries a tar into the guest before the job starts, `collect` one back after it ended. */
export const stream = { stdin: 0, stdout: 1, stderr: 2, stage: 3, collect: 4 } as const
export type StreamId = (typeof stream)[keyof typeof stream]

export const headerBytes = 14
/** Largest payload of one frame; a longer length is garbage and ends the connection. A control message must fit as well. */
export const payloadBytesMax = 4 * 1024 * 1024
/** Payload size that senders aim at. */
export const chunkBytes = 64 * 1024
/** Bytes of one stream that may be sent and not yet acknowledged. */
export const windowBytes = 1024 * 1024

export interface Frame {
  readonly type: FrameType
  readonly stream: number
  readonly offset: number
  readonly payload: Buffer
}

const empty = Buffer.alloc(0)
const knownTypes: ReadonlySet<number> = new Set(Object.values(frameType))

/** The header of a frame, to be written before its payload. */
export function encodeHeader(type: FrameType, streamId: number, offset: number, payloadLength: number): Buffer {
  const header = Buffer.allocUnsafe(headerBytes)
  header.writeUInt32BE(payloadLength, 0)
  header.writeUInt8(type, 4)
  header.writeUInt8(streamId, 5)
  header.writeUInt32BE(Math.floor(offset / 2 ** 32), 6)
  header.writeUInt32BE(offset % 2 ** 32, 10)
  return header
}

/** A whole frame as one buffer; for control and other small frames. */
export function encodeFrame(type: FrameType, streamId: number, offset: number, payload: Buffer = empty): Buffer {
  return payload.length === 0
    ? encodeHeader(type, streamId, offset, 0)
    : Buffer.concat([encodeHeader(type, streamId, offset, payload.length), payload])
}

/** The bytes are not ours: whoever sent them is not speaking this protocol. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
}

/**
 * Cuts a byte stream into frames. Keeps at most one partial frame; throws FrameError on garbage, after which the
 * connection must be closed.
 */
export class FrameReader {
  #pending: Buffer[] = []
  #pendingBytes = 0
  #needBytes = headerBytes

  /** Calls `onFrame` for each frame that `chunk` completes, in order. A payload may share memory with `chunk`. */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    this.#pending.push(chunk)
    this.#pendingBytes += chunk.length
    if (this.#pendingBytes < this.#needBytes) return
    let buffer = this.#pending.length === 1 ? chunk : Buffer.concat(this.#pending, this.#pendingBytes)
    while (buffer.length >= headerBytes) {
      const length = buffer.readUInt32BE(0)
      const type = buffer.readUInt8(4)
      if (!isFrameType(type)) throw new FrameError(`unknown frame type ${type}`)
      if (length > payloadBytesMax) throw new FrameError(`frame of ${length} bytes, at most ${payloadBytesMax} allowed`)
      if (buffer.length < headerBytes + length) break
      const offset = buffer.readUInt32BE(6) * 2 ** 32 + buffer.readUInt32BE(10)
      if (!Number.isSafeInteger(offset)) throw new FrameError('offset beyond 2^53')
      onFrame({ type, stream: buffer.readUInt8(5), offset, payload: buffer.subarray(headerBytes, headerBytes + length) })
      buffer = buffer.subarray(headerBytes + length)
    }
    this.#needBytes = buffer.length < headerBytes ? headerBytes : headerBytes + buffer.readUInt32BE(0)
    this.#pending = buffer.length === 0 ? [] : [buffer]
    this.#pendingBytes = buffer.length
  }

  /** True when no partial frame is waiting for more bytes. */
  get atBoundary(): boolean {
    return this.#pendingBytes === 0
  }
}

function isFrameType(type: number): type is FrameType {
  return knownTypes.has(type)
}
