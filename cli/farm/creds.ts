/**
 * The credentials of a local farm, made on the spot: an operator that signs one account, the account signs one user per program,
 * each with the least permissions it needs. The operator's and account's keys are forgotten at once, so nobody can add users later.
 */
import { Algorithms, encodeAccount, encodeOperator, encodeUser, fmtCreds } from '@nats-io/jwt'
import { createAccount, createOperator, createUser } from 'nkeys.js'
import type { HostId } from '../../core/ids.ts'
import { baitPermissions, controllerPermissions, type Permissions } from '../../wire/subjects.ts'

export interface FarmCreds {
  /** Public claims for the server's own configuration. */
  readonly operator: string
  readonly account: Signed
  readonly systemAccount: Signed
  /** Program name (`controller`, `bait-h1`) → the text of its .creds file. */
  readonly programs: ReadonlyMap<string, string>
}

interface Signed {
  readonly id: string
  readonly jwt: string
}

const unlimited = { conn: -1, subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, leaf: -1 } as const
const jetStream = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 } as const
/** One answer to each request; the time is in nanoseconds. */
const answers = { max: 1, ttl: 30e9 } as const
const v2 = { algorithm: Algorithms.v2 }

/** Fresh keys and claims for a controller and these hosts. */
export async function makeCreds(hosts: readonly HostId[]): Promise<FarmCreds> {
  const operator = createOperator()
  const [farm, system] = [createAccount(), createAccount()]
  const programs = new Map<string, string>()
  const add = async (program: string, may: Permissions): Promise<void> => {
    const user = createUser()
    const jwt = await encodeUser(program, user, farm, { pub: { allow: [...may.publish] }, sub: { allow: [...may.subscribe] }, ...(may.answers && { resp: answers }) }, v2)
    programs.set(program, Buffer.from(fmtCreds(jwt, user)).toString('utf8'))
  }
  await add('controller', controllerPermissions)
  for (const host of hosts) await add(`bait-${host}`, baitPermissions(host))
  return {
    operator: await encodeOperator('wnod', operator, { system_account: system.getPublicKey() }, v2),
    account: {
      id: farm.getPublicKey(),
      jwt: await encodeAccount('farm', farm, { limits: { ...unlimited, ...jetStream } }, { ...v2, signer: operator }),
    },
    systemAccount: {
      id: system.getPublicKey(),
      jwt: await encodeAccount('SYS', system, { limits: unlimited }, { ...v2, signer: operator }),
    },
    programs,
  }
}

/** The text of nats.conf: JetStream, loopback only, claims from memory, nobody without credentials. */
export function natsConfig(creds: FarmCreds, options: { port: number; storeDir: string; name: string }): string {
  return `# NATS server of a local farm, made by \`wnod up\`. Whoever has no credential signed by this operator is refused.
server_name: ${JSON.stringify(options.name)}
listen: "127.0.0.1:${options.port}"
max_payload: 8MB

jetstream {
  store_dir: ${JSON.stringify(options.storeDir)}
  max_memory_store: 64MB
  max_file_store: 1GB
}

${claims(creds)}`
}

/** The part of nats.conf that says who may connect. */
export const claims = (creds: FarmCreds): string => `operator: ${creds.operator}
system_account: ${creds.systemAccount.id}
resolver: MEMORY
resolver_preload: {
  ${creds.account.id}: ${creds.account.jwt}
  ${creds.systemAccount.id}: ${creds.systemAccount.jwt}
}
`
