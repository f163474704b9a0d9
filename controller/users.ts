/** What the controller's own machine knows of a user, for questions that do not name groups. */
import { VwnError } from '../core/errors.ts'
import type { Database } from '../db/open.ts'
import { listJobs } from '../db/queries/job.ts'
import { run } from '../kit/command.ts'

/** Uid and groups of a user; groups that are given are taken as they are. A uid is optional then: jobs of the past may tell it. */
export async function userOf(db: Database, user: string, given: readonly string[]): Promise<{ readonly uid: number | null; readonly groups: readonly string[] }> {
  const uid = await ask('-u', user)
  const known = uid === null ? (listJobs(db, { user, limit: 1 })[0]?.identity.uid ?? null) : Number(uid)
  if (given.length > 0) return { uid: known, groups: given }
  const groups = await ask('-Gn', user)
  if (groups === null) throw new VwnError('USER_NOT_FOUND', { user })
  return { uid: known, groups: groups.split(' ') }
}

/** id(1) asks whatever the machine is set up to ask: files, LDAP, sssd. */
async function ask(what: '-u' | '-Gn', user: string): Promise<string | null> {
  const { exit, stdout } = await run('id', [what, '--', user], { okExits: [0, 1], timeoutMs: 10_000 })
  return exit === 0 ? stdout.trim() : null
}
