/** The archive that a kernel unpacks as its first root: cpio in its "newc" form (Documentation/driver-api/early-userspace). */

export type CpioEntry =
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly bytes: Uint8Array }
  | { readonly kind: 'device'; readonly path: string; readonly mode: number; readonly major: number; readonly minor: number }

const types = { folder: 0o040000, file: 0o100000, device: 0o020000 } as const

/** The archive of these entries, in this order; equal entries give equal bytes. */
export function cpio(entries: readonly CpioEntry[]): Uint8Array {
  return Buffer.concat([...entries.map((entry, i) => record(entry, i + 1)), trailer])
}

function record(entry: CpioEntry, inode: number): Uint8Array {
  const bytes = entry.kind === 'file' ? entry.bytes : new Uint8Array()
  const mode = types[entry.kind] | (entry.kind === 'folder' ? 0o755 : entry.mode)
  const [major, minor] = entry.kind === 'device' ? [entry.major, entry.minor] : [0, 0]
  const links = entry.kind === 'folder' ? 2 : 1
  return member([inode, mode, 0, 0, links, 0, bytes.length, 0, 0, major, minor], entry.path, bytes)
}

/** The numbers are those of the format: ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor. */
function member(numbers: readonly number[], path: string, bytes: Uint8Array): Uint8Array {
  const name = Buffer.from(`${path}\0`)
  const fields = [...numbers, name.length, 0].map((value) => value.toString(16).padStart(8, '0')).join('')
  return Buffer.concat([padded(Buffer.concat([Buffer.from(`070701${fields}`), name])), padded(bytes)])
}

const padded = (bytes: Uint8Array): Uint8Array => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])

const trailer = member([0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], 'TRAILER!!!', new Uint8Array())
