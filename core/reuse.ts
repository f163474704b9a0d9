/**
 * May this warm VWN take another job? Doubt boots a new one.
 *
 * A policy divides all jobs into classes (`sharersOf`); a VWN belongs to the class of its first job for life, and only jobs of that class
 * ever come into it. So whatever the policy and whatever the order, those who have shared a VWN were all allowed to share with each other.
 */
import { fits, type Amount } from './amount.ts'
import type { ImageDigest, TypeName } from './ids.ts'

/**
 * Who may come after a VWN's first job. `never`: nobody, it is thrown away · `same-user` · `same-group`: jobs of the same primary group ·
 * `same-project`: jobs that name the same project.
 */
export const reusePolicies = ['never', 'same-user', 'same-group', 'same-project'] as const
export type ReusePolicy = (typeof reusePolicies)[number]

/** How long and how often a VWN may be used, and by whom. */
export interface ReuseLimits {
  readonly reuse: ReusePolicy
  readonly jobsRunMax: number
  readonly ageMsMax: number
  /** How long it is kept warm without work. */
  readonly idleMsMax: number
}

/** True when both say the same. */
export const sameLimits = (a: ReuseLimits, b: ReuseLimits): boolean =>
  a.reuse === b.reuse && a.jobsRunMax === b.jobsRunMax && a.ageMsMax === b.ageMsMax && a.idleMsMax === b.idleMsMax

/** What of a job decides with whom it may share. The group is the primary one, by number: names may be missing or mean two. */
export interface Sharer {
  readonly uid: number
  readonly gid: number
  readonly project: string | null
}

export type Contact = 'agent' | 'ssh'

/** The policy that a guest can keep: only an agent's scrub looks closely enough for a VWN to pass from one user to another. */
export const policyIn = (contact: Contact, policy: ReusePolicy): ReusePolicy => (contact === 'agent' || policy === 'never' ? policy : 'same-user')

/**
 * The class of a job under a policy. A job without a project has its own user's for company, and so has root under every policy: what
 * root may have done to a kernel no scrub can tell.
 */
export function sharersOf(policy: ReusePolicy, job: Sharer): string {
  if (job.uid === 0) return 'user 0'
  if (policy === 'same-group') return `group ${job.gid}`
  if (policy === 'same-project' && job.project !== null) return `project ${job.project}`
  return `user ${job.uid}`
}

/** True when a job may come into a VWN that was first used by, or made for, `owner`. */
export const mayShare = (policy: ReusePolicy, owner: Sharer, job: Sharer): boolean => sharersOf(policy, owner) === sharersOf(policy, job)

/** Who was in a VWN before a job: nobody, its own user alone, or others too that its policy let in. */
export const formerOwners = ['nobody', 'same-user', 'same-group', 'same-project'] as const
export type FormerOwner = (typeof formerOwners)[number]

interface Past {
  readonly reuse: ReusePolicy
  /** Of the first job; null before it. */
  readonly owner: Sharer | null
  /** Jobs of more than one user have been here. */
  readonly shared: boolean
  readonly jobsRun: number
}

/** Whose jobs were here before this one, which may share with them. */
export function formerOwner({ reuse, owner, shared, jobsRun }: Past, job: Sharer): FormerOwner {
  if (jobsRun === 0 || owner === null) return 'nobody'
  return (reuse === 'same-group' || reuse === 'same-project') && (shared || owner.uid !== job.uid) ? reuse : 'same-user'
}

interface Used {
  readonly limits: ReuseLimits
  readonly jobsRun: number
  readonly createdAtMs: number
}

/** Why no further job may come here, or null while one may. */
export function endOfUse(vwn: Used, nowMs: number): string | null {
  if (vwn.limits.reuse === 'never' && vwn.jobsRun > 0) return 'its type is never reused'
  if (vwn.jobsRun >= vwn.limits.jobsRunMax) return `it has run ${vwn.jobsRun} jobs, its limit`
  if (nowMs - vwn.createdAtMs >= vwn.limits.ageMsMax) return 'it is too old'
  return null
}

interface Made {
  readonly type: TypeName
  readonly image: ImageDigest
  readonly network: 'isolated' | 'outbound'
  readonly shape: Amount
}

interface Warm extends Made, Used {
  readonly contact: Contact
  readonly owner: (Sharer & { readonly user: string; readonly group: string }) | null
}

/** What a job wants, and who it is. */
interface Wanting extends Made {
  readonly reuse: ReusePolicy
  readonly owner: Sharer
  /** The largest that it may have. */
  readonly most: Amount
}

/**
 * Why a VWN made like `vwn` cannot take a job that wants one like `want`, or null when it can. Its processors must be as many, not merely enough:
 * the batch system has counted the job's cores, and the job may count them too. Of memory the job gets what it asked for, whatever the VWN has.
 */
export function mismatch(vwn: Warm, want: Wanting, nowMs: number): string | null {
  if (vwn.owner !== null && !mayShare(vwn.limits.reuse, vwn.owner, want.owner)) return `it belongs to ${ownerWords(vwn.limits.reuse, vwn.owner)}`
  if (vwn.type !== want.type) return `it is of type ${vwn.type}`
  if (vwn.image !== want.image) return 'it runs another version of the image'
  if (vwn.network !== want.network) return `its network is ${vwn.network}`
  if (vwn.limits.reuse !== policyIn(vwn.contact, want.reuse)) return `its reuse is ${vwn.limits.reuse}`
  if (vwn.shape.cpus !== want.shape.cpus || !fits(want.shape, vwn.shape) || !fits(vwn.shape, want.most)) return 'it has another size'
  return endOfUse(vwn, nowMs)
}

/** Whose it is, for people: a user, or the group or project whose jobs share it. */
export function ownerWords(policy: ReusePolicy, owner: Sharer & { readonly user: string; readonly group: string }): string {
  if (owner.uid === 0 || policy === 'never' || policy === 'same-user') return owner.user
  if (policy === 'same-group') return `group ${owner.group === '' ? owner.gid : owner.group}`
  return owner.project === null ? owner.user : `project ${owner.project}`
}

/** What a VWN was when a job was let in: the proof that nothing of those before was there. */
export interface ScrubReceipt {
  readonly image: string
  /** A clone of this template; or booted, for this reason. */
  readonly made: 'clone' | 'boot' | null
  readonly template: string | null
  readonly bootedBecause: string | null
  /** Names the writable disk: made for this VWN, and thrown away with it. */
  readonly overlay: string | null
  readonly policy: ReusePolicy
  /** Jobs that were in it before. */
  readonly jobsBefore: number
  readonly before: FormerOwner
  /** The scrub after the last of them; null where nobody was. */
  readonly scrub: { readonly checked: readonly string[]; readonly tookMs: number; readonly atMs: number } | null
  /** When the job was let in. */
  readonly atMs: number
}
