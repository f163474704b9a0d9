/**
 * The identity of a guest without agent: a small tar on a disk, that our initramfs unpacks over its root before anything of it runs. Where
 * it may come late (images/initramfs/late-seed.c) the disk has always the same size, and what makes a clone another machine at its end:
 *
 *   tar · zeroes · [61440] wnod-late · [61456] milliseconds since 1970 · [61464] 64 random bytes · zeroes
 */
import { randomBytes } from '../../kit/clock.ts'
import { dropbearKey, type KeyPair } from './keys.ts'

export interface Seed {
  readonly hostname: string
  /** What the guest's ssh server reads. */
  readonly hostKeyFormat: 'openssh' | 'dropbear'
  readonly host: KeyPair
  readonly client: KeyPair
}

const block = 512

/** The tar, whole blocks, ended as tar(5) says. */
export function seedTar(seed: Seed): Buffer {
  return Buffer.concat([
    entry('etc/hostname', 0o644, Buffer.from(`${seed.hostname}\n`)),
    seed.hostKeyFormat === 'dropbear'
      ? entry('etc/dropbear/dropbear_ed25519_host_key', 0o600, dropbearKey(seed.host))
      : entry('etc/ssh/ssh_host_ed25519_key', 0o600, Buffer.from(seed.host.secret)),
    entry('root/.ssh/authorized_keys', 0o600, Buffer.from(`${seed.client.shared}\n`)),
    Buffer.alloc(2 * block),
  ])
}

const late = { bytes: 65_536, tailAt: 61_440, magicBytes: 16, entropyBytes: 64 } as const

/** The disk while nobody is named: what a template waits with. */
export const noSeed = (): Buffer => Buffer.alloc(late.bytes)

/** The disk of a seed that may come late; the guest's clock becomes `nowMs` when it reads that. */
export function lateSeed(seed: Seed, nowMs: number): Buffer {
  const tar = seedTar(seed)
  const disk = noSeed()
  if (tar.length > late.tailAt) throw new Error('a seed has no room for such keys')
  tar.copy(disk)
  disk.write('wnod-late', late.tailAt)
  disk.writeBigInt64LE(BigInt(nowMs), late.tailAt + late.magicBytes)
  disk.set(randomBytes(late.entropyBytes), late.tailAt + late.magicBytes + 8)
  return disk
}

function entry(name: string, mode: number, content: Buffer): Buffer {
  const header = Buffer.alloc(block)
  header.write(name, 0)
  header.write(`${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(content.length, 11)}\0${octal(0, 11)}\0`, 100)
  header.write('        0', 148)
  header.write('ustar\x0000root', 257)
  header.write(`${octal(header.reduce((sum, byte) => sum + byte, 0), 6)}\0 `, 148)
  return Buffer.concat([header, content, Buffer.alloc((block - (content.length % block)) % block)])
}

const octal = (value: number, digits: number): string => value.toString(8).padStart(digits, '0')
