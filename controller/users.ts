/** What the controller's own machine knows of a user, for questions that do not name groups. */
import { VwnError } from '../core/errors.ts'
import type { Database } from '../db/open.ts'
import { listJobs } from '../db/queries/job.ts'
import { run } from '../kit/command.ts'

export interface KnownUser {
  /** Uid and primary group; null where neither this machine nor a job of the past tells them. */
  readonly ids: { readonly uid: number; readonly gid: number } | null
  readonly groups: readonly string[]
}

/** Numbers and groups of a user; groups that are given are taken as they are. */
export async function userOf(db: Database, user: string, given: readonly string[]): Promise<KnownUser> {
  const [uid, gid] = [await ask('-u', user), await ask('-g', user)]
  const ids = uid === null || gid === null ? (listJobs(db, { user, limit: 1 })[0]?.identity ?? null) : { uid: Number(uid), gid: Number(gid) }
  if (given.length > 0) return { ids, groups: given }
  const groups = await ask('-Gn', user)
  if (groups === null) throw new VwnError('USER_NOT_FOUND', { user })
  return { ids, groups: groups.split(' ') }
}

/** id(1) asks whatever the machine is set up to ask: files, LDAP, sssd. */
async function ask(what: '-u' | '-g' | '-Gn', user: string): Promise<string | null> {
  const { exit, stdout } = await run('id', [what, '--', user], { okExits: [0, 1], timeoutMs: 10_000 })
  return exit === 0 ? stdout.trim() : null
}
