/**
 * An empty qcow2 disk over a backing file, as bytes: QEMU's docs/interop/qcow2.txt, version 3. To ask qemu-img for it costs a process,
 * which is a good part of what a clone may take.
 *
 *   cluster 0    header, extension with the backing file's format, its name
 *   cluster 1    refcount table: one entry, cluster 2
 *   cluster 2    refcounts: 1 for each cluster in use
 *   cluster 3…   L1 table: all zeroes, a hole
 */
export interface Qcow2 {
  /** What stands where; all else is zeroes. */
  readonly pieces: readonly { readonly at: number; readonly bytes: Uint8Array }[]
  readonly fileBytes: number
}

const cluster = 65_536
const headerBytes = 112
const backingFormatExtension = 0xe279_2aca
const nameBytesMax = 1023

/** A disk of this size that reads as the file `backing` until it is written to; the path may be 1023 bytes long. */
export function emptyOverlay(sizeBytes: number, backing: string, format: 'raw' | 'qcow2'): Qcow2 {
  const name = Buffer.from(backing)
  if (name.length > nameBytesMax) throw new RangeError(`the path of a backing file has at most ${nameBytesMax} bytes: ${backing}`)
  const guestBytesOfL2 = cluster * (cluster / 8)
  const l1Entries = Math.ceil(sizeBytes / guestBytesOfL2)
  const clusters = 3 + Math.max(1, Math.ceil((l1Entries * 8) / cluster))
  const extension = Buffer.alloc(8 + 8)
  extension.writeUInt32BE(backingFormatExtension, 0)
  extension.writeUInt32BE(format.length, 4)
  extension.write(format, 8)
  const nameAt = headerBytes + extension.length + 8 // after the extension that ends them, eight zeroes

  const header = Buffer.alloc(headerBytes)
  header.write('QFI\xfb', 0, 'latin1')
  header.writeUInt32BE(3, 4)
  header.writeBigUInt64BE(BigInt(nameAt), 8)
  header.writeUInt32BE(name.length, 16)
  header.writeUInt32BE(Math.log2(cluster), 20)
  header.writeBigUInt64BE(BigInt(sizeBytes), 24)
  header.writeUInt32BE(l1Entries, 36)
  header.writeBigUInt64BE(BigInt(3 * cluster), 40)
  header.writeBigUInt64BE(BigInt(cluster), 48)
  header.writeUInt32BE(1, 56)
  header.writeUInt32BE(4, 96) // refcounts of 2⁴ bits
  header.writeUInt32BE(headerBytes, 100)

  const table = Buffer.alloc(8)
  table.writeBigUInt64BE(BigInt(2 * cluster))
  const counts = Buffer.alloc(2 * clusters)
  for (let n = 0; n < clusters; n += 1) counts.writeUInt16BE(1, 2 * n)
  return {
    pieces: [{ at: 0, bytes: Buffer.concat([header, extension, Buffer.alloc(8), name]) }, { at: cluster, bytes: table }, { at: 2 * cluster, bytes: counts }],
    fileBytes: clusters * cluster,
  }
}
