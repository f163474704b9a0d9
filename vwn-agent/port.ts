/**
 * The guest's end of the virtio-serial port: one JSON message a line.
 *
 * The port is a character device that node can only read in a thread, one read at a time. While nobody is connected at the host's
 * side a read says "end of file" at once and a write waits: so reading pauses between such answers, and messages are written one
 * after the other without waiting for them.
 */
import { close, existsSync, open, read, readdirSync, readFileSync, write } from 'node:fs'
import { portLineBytesMax } from '../wire/guest-facts.ts'

export interface Port {
  /** Queues a line; of several that wait for a host that does not read, the newest are kept. */
  send(message: object): void
  /** Lines that were dropped because nobody could read them. */
  readonly dropped: number
}

const pauseMs = { first: 10, most: 250 }
const queueMax = 16

/** Opens the port as soon as it is there, and calls back for each line. */
export function openPort(path: string, onLine: (line: string) => boolean): Port {
  const cutter = lineCutter(onLine)
  const waiting: Buffer[] = []
  let fd: number | null = null
  let writing = false
  let pause = pauseMs.first

  const again = (step: () => void): void => {
    setTimeout(step, pause)
    pause = Math.min(pause * 2, pauseMs.most)
  }
  const connect = (): void => {
    const inherited = /^fd:(\d+)$/.exec(path)
    if (inherited !== null) return opened(Number(inherited[1]))
    open(devicePath(path), 'r+', (error, got) => (error === null ? opened(got) : again(connect)))
  }
  const opened = (got: number): void => {
    fd = got
    receive(got, Buffer.allocUnsafe(16 * 1024))
    transmit()
  }
  const reopen = (broken: number): void => {
    if (fd !== broken) return
    fd = null
    close(broken, () => again(connect))
  }
  const receive = (from: number, buffer: Buffer): void =>
    read(from, buffer, 0, buffer.length, null, (error, got) => {
      if (error !== null && error.code !== 'EAGAIN' && error.code !== 'EINTR') return reopen(from)
      if (error !== null || got === 0) return again(() => receive(from, buffer)) // nobody is connected
      pause = pauseMs.first
      cutter.push(buffer.subarray(0, got))
      receive(from, buffer)
    })
  const transmit = (): void => {
    const to = fd
    const line = waiting[0]
    if (to === null || writing || line === undefined) return
    writing = true
    write(to, line, 0, line.length, null, (error, wrote) => {
      writing = false
      if (error !== null) {
        if (error.code === 'EAGAIN' || error.code === 'EINTR') return again(transmit)
        return reopen(to)
      }
      if (wrote < line.length) waiting[0] = line.subarray(wrote)
      else waiting.shift()
      transmit()
    })
  }

  connect()
  return {
    send(message) {
      if (waiting.length >= queueMax) waiting.splice(1, 1) // the first may be half written
      waiting.push(Buffer.from(`${JSON.stringify(message)}\n`))
      transmit()
    },
    get dropped() {
      return cutter.dropped
    },
  }
}

/** The device by its name; without udev there are no names in /dev, only in /sys. */
function devicePath(path: string): string {
  if (existsSync(path)) return path
  const name = path.slice(path.lastIndexOf('/') + 1)
  try {
    const device = readdirSync('/sys/class/virtio-ports').find((each) => readFileSync(`/sys/class/virtio-ports/${each}/name`, 'latin1').trim() === name)
    return device === undefined ? path : `/dev/${device}`
  } catch {
    return path // no such class yet: opening says so
  }
}

interface LineCutter {
  push(bytes: Buffer): void
  readonly dropped: number
}

/** Cuts bytes into lines of bounded length; a line that is too long, or that `onLine` refuses, is counted and dropped. */
export function lineCutter(onLine: (line: string) => boolean, bytesMax: number = portLineBytesMax): LineCutter {
  let kept: Buffer[] = []
  let keptBytes = 0
  let dropped = 0
  const keep = (bytes: Buffer): void => {
    keptBytes += bytes.length
    if (keptBytes > bytesMax) kept = []
    else if (bytes.length > 0) kept.push(Buffer.from(bytes))
  }
  return {
    push(bytes) {
      let from = 0
      for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, from)) {
        keep(bytes.subarray(from, at))
        from = at + 1
        if (keptBytes > bytesMax || !onLine(Buffer.concat(kept).toString('utf8'))) dropped += 1
        kept = []
        keptBytes = 0
      }
      keep(bytes.subarray(from))
    },
    get dropped() {
      return dropped
    },
  }
}
