import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { sign, verify, createPrivateKey, createPublicKey } from 'node:crypto'
import { expect, test } from 'vitest'
import { dropbearKey, newKeyPair } from '../../bait/vwns/keys.ts'
import { lateSeed, noSeed, seedTar } from '../../bait/vwns/seed.ts'

const run = promisify(execFile)

/** The two halves of a dropbear ed25519 key: name, then seed and public part. */
function dropbearHalves(key: Buffer): { seed: Buffer; point: Buffer } {
  expect(key.subarray(0, 15).toString('latin1')).toBe('\0\0\0\x0bssh-ed25519')
  expect(key.readUInt32BE(15)).toBe(64)
  return { seed: key.subarray(19, 51), point: key.subarray(51, 83) }
}

test('every key pair is another one, and its dropbear form holds the same key', () => {
  const [one, two] = [newKeyPair(), newKeyPair()]
  expect(one.secret).not.toBe(two.secret)
  expect(one.shared).toMatch(/^ssh-ed25519 [A-Za-z0-9+/]+=*$/)
  const { seed, point } = dropbearHalves(dropbearKey(one))
  expect(Buffer.from(one.shared.split(' ')[1] ?? '', 'base64').subarray(-32)).toEqual(point)
  const secret = createPrivateKey({ key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]), format: 'der', type: 'pkcs8' })
  const shared = createPublicKey({ key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), point]), format: 'der', type: 'spki' })
  const message = Buffer.from('who are you')
  expect(verify(null, message, shared, sign(null, message, secret))).toBe(true)
})

test('a seed that may come late is a tar to whoever reads tars, always of one size, and no two have the same random bytes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wnod-'))
  try {
    const who = { hostname: 'h1-v1', hostKeyFormat: 'dropbear' as const, host: newKeyPair(), client: newKeyPair() }
    const [one, two] = [lateSeed(who, 1_800_000_000_123), lateSeed(who, 1_800_000_000_123)]
    expect([one.length, two.length, noSeed().length]).toEqual([65_536, 65_536, 65_536])
    expect(noSeed().every((byte) => byte === 0)).toBe(true)
    await writeFile(join(folder, 'seed.tar'), one)
    await run('tar', ['-x', '-f', 'seed.tar'], { cwd: folder })
    expect(await readFile(join(folder, 'etc/hostname'), 'utf8')).toBe('h1-v1\n')
    expect(one.toString('latin1', 61_440, 61_449)).toBe('wnod-late')
    expect(one.readBigInt64LE(61_456)).toBe(1_800_000_000_123n)
    expect(one.subarray(61_464, 61_528)).not.toEqual(two.subarray(61_464, 61_528))
    expect(one.subarray(0, 61_464)).toEqual(two.subarray(0, 61_464))
  } finally {
    await rm(folder, { recursive: true })
  }
})

test.each(['dropbear', 'openssh'] as const)('tar unpacks a seed for %s, with its modes', async (hostKeyFormat) => {
  const folder = await mkdtemp(join(tmpdir(), 'wnod-'))
  try {
    const pair = { host: newKeyPair(), client: newKeyPair() }
    const tar = seedTar({ hostname: 'h1-v1', hostKeyFormat, ...pair })
    expect(tar.length % 512).toBe(0)
    await writeFile(join(folder, 'seed.tar'), tar)
    await run('tar', ['-x', '-f', 'seed.tar'], { cwd: folder })
    const key = join(folder, hostKeyFormat === 'dropbear' ? 'etc/dropbear/dropbear_ed25519_host_key' : 'etc/ssh/ssh_host_ed25519_key')
    expect((await stat(key)).mode & 0o777).toBe(0o600)
    expect(await readFile(key)).toEqual(hostKeyFormat === 'dropbear' ? dropbearKey(pair.host) : Buffer.from(pair.host.secret))
    expect(await readFile(join(folder, 'root/.ssh/authorized_keys'), 'utf8')).toBe(`${pair.client.shared}\n`)
    expect(await readFile(join(folder, 'etc/hostname'), 'utf8')).toBe('h1-v1\n')
  } finally {
    await rm(folder, { recursive: true })
  }
})
