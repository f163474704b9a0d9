/** Each VWN has keys of its own, known to nobody else: its guest's host key and this bait's key to it. */
import ssh2 from 'ssh2'

/**
 * What a guest's server computes with least. OpenSSH has plain C of its own for ed25519, which an emulated guest has to translate before it
 * runs, and OpenSSL's assembler for P-256; dropbear's curves are the other way round.
 */
export type KeyKind = 'ecdsa' | 'ed25519'

export interface KeyPair {
  /** OpenSSH private key. */
  readonly secret: string
  /** `ssh-ed25519 AAAA…` or `ecdsa-sha2-nistp256 AAAA…`, without comment. */
  readonly shared: string
}

/** A fresh pair; takes about a millisecond. */
export function newKeyPair(kind: KeyKind = 'ed25519'): KeyPair {
  for (;;) {
    const pair = kind === 'ecdsa' ? ssh2.utils.generateKeyPairSync('ecdsa', { bits: 256 }) : ssh2.utils.generateKeyPairSync('ed25519')
    // One key in 256 begins with a zero byte, which ssh2 (1.17) takes off: such a pair is broken, and nobody can read it.
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return { secret: pair.private, shared: pair.public.trim() }
  }
}

/** The host key as dropbear keeps it: name, then seed and public half in one string (its signkey.c). */
export function dropbearKey(pair: KeyPair): Buffer {
  const { seed, point } = ed25519Parts(pair)
  return Buffer.concat([sshString(Buffer.from('ssh-ed25519')), sshString(Buffer.concat([seed, point]))])
}

/** The two halves of an ed25519 key, found behind its public blob in the private file's plain section (PROTOCOL.key). */
function ed25519Parts(pair: KeyPair): { seed: Buffer; point: Buffer } {
  const blob = Buffer.from(pair.shared.split(' ')[1] ?? '', 'base64')
  const point = blob.subarray(-32)
  const body = Buffer.from(pair.secret.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
  const at = body.lastIndexOf(sshString(point)) + 4 + 32     // … string public · string (seed · public) …
  const both = body.subarray(at + 4, at + 4 + 64)
  if (both.length !== 64 || !both.subarray(32).equals(point)) throw new Error('not an unencrypted ed25519 key')
  return { seed: both.subarray(0, 32), point }
}

function sshString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
