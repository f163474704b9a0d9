import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { hostId, idPatterns } from '../core/ids.ts'
import { writeAtomic } from '../kit/atomic-file.ts'
import { randomId } from '../kit/clock.ts'
import type { Context } from './context.ts'
import { claims, makeCreds } from './farm/creds.ts'

/** `wnod creds`: the folder has claims for a NATS server, a .creds file per program and a token for readers; existing ones are never replaced. */
export async function writeCreds(context: Context, folder: string, hosts: readonly string[]): Promise<void> {
  const wrong = hosts.find((host) => !idPatterns.host.test(host))
  if (wrong !== undefined) throw new VwnError('OPTION_INVALID', { host: wrong, problem: 'a host is named by small letters, digits and dashes' })
  const claimsFile = join(folder, 'wnod-claims.conf')
  if (existsSync(claimsFile)) throw new VwnError('FILE_UNWRITABLE', { file: claimsFile, why: 'it exists, and programs may be using its keys' })
  const creds = await makeCreds(hosts.map(hostId))
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const [program, text] of creds.programs) await writeAtomic(join(folder, `${program}.creds`), text)
  const tokenFile = join(folder, 'http.token')
  await writeAtomic(tokenFile, `${randomId(32)}\n`)
  await writeAtomic(claimsFile, `# Who may connect: include this in nats.conf. Made by \`wnod creds\`.\n${claims(creds)}`, { mode: 0o644 })
  context.print([claimsFile, tokenFile, ...[...creds.programs.keys()].map((program) => join(folder, `${program}.creds`))].map((file) => `${file}\n`).join(''))
}
