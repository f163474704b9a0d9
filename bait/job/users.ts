/** What the host's own user database says of a user, whichever service it comes from; asked by getent(1) and id(1). */
import { VwnError } from '../../core/errors.ts'
import type { Clock } from '../../kit/clock.ts'
import { run } from '../../kit/command.ts'
import type { Identity } from '../../wire/common.ts'

/** What a job starter says of itself. */
export interface Claim {
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
}

export interface Users {
  /** The user's full identity as the claim has it; throws JOB_IDENTITY_FALSE when the database says otherwise. */
  check(claim: Claim): Promise<Identity>
}

interface Known {
  readonly user: string
  /** Every group that the user may be in, by number. */
  readonly groups: ReadonlyMap<number, string>
}

/** A burst of jobs of one user asks once. */
const keepMs = 30_000
const usersMax = 10_000

/** The host's database, each answer kept for half a minute. */
export function hostUsers(clock: Clock): Users {
  const kept = new Map<number, { readonly known: Promise<Known>; readonly untilMs: number }>()
  const lookUp = (uid: number): Promise<Known> => {
    const found = kept.get(uid)
    if (found !== undefined && found.untilMs > clock.monotonicMs()) return found.known
    if (kept.size >= usersMax) kept.clear()
    const known = ask(uid)
    kept.set(uid, { known, untilMs: clock.monotonicMs() + keepMs })
    known.catch(() => kept.delete(uid))
    return known
  }
  return { check: async (claim) => identityOf(claim, await lookUp(claim.uid), await strangers(claim, await lookUp(claim.uid))) }
}

/**
 * Groups of the claim that the user has no right to. A number that no group has is not one of them: Grid Engine marks the processes
 * of a job with such a number, which means nothing elsewhere and stays behind.
 */
async function strangers(claim: Claim, known: Known): Promise<readonly number[]> {
  const unknown = claim.groups.filter((gid) => !known.groups.has(gid))
  return unknown.length === 0 ? [] : [...(await groupNames(unknown)).keys()]
}

function identityOf(claim: Claim, known: Known, strange: readonly number[]): Identity {
  const group = known.groups.get(claim.gid)
  if (group === undefined) throw new VwnError('JOB_IDENTITY_FALSE', { user: known.user, gid: claim.gid, why: 'the user is not in this group' })
  if (strange.length > 0) throw new VwnError('JOB_IDENTITY_FALSE', { user: known.user, groups: strange.join(' '), why: 'the user is not in these groups' })
  const groups = claim.groups.flatMap((gid) => {
    const name = known.groups.get(gid)
    return name === undefined ? [] : [{ gid, name }]
  })
  return { user: known.user, uid: claim.uid, gid: claim.gid, group, groups }
}

async function ask(uid: number): Promise<Known> {
  const [user = '', , , gid = ''] = (await getent('passwd', [String(uid)])).split('\n')[0]?.split(':') ?? []
  if (user === '') throw new VwnError('JOB_IDENTITY_FALSE', { uid, why: 'the user database does not know this user' })
  const { stdout } = await run('id', ['-G', user], { timeoutMs: 20_000 })
  return { user, groups: await groupNames([...new Set([gid, ...stdout.trim().split(/\s+/)].map(Number))], String) }
}

/** The names of these groups; a number without one is left out, or named by `otherwise`. */
async function groupNames(gids: readonly number[], otherwise?: (gid: number) => string): Promise<Map<number, string>> {
  const names = new Map<number, string>(otherwise === undefined ? [] : gids.map((gid) => [gid, otherwise(gid)]))
  for (const line of (await getent('group', gids.map(String))).split('\n')) {
    const [name = '', , gid = ''] = line.split(':')
    if (name !== '') names.set(Number(gid), name)
  }
  return names
}

/** Exit 2: some key was not found. */
async function getent(database: string, keys: readonly string[]): Promise<string> {
  return (await run('getent', [database, ...keys], { timeoutMs: 20_000, okExits: [0, 2] })).stdout
}
