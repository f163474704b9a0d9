/**
 * The files that a template is kept in, whichever driver made it: the guest's memory, byte for byte, and the state of everything
 * else. A hypervisor believes a state whatever is in it, so ours begins with a line that tells whether it is whole and whose it is:
 *
 *   wnod-state 1 MACHINE SHA256 BYTES\n   the driver's own bytes
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile, rm, stat } from 'node:fs/promises'
import { VwnError } from '../../core/errors.ts'
import { writeAtomic, writeFailure } from '../../kit/atomic-file.ts'
import type { FileMemorySpec, VmSpec } from './hypervisor.ts'

const mib = 1024 ** 2
const firstLine = /^wnod-state 1 ([0-9a-f]{64}) ([0-9a-f]{64}) (\d{1,12})\n/
const firstLineCharsMax = 200

const sha256 = (bytes: string | Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** Raised when a driver gives its machines other devices, or the same ones other powers: what was saved before does not fit then. */
const devices = 2

/** What a template and its clones have in common, as one word: equal for two specs only if one can begin where the other stood. */
export function machineOf({ accelerator, cpus, memoryMib, kernel, initrd, cmdline, network, disks }: VmSpec): string {
  const alike = disks.map(({ serial, format, readOnly, path }) => ({ serial, format, readOnly, path: serial === 'os' ? path : null }))
  return sha256(JSON.stringify({ devices, accelerator, cpus, memoryMib, kernel, initrd, cmdline, network, disks: alike }))
}

/** The file has all of the state or does not exist. */
export async function writeState(file: string, spec: VmSpec, state: Uint8Array): Promise<void> {
  await writeAtomic(file, Buffer.concat([Buffer.from(`wnod-state 1 ${machineOf(spec)} ${sha256(state)} ${state.length}\n`), state]))
}

/** The very bytes that were written, for the same machine; FILE_UNREADABLE, TEMPLATE_STATE_DAMAGED or TEMPLATE_OTHER_MACHINE otherwise. */
export async function readState(file: string, spec: VmSpec): Promise<Uint8Array> {
  const bytes = await readFile(file).catch((cause: unknown) => {
    throw new VwnError('FILE_UNREADABLE', { file }, { cause })
  })
  const [line, machine, digest, length] = firstLine.exec(bytes.subarray(0, firstLineCharsMax).toString('latin1')) ?? []
  if (line === undefined) throw new VwnError('TEMPLATE_STATE_DAMAGED', { file, why: 'it does not begin as a state does' })
  const state = bytes.subarray(line.length)
  if (state.length !== Number(length)) throw new VwnError('TEMPLATE_STATE_DAMAGED', { file, bytes: state.length, expected: Number(length) })
  if (sha256(state) !== digest) throw new VwnError('TEMPLATE_STATE_DAMAGED', { file, why: 'its bytes are not those that were saved' })
  if (machine !== machineOf(spec)) throw new VwnError('TEMPLATE_OTHER_MACHINE', { file })
  return state
}

/** An empty memory of the right size, thin; a file that is there already would be old memory for a new guest and is refused. */
export async function makeMemoryFile({ memoryFile, memoryMib }: FileMemorySpec): Promise<void> {
  const file = await open(memoryFile, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600).catch((cause: unknown) => {
    throw writeFailure(memoryFile, cause)
  })
  try {
    await file.truncate(memoryMib * mib)
  } catch (cause) {
    await rm(memoryFile, { force: true })
    throw writeFailure(memoryFile, cause)
  } finally {
    await file.close()
  }
}

/** A shorter file would end a guest in the middle of its work, when it reads where nothing is. */
export async function checkMemoryFile({ memoryFile, memoryMib }: FileMemorySpec): Promise<void> {
  const { size } = await stat(memoryFile).catch((cause: unknown) => {
    throw new VwnError('FILE_UNREADABLE', { file: memoryFile }, { cause })
  })
  if (size !== memoryMib * mib) throw new VwnError('TEMPLATE_MEMORY_WRONG', { file: memoryFile, bytes: size, expected: memoryMib * mib })
}

/** Memory and writable disks survive a power failure from here on. */
export async function syncTemplate({ memoryFile, disks }: FileMemorySpec): Promise<void> {
  for (const path of [memoryFile, ...disks.flatMap((disk) => (disk.readOnly ? [] : [disk.path]))]) {
    try {
      const file = await open(path, constants.O_RDONLY)
      await file.sync().finally(() => file.close())
    } catch (cause) {
      throw writeFailure(path, cause)
    }
  }
}
