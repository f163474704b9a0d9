/**
 * A guest's console, kept in a file that cannot grow: the head (how it booted) and the tail (what it said last). The file alone is
 * the state, so that a restarted bait goes on where the last one stopped.
 *
 *   0 ─────────── headBytes ──────────────────────────────── headBytes + 2·tailBytes
 *   head, for good │ tail; when full, its older half makes room and a line says how much is missing
 */
import { connect } from 'node:net'
import { open, type FileHandle } from 'node:fs/promises'
import type { Kit } from '../kit/service.ts'
import { until } from '../kit/until.ts'

export interface SerialLimits {
  readonly headBytes: number
  readonly tailBytes: number
}

export const serialLimits: SerialLimits = { headBytes: 128 * 1024, tailBytes: 128 * 1024 }

/** Appends, keeping head and tail. Calls must not overlap. */
export async function appendBounded(file: FileHandle, chunk: Buffer, limits = serialLimits): Promise<void> {
  const { headBytes, tailBytes } = limits
  const { size } = await file.stat()
  if (size + chunk.length <= headBytes + 2 * tailBytes) {
    await file.write(chunk, 0, chunk.length, size)
    return
  }
  const room = Math.max(0, headBytes - size)
  if (room > 0) await file.write(chunk, 0, room, size)
  const rest = chunk.subarray(room)
  const kept = Buffer.alloc(Math.max(0, Math.min(tailBytes, size - headBytes)))
  await file.read(kept, 0, kept.length, size - kept.length)
  const tail = Buffer.concat([kept, rest])
  const missing = Math.max(0, size - headBytes) + rest.length - Math.min(tail.length, tailBytes)
  const note = Buffer.from(`\n[… ${missing} bytes left out here by wnod …]\n`)
  await file.truncate(headBytes)
  await file.write(Buffer.concat([note, tail.subarray(Math.max(0, tail.length - tailBytes))]), 0, null, headBytes)
}

/** The end of a serial log, for people: without terminal control, at most `bytes`. */
export async function serialTail(path: string, bytes = 2048): Promise<string> {
  const file = await open(path, 'r').catch(() => null)
  if (file === null) return ''
  try {
    const { size } = await file.stat()
    const buffer = Buffer.alloc(Math.min(size, bytes))
    await file.read(buffer, 0, buffer.length, size - buffer.length)
    return buffer.toString('latin1').replaceAll(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, '').replaceAll(/[^\x20-\x7e\n]/g, '').trim()
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
  const file = await open(paths.file, 'a+').then((made) => made.close()).then(() => open(paths.file, 'r+'))
  const socket = await until(() => connected(paths.socket), { withinMs: 10_000, clock: kit.clock, signal: kit.signal, what: 'serial console' })
    .catch(async (error: unknown) => {
      await file.close()
      throw error
    })
  const copied = (async () => {
    try {
      for await (const chunk of socket) await appendBounded(file, chunk as Buffer)
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
