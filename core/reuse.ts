/** May this warm VWN take another job? Doubt boots a new one. */
import { sameAmount, type Amount } from './amount.ts'
import type { ImageDigest, TypeName } from './ids.ts'

/** How long and how often a VWN may be used. */
export interface ReuseLimits {
  /** `never`: one job, then it is thrown away. */
  readonly reuse: 'never' | 'same-user'
  readonly jobsRunMax: number
  readonly ageMsMax: number
  /** How long it is kept warm without work. */
  readonly idleMsMax: number
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
  readonly owner: { readonly uid: number; readonly user: string } | null
}

/**
 * Why a VWN made like `vwn` and owned by `ownerUid` cannot take a job of `uid` that wants one like `want`, or null when it can. The shape
 * must be equal, not merely large enough: the batch system has counted the job's cores, and the job may count them too.
 */
export function mismatch(vwn: Warm, want: Made & { readonly uid: number }, nowMs: number): string | null {
  if (vwn.owner !== null && vwn.owner.uid !== want.uid) return `it belongs to ${vwn.owner.user}`
  if (vwn.type !== want.type) return `it is of type ${vwn.type}`
  if (vwn.image !== want.image) return 'it runs another version of the image'
  if (vwn.network !== want.network) return `its network is ${vwn.network}`
  if (!sameAmount(vwn.shape, want.shape)) return 'it has another size'
  return endOfUse(vwn, nowMs)
}
