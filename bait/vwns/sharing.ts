/** Who may come into a VWN, and what is certified to whoever does: from the bait's own records, whatever the Orders say. */
import { formerOwner, mayShare, policyIn, type Sharer } from '../../core/reuse.ts'
import type { LiveJob, ScrubReceipt, WantedVwn } from '../../wire/bait.ts'
import type { Handle } from './handles.ts'

/** What of a job decides with whom it may share: numbers that its starter has proved, and the project that it names. */
export const sharerOf = ({ identity, want }: LiveJob): Sharer => ({ uid: identity.uid, gid: identity.gid, project: want.project })

/** Why this job may not come in; null when it may. A mistaken order can only make it stricter. */
export function objectionTo(handle: Handle, wanted: WantedVwn | null, who: Sharer): string | null {
  const policy = policyIn(handle.spec.contact, handle.reuse)
  if (policy === 'never' && handle.jobsRun > 0) return 'it has run its only job'
  if (wanted !== null && wanted.reuse !== handle.reuse) return `it was made with reuse ${handle.reuse}, not ${wanted.reuse}`
  const owners = [handle.owner, wanted?.owner ?? null].flatMap((owner) => owner ?? [])
  const other = owners.find((owner) => !mayShare(policy, owner, who))
  return other === undefined ? null : `it is of user ${other.uid}, group ${other.gid}, project ${other.project ?? 'none'}; reuse is ${policy}`
}

const whyMax = 256

/** What this VWN is just before a job of `who` is let in. */
export function scrubReceiptOf(handle: Handle, who: Sharer, atMs: number): ScrubReceipt {
  const { spec, made, template, bootedBecause, overlay, reuse, jobsRun, scrub } = handle
  return {
    image: spec.image, made, template, bootedBecause: bootedBecause?.slice(0, whyMax) ?? null, overlay, policy: policyIn(spec.contact, reuse),
    jobsBefore: jobsRun, before: formerOwner(handle, who), scrub, atMs,
  }
}
