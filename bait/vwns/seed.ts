/** The identity of a guest without agent: a small tar that our initramfs unpacks over its root, before anything of it runs. */
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
