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
/**
 * Largest payload of one frame; a longer length is garbage and ends the connection. A control message must fit as well: a job with the
 * largest script, arguments and environment that are taken.
 */
export const payloadBytesMax = 12 * 1024 * 1024
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
 * Cuts a byte stream into frames. Payload of DATA is handed out as it comes, a long frame as several shorter ones that carry on
 * at the right offset, so that nothing is copied and nothing is kept; the payload of every other frame is kept until it is whole.
 * Throws FrameError on garbage, after which the connection must be closed.
 */
export class FrameReader {
  /** Bytes of a header or payload that is not whole yet, and how many it takes. */
  #pending: Buffer[] = []
  #pendingBytes = 0
  #needBytes = headerBytes
  /** The frame whose payload is coming in; null while a header is. */
  #open: { type: FrameType; stream: number; offset: number; left: number } | null = null

  /** Calls `onFrame` for each frame that `chunk` completes, in order. A payload may share memory with `chunk`. */
  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    let at = 0
    while (at < chunk.length) {
      const open = this.#open
      if (open?.type === frameType.data) {
        const payload = chunk.subarray(at, at + open.left)
        at += payload.length
        this.#open = payload.length === open.left ? null : { ...open, offset: open.offset + payload.length, left: open.left - payload.length }
        onFrame({ type: open.type, stream: open.stream, offset: open.offset, payload })
        continue
      }
      const part = chunk.subarray(at, at + this.#needBytes - this.#pendingBytes)
      at += part.length
      const whole = this.#gather(part)
      if (whole === null) return
      if (open === null) this.#begin(whole, onFrame)
      else this.#finish({ type: open.type, stream: open.stream, offset: open.offset, payload: whole }, onFrame)
    }
  }

  /** True when no partial frame is waiting for more bytes. */
  get atBoundary(): boolean {
    return this.#open === null && this.#pendingBytes === 0
  }

  #gather(part: Buffer): Buffer | null {
    this.#pendingBytes += part.length
    if (this.#pendingBytes < this.#needBytes) {
      this.#pending.push(part)
      return null
    }
    const whole = this.#pending.length === 0 ? part : Buffer.concat([...this.#pending, part], this.#pendingBytes)
    this.#pending = []
    this.#pendingBytes = 0
    return whole
  }

  #begin(header: Buffer, onFrame: (frame: Frame) => void): void {
    const length = header.readUInt32BE(0)
    const type = header.readUInt8(4)
    const offset = header.readUInt32BE(6) * 2 ** 32 + header.readUInt32BE(10)
    if (!isFrameType(type)) throw new FrameError(`unknown frame type ${type}`)
    if (length > payloadBytesMax) throw new FrameError(`frame of ${length} bytes, at most ${payloadBytesMax} allowed`)
    if (length > 0 && type !== frameType.data && type !== frameType.control) throw new FrameError(`frame type ${type} has no payload`)
    if (!Number.isSafeInteger(offset)) throw new FrameError('offset beyond 2^53')
    const streamId = header.readUInt8(5)
    if (length === 0) return this.#finish({ type, stream: streamId, offset, payload: empty }, onFrame)
    this.#open = { type, stream: streamId, offset, left: length }
    if (type !== frameType.data) this.#needBytes = length
  }

  #finish(frame: Frame, onFrame: (frame: Frame) => void): void {
    this.#open = null
    this.#needBytes = headerBytes
    onFrame(frame)
  }
}

function isFrameType(type: number): type is FrameType {
  return knownTypes.has(type)
}
