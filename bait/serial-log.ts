/**
 * A guest's console, kept in a file that cannot grow: the head (how it booted) and the tail (what it said last). The file alone is
 * the state, so that a restarted bait goes on where the last one stopped.
 *
 *   0 ─────────── headBytes ──────────────────────────────── headBytes + 2·tailBytes
 *   head, for good │ tail; when full, its older half makes room and a line says how much is missing
 *
 * The file only grows, until another one takes its place whole: who reads it meanwhile has the one or the other. A place in it is told by how
 * much the guest had said before, which stays true whatever was left out.
 */
import { connect } from 'node:net'
import { open, type FileHandle } from 'node:fs/promises'
import { errnoOf, writeAtomic } from '../kit/atomic-file.ts'
import { harmless } from '../kit/plain.ts'
import type { Kit } from '../kit/service.ts'
import { until } from '../kit/until.ts'

export interface SerialLimits {
  readonly headBytes: number
  readonly tailBytes: number
}

export const serialLimits: SerialLimits = { headBytes: 128 * 1024, tailBytes: 128 * 1024 }

const noteOf = (missing: number): Buffer => Buffer.from(`\n[… ${missing} bytes left out here by wnod …]\n`)
const notePattern = /^\n\[… (\d{1,15}) bytes left out here by wnod …\]\n/
const noteBytesMax = 80

/** Where what is: the file's first `headBytes`, and from `tailAt` on what came `missing` bytes later. */
interface Layout {
  readonly size: number
  readonly tailAt: number
  readonly missing: number
}

async function layoutOf(file: FileHandle, headBytes: number): Promise<Layout> {
  const { size } = await file.stat()
  const note = notePattern.exec((await bytesOf(file, headBytes, Math.min(size, headBytes + noteBytesMax))).toString('utf8'))
  return note === null ? { size, tailAt: headBytes, missing: 0 } : { size, tailAt: headBytes + Buffer.byteLength(note[0]), missing: Number(note[1]) }
}

async function bytesOf(file: FileHandle, from: number, to: number): Promise<Buffer> {
  const buffer = Buffer.alloc(Math.max(0, to - from))
  const { bytesRead } = await file.read(buffer, 0, buffer.length, from)
  return buffer.subarray(0, bytesRead)
}

export interface SerialFile {
  /** Appends, keeping head and tail. Calls must not overlap. */
  append(chunk: Buffer): Promise<void>
  close(): Promise<void>
}

/** The log at this path, made where there is none, for its one writer. */
export async function openSerialFile(path: string, { headBytes, tailBytes } = serialLimits): Promise<SerialFile> {
  let file = await open(path, 'a+')
  const shorten = async (rest: Buffer): Promise<void> => {
    const { size, tailAt, missing } = await layoutOf(file, headBytes)
    const head = Buffer.concat([await bytesOf(file, 0, Math.min(size, headBytes)), rest.subarray(0, Math.max(0, headBytes - size))])
    const after = rest.subarray(Math.max(0, headBytes - size))
    const before = Math.max(0, size - tailAt)
    const tail = Buffer.concat([await bytesOf(file, Math.max(tailAt, size - tailBytes), size), after]).subarray(-tailBytes)
    await writeAtomic(path, Buffer.concat([head, noteOf(missing + before + after.length - tail.length), tail]))
    await file.close()
    file = await open(path, 'a+')
  }
  return {
    async append(chunk) {
      const { size } = await file.stat()
      if (size + chunk.length > headBytes + 2 * tailBytes) await shorten(chunk)
      else await file.appendFile(chunk)
    },
    close: () => file.close(),
  }
}

/** A piece of what a guest has said, as text. Places count the bytes that it said before. */
export interface SerialPiece {
  /** Later than was asked for where what stood there was left out. */
  readonly from: number
  /** Where to go on. */
  readonly next: number
  /** How much the guest has said in all. */
  readonly said: number
  /** Without terminal control. */
  readonly text: string
}

/** What the guest has said from there on, `bytesMax` of it; for null, the last lines that fit. */
export async function readSerial(path: string, from: number | null, bytesMax: number, { headBytes } = serialLimits): Promise<SerialPiece> {
  const file = await open(path, 'r').catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return null // it has not said anything yet
    throw error
  })
  if (file === null) return { from: 0, next: 0, said: 0, text: '' }
  try {
    const { size, tailAt, missing } = await layoutOf(file, headBytes)
    const tailFrom = headBytes + missing
    const said = size <= headBytes ? size : tailFrom + size - tailAt
    const asked = Math.min(from ?? Math.max(0, said - bytesMax), said)
    const start = missing > 0 && asked >= headBytes ? Math.max(asked, tailFrom) : asked
    const inHead = start < headBytes
    const at = inHead ? start : tailAt + start - tailFrom
    const end = Math.min(inHead && missing > 0 ? headBytes : size, at + bytesMax)
    const bytes = await bytesOf(file, at, end)
    const isLast = start + bytes.length === said
    const isBeforeGap = missing > 0 && at + bytes.length === headBytes
    const open = isBeforeGap ? 0 : begunBytes(bytes)
    const whole = bytes.subarray(0, bytes.length - (open === bytes.length && !isLast ? 0 : open))
    const skipped = from === null && start > 0 ? whole.indexOf(10) + 1 : 0
    return { from: start + skipped, next: start + whole.length, said, text: harmless(whole.subarray(skipped).toString('utf8')) }
  } finally {
    await file.close()
  }
}

/** A terminal's command, or a letter of several bytes, that has only begun: it is told with its end. */
const begunMax = 64
const begun = /(?:\x1b(?:\[[0-9;:?]*[ -/]*|[\]PX^_][^\x07\x1b]*|[ -/]*)|[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2})$/

const begunBytes = (bytes: Buffer): number => begun.exec(bytes.subarray(-begunMax).toString('latin1'))?.[0].length ?? 0

/** The end of a serial log, for people: without terminal control, at most `bytes`. */
export async function serialTail(path: string, bytes = 2048): Promise<string> {
  const file = await open(path, 'r').catch(() => null)
  if (file === null) return ''
  try {
    const { size } = await file.stat()
    return (await bytesOf(file, Math.max(0, size - bytes), size)).toString('latin1').replaceAll(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, '').replaceAll(/[^\x20-\x7e\n]/g, '').trim()
  } finally {
    await file.close()
  }
}

export interface SerialLog {
  /** Resolves when what has arrived is in the file and the connection is closed; safe to repeat. */
  close(): Promise<void>
}

/** Copies a guest's console socket into its file until closed; a reader slower than the guest slows the guest. */
export async function keepSerialLog(kit: Kit, paths: { socket: string; file: string }): Promise<SerialLog> {
  const file = await openSerialFile(paths.file)
  const socket = await until(() => connected(paths.socket), { withinMs: 10_000, clock: kit.clock, signal: kit.signal, what: 'serial console' })
    .catch(async (error: unknown) => {
      await file.close()
      throw error
    })
  const copied = (async () => {
    try {
      for await (const chunk of socket) await file.append(chunk as Buffer)
    } catch (error) {
      kit.log.debug({ err: error }, 'serial console ended')
    } finally {
      await file.close()
    }
  })()
  return {
    close: () => {
      socket.destroy()
      return copied
    },
  }
}

function connected(path: string): Promise<ReturnType<typeof connect>> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket.off('error', reject)))
    socket.once('error', reject)
  })
}
