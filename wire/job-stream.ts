/**
 * The engine of the job stream (wire/frames.ts), the same one in the job starter, the bait and the agent: it owns one connection.
 *
 *   source ─▶ Sender ─┐                               ┌─▶ Receiver ─▶ sink        acknowledges what the sink has taken
 *                     ├─ JobStream ═ connection ═ … ──┤
 *   control messages ─┘                               └─▶ onControl
 *
 * A relay (the bait) hands frames of some streams from one connection to another as they are: bytes and acknowledgements meet at
 * the two ends, so what a relay holds is bounded by the windows of the streams, and a stopped reader stops only its own stream.
 * No dependency and no new syntax: this file is bundled into the starter and into the agent.
 */
import type { Duplex, Readable } from 'node:stream'
import { chunkBytes, encodeFrame, encodeHeader, FrameError, FrameReader, frameType, payloadBytesMax, windowBytes, type Frame } from './frames.ts'

/** What the owner of a connection is told. */
export interface JobStreamEvents {
  /** A control message, parsed from JSON and not checked. */
  onControl(message: unknown): void
  /** Called once, when the connection is gone; null when the other side has closed it in good order. */
  onClose(error: Error | null): void
}

/** Takes the bytes of one stream; the next `write` comes after `done` was called, `end` after the last. */
export interface Sink {
  write(chunk: Buffer, done: () => void): void
  end(): void
}

/** What to do when a stream can go on, or must not. */
export interface SenderEvents {
  /** There is room again after `write` has answered false. */
  onRoom?(): void
  /** The reader at the other end has closed: nothing that is written now goes anywhere. */
  onStop?(): void
  /** The stream was ended and its last byte consumed (or its reader has closed). */
  onDone?(): void
}

/** What the owner of a relay is told of each of its streams. */
export interface RelayEvents {
  /** The last byte has been handed on. The end itself is held back until `pass` is called. */
  onEnd?(stream: number, pass: () => void): void
  /** It has ended and its last byte was acknowledged, or its reader has closed. */
  onSettled?(stream: number): void
}

/** Bytes that a relay may hold for a connection that does not read; a peer that keeps to its windows never gets there. */
const relayBytesMax = 8 * windowBytes

/**
 * How much is consumed before it is acknowledged, the end apart: early enough that a sender never waits for it, and not with each
 * chunk, since a small packet through ssh costs an emulated guest as much as thirty kilobytes of data.
 */
const acknowledgeBytes = windowBytes / 4

/** One connection of the job stream. Closing it is the owner's duty; every call after that is without effect. */
export class JobStream {
  readonly #duplex: Duplex
  readonly #events: JobStreamEvents
  readonly #reader = new FrameReader()
  readonly #senders = new Map<number, Sender>()
  readonly #receivers = new Map<number, Receiver>()
  readonly #relays = new Map<number, Relay>()
  /** Acknowledgements that came before anybody here sends on their stream. */
  readonly #early = new Map<number, Frame[]>()
  readonly #joins: boolean
  #out: Buffer[] = []
  #flushing = false
  #controlsSent = 0
  #controlsSeen = 0
  #closed = false

  constructor(duplex: Duplex, events: JobStreamEvents) {
    this.#duplex = duplex
    this.#events = events
    // A stream that cannot gather (an ssh channel) makes a packet of each write: give it one.
    this.#joins = typeof duplex._writev !== 'function'
    duplex.on('data', (chunk: Buffer) => this.#take(chunk))
    duplex.on('end', () => this.#close(this.#reader.atBoundary ? null : new FrameError('connection closed in the middle of a frame')))
    duplex.on('error', (error: Error) => this.#close(error))
    duplex.on('close', () => this.#close(null))
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Sends a control message; they arrive in order, and before any byte that is sent later. */
  control(message: object): void {
    const payload = Buffer.from(JSON.stringify(message))
    if (payload.length > payloadBytesMax) throw new FrameError(`control message of ${payload.length} bytes, at most ${payloadBytesMax} allowed`)
    this.send(encodeFrame(frameType.control, 0, this.#controlsSent++, payload))
  }

  /** The sending end of a stream. Nothing leaves before the other side has opened it. */
  outgoing(stream: number, events: SenderEvents = {}): Sender {
    const sender = new Sender(this, stream, events)
    this.#senders.set(stream, sender)
    this.#replay(stream)
    return sender
  }

  /** Opens a stream and feeds what comes on it to `sink`, acknowledging each chunk when the sink is done with it. */
  incoming(stream: number, sink: Sink): Receiver {
    const receiver = new Receiver(this, stream, sink)
    this.#receivers.set(stream, receiver)
    return receiver
  }

  /** From now on the bytes of `streams` go from here to `to`, and their acknowledgements back. */
  relay(to: JobStream, streams: readonly number[], events: RelayEvents = {}): void {
    for (const stream of streams) {
      const relay = new Relay(this, to, events)
      this.#relays.set(stream, relay)
      to.#relays.set(stream, relay)
      this.#replay(stream)
      to.#replay(stream)
    }
  }

  /** Puts encoded bytes on the connection; all that one turn of the event loop sends leaves together. */
  send(...buffers: Buffer[]): void {
    if (this.#closed) return
    this.#out.push(...buffers)
    if (this.#flushing) return
    this.#flushing = true
    process.nextTick(() => this.#flush())
  }

  /** Bytes that the connection has not taken yet. */
  get pendingBytes(): number {
    return this.#duplex.writableLength
  }

  /** Stops reading until `other` has sent what it holds. */
  waitFor(other: JobStream): void {
    if (this.#duplex.isPaused()) return
    this.#duplex.pause()
    other.#duplex.once('drain', () => this.#duplex.resume())
    other.#duplex.once('close', () => this.#duplex.resume())
  }

  /** Sends what is waiting, then closes; `onClose` is called when the other side has closed as well. */
  end(): void {
    if (this.#closed) return
    this.#flush()
    this.#duplex.end()
  }

  /** Closes at once. */
  destroy(error: Error | null = null): void {
    this.#close(error)
  }

  #flush(): void {
    this.#flushing = false
    const out = this.#out
    if (out.length === 0 || this.#duplex.destroyed || this.#duplex.writableEnded) return
    this.#out = []
    if (this.#joins) {
      this.#duplex.write(out.length === 1 ? out[0] : Buffer.concat(out))
      return
    }
    this.#duplex.cork()
    for (const buffer of out) this.#duplex.write(buffer)
    this.#duplex.uncork()
  }

  #take(chunk: Buffer): void {
    try {
      this.#reader.push(chunk, (frame) => {
        if (!this.#closed) this.#dispatch(frame)
      })
    } catch (error) {
      this.#refuse(error)
    }
  }

  /** Garbage ends the connection; anything else is a bug of whoever was called, and his to hear. */
  #refuse(error: unknown): void {
    if (!(error instanceof FrameError)) throw error
    this.#close(error)
  }

  #dispatch(frame: Frame): void {
    if (frame.type === frameType.control) return this.#takeControl(frame)
    const relay = this.#relays.get(frame.stream)
    if (relay !== undefined) return relay.pass(this, frame)
    if (frame.type === frameType.data || frame.type === frameType.end) {
      const receiver = this.#receivers.get(frame.stream)
      if (receiver === undefined) throw new FrameError(`bytes of stream ${frame.stream}, which nobody has opened`)
      return receiver.take(frame)
    }
    const sender = this.#senders.get(frame.stream)
    if (sender !== undefined) return sender.take(frame)
    const early = this.#early.get(frame.stream) ?? []
    if (early.length >= 2) throw new FrameError(`acknowledgements of stream ${frame.stream}, on which nothing was sent`)
    this.#early.set(frame.stream, [...early, frame])
  }

  #replay(stream: number): void {
    const early = this.#early.get(stream) ?? []
    this.#early.delete(stream)
    try {
      for (const frame of early) this.#dispatch(frame)
    } catch (error) {
      this.#refuse(error)
    }
  }

  #takeControl(frame: Frame): void {
    if (frame.offset !== this.#controlsSeen) throw new FrameError(`control message ${frame.offset} where ${this.#controlsSeen} was due`)
    this.#controlsSeen += 1
    let message: unknown
    try {
      message = JSON.parse(frame.payload.toString('utf8'))
    } catch {
      throw new FrameError('a control message is not JSON')
    }
    this.#events.onControl(message)
  }

  #close(error: Error | null): void {
    if (this.#closed) return
    this.#closed = true
    if (error === null) this.#duplex.end()
    else this.#duplex.destroy()
    this.#events.onClose(error)
  }
}

/**
 * The sending end of one stream. Keeps every byte that is not acknowledged: what was sent is what a re-attach would have to
 * send again. A writer that stops at `false` keeps that within one window and one chunk.
 */
export class Sender {
  readonly #via: JobStream
  readonly #stream: number
  readonly #events: SenderEvents
  /** Chunks from offset `#acked` on, the first `#sentChunks` of them sent. */
  #chunks: Buffer[] = []
  #sentChunks = 0
  #acked = -1
  #sent = 0
  #written = 0
  #ended = false
  #endSent = false
  #stopped = false
  /** True while a writer waits for `onRoom`; so does everybody until the stream is open. */
  #full = true
  #done = false

  constructor(via: JobStream, stream: number, events: SenderEvents) {
    this.#via = via
    this.#stream = stream
    this.#events = events
  }

  /** Bytes that may be written before `write` answers false; 0 until the other side has opened the stream. */
  get room(): number {
    return this.#acked < 0 ? 0 : Math.max(0, this.#acked + windowBytes - this.#written)
  }

  get stopped(): boolean {
    return this.#stopped
  }

  /** Queues bytes, which the stream owns from now on. False: write no more until `onRoom`. */
  write(bytes: Buffer): boolean {
    if (this.#stopped || this.#ended || bytes.length === 0) return !this.#ended
    for (let at = 0; at < bytes.length; at += chunkBytes) this.#chunks.push(bytes.subarray(at, at + chunkBytes))
    this.#written += bytes.length
    this.#advance()
    this.#full = this.room === 0
    return !this.#full
  }

  /** No more bytes; the other side hears it after the last of them. */
  end(): void {
    this.#ended = true
    this.#advance()
  }

  /** For the connection: an acknowledgement or a stop has come. */
  take(frame: Frame): void {
    if (frame.type === frameType.stop) return this.#stop()
    if (this.#stopped || frame.offset <= this.#acked) return
    if (frame.offset > this.#sent) throw new FrameError(`stream ${this.#stream} was acknowledged beyond its end`)
    this.#forget(frame.offset)
    this.#advance()
    if (this.#full && this.room > 0 && !this.#ended) {
      this.#full = false
      this.#events.onRoom?.()
    }
  }

  #forget(offset: number): void {
    let forget = offset - Math.max(0, this.#acked)
    this.#acked = offset
    while (forget > 0) {
      const first = this.#chunks[0]
      if (first === undefined) return
      if (first.length > forget) {
        this.#chunks[0] = first.subarray(forget)
        return
      }
      forget -= first.length
      this.#chunks.shift()
      this.#sentChunks -= 1
    }
  }

  #advance(): void {
    if (this.#acked < 0) return
    for (;;) {
      const chunk = this.#chunks[this.#sentChunks]
      if (chunk === undefined || this.#sent + chunk.length > this.#acked + windowBytes) break
      this.#via.send(encodeHeader(frameType.data, this.#stream, this.#sent, chunk.length), chunk)
      this.#sent += chunk.length
      this.#sentChunks += 1
    }
    if (this.#ended && !this.#endSent && this.#sent === this.#written) {
      this.#endSent = true
      this.#via.send(encodeHeader(frameType.end, this.#stream, this.#sent, 0))
    }
    if (this.#endSent && this.#acked === this.#sent) this.#finish()
  }

  #stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#chunks = []
    if (!this.#endSent) this.#via.send(encodeHeader(frameType.end, this.#stream, this.#sent, 0))
    this.#endSent = true
    this.#events.onStop?.()
    this.#finish()
  }

  #finish(): void {
    if (this.#done) return
    this.#done = true
    this.#events.onDone?.()
  }
}

/** The receiving end of one stream: hands chunks to its sink one at a time. */
export class Receiver {
  readonly #via: JobStream
  readonly #stream: number
  readonly #sink: Sink
  #queue: Buffer[] = []
  #received = 0
  #consumed = 0
  #acked = -1
  #busy = false
  #feeding = false
  #ackDue = false
  #ended = false
  #endTold = false
  #stopped = false

  constructor(via: JobStream, stream: number, sink: Sink) {
    this.#via = via
    this.#stream = stream
    this.#sink = sink
    this.#acknowledge()
  }

  /** True when everything that has come was consumed, or nobody wants it. */
  get idle(): boolean {
    return this.#stopped || (!this.#busy && this.#queue.length === 0)
  }

  /** True after the last byte of an ended stream was consumed. */
  get ended(): boolean {
    return this.#endTold
  }

  /** Nobody reads any more: tells the sender, and drops what still comes. */
  stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#queue = []
    if (!this.#endTold) this.#via.send(encodeHeader(frameType.stop, this.#stream, this.#received, 0)) // after its end too: what is left of it is never acknowledged
  }

  /** For the connection: bytes or the end have come. */
  take(frame: Frame): void {
    if (this.#ended) throw new FrameError(`stream ${this.#stream} went on after its end`)
    if (frame.offset !== this.#received) throw new FrameError(`stream ${this.#stream} jumps from ${this.#received} to ${frame.offset}`)
    this.#received += frame.payload.length
    if (frame.type === frameType.end) this.#ended = true
    else if (this.#stopped) return
    else if (this.#received - this.#consumed > windowBytes) throw new FrameError(`stream ${this.#stream} overran its window`)
    else this.#queue.push(frame.payload)
    this.#feed()
  }

  /** A loop and not a recursion: a sink that is done at once may be handed thousands of chunks in a row. */
  #feed(): void {
    if (this.#feeding) return
    this.#feeding = true
    while (!this.#busy) {
      const chunk = this.#queue.shift()
      if (chunk === undefined) break
      this.#busy = true
      this.#sink.write(chunk, () => {
        this.#busy = false
        this.#consumed += chunk.length
        if (this.#consumed - this.#acked >= acknowledgeBytes) this.#acknowledgeSoon()
        this.#feed()
      })
    }
    this.#feeding = false
    if (!this.#ended || this.#endTold || !this.idle) return
    this.#endTold = true
    this.#acknowledge()
    this.#sink.end()
  }

  /** Chunks that are consumed in one turn of the event loop are acknowledged together. */
  #acknowledgeSoon(): void {
    if (this.#ackDue) return
    this.#ackDue = true
    process.nextTick(() => {
      this.#ackDue = false
      this.#acknowledge()
    })
  }

  #acknowledge(): void {
    if (this.#stopped || this.#consumed <= this.#acked) return
    this.#acked = this.#consumed
    this.#via.send(encodeHeader(frameType.ack, this.#stream, this.#acked, 0))
  }
}

/** Hands the frames of one stream on, and notices when it is over. */
class Relay {
  readonly #from: JobStream
  readonly #to: JobStream
  readonly #events: RelayEvents
  #endsAt: number | null = null
  #acked = 0
  #stopped = false
  #settled = false

  constructor(from: JobStream, to: JobStream, events: RelayEvents) {
    this.#from = from
    this.#to = to
    this.#events = events
  }

  pass(cameBy: JobStream, frame: Frame): void {
    const carriesBytes = frame.type === frameType.data || frame.type === frameType.end
    if (carriesBytes !== (cameBy === this.#from)) throw new FrameError(`stream ${frame.stream} in the wrong direction`)
    const target = carriesBytes ? this.#to : this.#from
    const header = encodeHeader(frame.type, frame.stream, frame.offset, frame.payload.length)
    if (frame.type === frameType.end) {
      this.#endsAt = frame.offset
      if (this.#events.onEnd === undefined) target.send(header)
      else this.#events.onEnd(frame.stream, () => target.send(header))
    } else if (frame.payload.length === 0) target.send(header)
    else target.send(header, frame.payload)
    if (frame.type === frameType.ack) this.#acked = frame.offset
    if (frame.type === frameType.stop) this.#stopped = true
    if (target.pendingBytes > relayBytesMax) cameBy.waitFor(target)
    this.#settle(frame.stream)
  }

  #settle(stream: number): void {
    if (this.#settled || this.#endsAt === null || (!this.#stopped && this.#acked < this.#endsAt)) return
    this.#settled = true
    this.#events.onSettled?.(stream)
  }
}

/** Sends all that a stream of node gives, reading only while there is room; ends when it ends, and lets go of it on a stop. */
export function sendAll(via: JobStream, stream: number, source: Readable, events: Pick<SenderEvents, 'onDone'> = {}): Sender {
  const sender = via.outgoing(stream, {
    ...events,
    onRoom: () => source.resume(),
    onStop: () => source.destroy(),
  })
  source.on('data', (chunk: Buffer) => {
    if (!sender.write(chunk)) source.pause()
  })
  source.on('end', () => sender.end())
  source.on('error', () => sender.end())
  return sender
}
