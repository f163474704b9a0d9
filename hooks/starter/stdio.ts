/**
 * The three files that the batch system has given us. They are shared with others (a shell, other jobs, the batch system itself), so
 * nothing of them may change: reading and writing moves the shared offset as the job itself would, and no flag of theirs is touched
 * where that can be helped.
 *
 *   regular files, devices   plain read and write at the shared offset; O_APPEND does what it should by itself
 *   pipes                    opened once more through /proc/self/fd: O_NONBLOCK belongs to our opening alone. Where that is
 *                            forbidden (a pipe made by another user), ours becomes non-blocking and node sets it back at exit
 *   sockets                  cannot be opened again; set back at exit likewise
 *   terminals                libuv opens them again by name
 */
import { closeSync, constants, fstatSync, openSync, read, write, type Stats } from 'node:fs'
import { Socket } from 'node:net'
import { isatty, ReadStream, WriteStream } from 'node:tty'
import { chunkBytes } from '../../wire/frames.ts'
import type { Sender, Sink } from '../../wire/job-stream.ts'

export interface FdFacts {
  readonly fd: number
  readonly kind: 'closed' | 'null' | 'file' | 'pipe' | 'socket' | 'tty'
  /** Device and inode: two descriptors with the same are one file. */
  readonly file: string
}

/** What a descriptor is. Node has opened a closed one on /dev/null: it looks like any other /dev/null, unless `closed` names it. */
export function look(fd: number, closed: readonly number[]): FdFacts {
  const stat = fstatSync(fd)
  return { fd, kind: closed.includes(fd) ? 'closed' : kindOf(fd, stat), file: `${stat.dev}:${stat.ino}` }
}

/** Of /dev/null, major 1 minor 3. */
const nullDevice = 0x103

function kindOf(fd: number, stat: Stats): FdFacts['kind'] {
  if (stat.isCharacterDevice()) return stat.rdev === nullDevice ? 'null' : isatty(fd) ? 'tty' : 'file'
  return stat.isFIFO() ? 'pipe' : stat.isSocket() ? 'socket' : 'file'
}

/** A source that reads only when told that there is room. */
export interface Source {
  onRoom(): void
  /** The job reads no more: whoever writes to us shall notice. */
  onStop(): void
}

/** Sends a descriptor's bytes; the first read comes after the job has opened its stdin. `isJobs`: it is the terminal of the job, every key goes there. */
export function source(facts: FdFacts, sender: () => Sender, isJobs = false): Source {
  return facts.kind === 'file' ? fileSource(facts.fd, sender) : streamSource(facts, sender, isJobs)
}

/** Sends bytes that were read before. */
export function given(bytes: Buffer, sender: () => Sender): Source {
  let at = 0
  const pull = (): void => {
    while (at < bytes.length) {
      const chunk = bytes.subarray(at, at + chunkBytes)
      at += chunk.length
      if (!sender().write(chunk)) return
    }
    if (at === bytes.length) sender().end()
    at = Infinity
  }
  return { onRoom: () => at <= bytes.length && pull(), onStop: () => void (at = Infinity) }
}

function fileSource(fd: number, sender: () => Sender): Source {
  let busy = false
  let over = false
  const pull = (): void => {
    if (busy || over) return
    busy = true
    const buffer = Buffer.allocUnsafeSlow(chunkBytes)
    read(fd, buffer, 0, buffer.length, null, (error, length) => {
      busy = false
      if (error?.code === 'EAGAIN') setTimeout(pull, retryMs)
      else if (error !== null || length === 0) {
        over = true
        sender().end()
      } else if (sender().write(buffer.subarray(0, length))) pull()
    })
  }
  return { onRoom: pull, onStop: () => void ((over = true), tryClose(fd)) }
}

function streamSource(facts: FdFacts, sender: () => Sender, isJobs: boolean): Source {
  let stream: Socket | null = null
  const open = (): Socket => {
    const opened = facts.kind === 'tty' ? new ReadStream(facts.fd) : new Socket({ fd: reopened(facts, constants.O_RDONLY) ?? facts.fd, readable: true, writable: false })
    opened.on('data', (chunk: Buffer) => {
      if (!sender().write(chunk)) opened.pause()
    })
    const end = (): void => sender().end()
    const atEnd = (): void => (isJobs ? void setTimeout(end, hangupMs) : end())
    opened.on('end', atEnd)
    opened.on('error', atEnd)
    return opened
  }
  return {
    onRoom: () => void (stream ??= open()).resume(),
    onStop: () => {
      stream?.destroy()
      tryClose(facts.fd)
    },
  }
}

/** Before an exit: node would set back the modes of a terminal that is gone, and abort over it. */
export function leaveGone(files: readonly FdFacts[]): void {
  for (const { fd, kind } of files) if (kind === 'tty' && !isatty(fd)) tryClose(fd)
}

/** A sink that says what went wrong, once; null: its reader has closed. */
export function sink(facts: FdFacts, onError: (error: NodeJS.ErrnoException) => void): Sink {
  return facts.kind === 'file' ? fileSink(facts.fd, onError) : streamSink(facts, onError)
}

/** Nobody wants what is written there any more, which is no failure: a pipe without a reader, a terminal that is gone. */
export const readerIsGone = ({ kind }: FdFacts, { code }: NodeJS.ErrnoException): boolean => code === 'EPIPE' || code === 'ENXIO' || (code === 'EIO' && kind === 'tty')

function fileSink(fd: number, onError: (error: NodeJS.ErrnoException) => void): Sink {
  const put = (chunk: Buffer, done: () => void): void =>
    write(fd, chunk, 0, chunk.length, null, (error, length) => {
      if (error?.code === 'EAGAIN') setTimeout(put, retryMs, chunk, done)
      else if (error !== null) onError(error)
      else if (length < chunk.length) put(chunk.subarray(length), done)
      else done()
    })
  return { write: put, end: () => tryClose(fd) }
}

function streamSink(facts: FdFacts, onError: (error: NodeJS.ErrnoException) => void): Sink {
  let stream: Socket | null = null
  const open = (): Socket => {
    const fd = reopened(facts, constants.O_WRONLY)
    const opened = facts.kind === 'tty' ? new WriteStream(facts.fd) : new Socket({ fd: fd ?? facts.fd, readable: false, writable: true })
    opened.on('error', onError)
    return opened
  }
  return {
    write(chunk, done) {
      try {
        stream ??= open()
      } catch (error) {
        return onError(error as NodeJS.ErrnoException)
      }
      stream.write(chunk, (error) => {
        if (error === null || error === undefined) done()
      })
    },
    end() {
      if (facts.kind === 'tty') return
      stream?.destroy()
      tryClose(facts.fd)
    },
  }
}

/** The same pipe in an opening of our own; null where it may not be opened. ENXIO, a pipe without a reader, is thrown. */
function reopened(facts: FdFacts, mode: number): number | null {
  if (facts.kind !== 'pipe') return null
  try {
    return openSync(`/proc/self/fd/${facts.fd}`, mode | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENXIO') throw error
    return null
  }
}

/** How long a descriptor that somebody else has made non-blocking is left alone. */
const retryMs = 5

/**
 * A terminal of a job has an end when it is gone, and then there is a SIGHUP too, which may be heard later. It goes first: the job shall die of
 * that, and not of what it does at the end of its input.
 */
const hangupMs = 1_000

/**
 * Whoever is at the other end sees us gone. The number itself stays taken: libuv would refuse to close a later file that got one of
 * the three, and ends the process over it.
 */
function tryClose(fd: number): void {
  try {
    closeSync(fd)
    openSync('/dev/null', 'r+')
  } catch {
    // closed before
  }
}
