/** The reasons of decisions, in the API's words. */
import { failure, type Failure } from '../core/failure.ts'
import type { HostId, TypeName, VwnId } from '../core/ids.ts'
import { explainMapping, type Mapping, type Resolution, type Who } from '../core/mapping.ts'
import type { HostSentence } from '../core/placement.ts'
import { explainPlacement, shapeOf, type Decision, type Farm, type Place, type WantedShape } from '../core/schedule.ts'
import type { Amount } from '../core/amount.ts'
import type { JobRecord } from '../db/queries/job.ts'
import type { Explanation } from '../wire/api.ts'
import type { HostFacts } from '../wire/bait.ts'
import { defaultRuleName } from './mapping.ts'
import { makingOn } from './templates.ts'

/** The job's groups by name, its own first. */
export const groupsOf = ({ identity }: Pick<JobRecord, 'identity'>): readonly string[] =>
  [...new Set([identity.group, ...identity.groups.map(({ name }) => name)])]

/** Why this job got what it got, as it was decided at `atMs`. */
export function explanationOf({ job, decision, mapping, vwn, why, atMs, facts }: {
  readonly job: JobRecord
  readonly decision: Decision
  readonly mapping: Mapping
  readonly vwn: VwnId | null
  readonly why: string
  readonly atMs: number
  /** Of the job's host. */
  readonly facts: Pick<HostFacts, 'templates'>
}): Explanation {
  const { queue, project, batchSystem, type: requestedType } = job.want
  const who: Who = { user: job.identity.user, groups: groupsOf(job), queue, project, batchSystem, requestedType }
  const is = decision.is === 'reuse' ? takes[decision.made] : ({ boot: 'make', wait: 'waits', refused: 'refused', bare: 'bare' } as const)[decision.is]
  return {
    job: job.job, atMs, ...asked(who), ...matched(decision.resolution), rules: rulesFor(mapping, who),
    shape: sizeOf(decision.resolution, job.want),
    decision: { is, vwn, host: vwn === null && is !== 'bare' ? null : job.host, why, failure: decision.is === 'refused' ? decision.failure : null },
    made: decision.is === 'boot' ? makingOn(facts, decision.request) : null,
    hosts: sentences(decision.perHost),
  }
}

/** What a job like this would get now, on this host or on any. Without its numbers no VWN that belongs to somebody fits. */
export function explainQuestion(
  who: Who, ids: { readonly uid: number; readonly gid: number } | null, farm: Farm & { factsOf(host: HostId): Pick<HostFacts, 'templates'> }, nowMs: number,
  host: HostId | null = null,
): Explanation {
  const { requestedType: type, user, groups, queue, project, batchSystem } = who
  const asking = {
    owner: { user, uid: ids?.uid ?? -1, gid: ids?.gid ?? -1, group: groups[0] ?? '', project }, groups, queue, batchSystem, type, cpus: null, memoryMib: null, scratchGib: null, host,
  }
  const { resolution, placement } = explainPlacement(asking, farm, nowMs)
  return {
    job: null, atMs: nowMs, ...asked(who), ...matched(resolution), rules: rulesFor(farm.mapping, who),
    shape: sizeOf(resolution, { cpus: null, memoryMib: null, scratchGib: null }),
    decision: placement === null ? refusedBy(resolution) : decisionOf(placement, host),
    made: placement?.is === 'boot' && resolution.is === 'matched' ? makingOn(farm.factsOf(placement.host), { ...resolution.type, image: placement.image.digest }) : null,
    hosts: sentences(placement?.perHost ?? []),
  }
}

/** What is still being made for nobody, or for a job that was cancelled, is as good as made for this one. */
const takes = { new: 'make', ready: 'ready', reused: 'reuse' } as const

const rulesFor = (mapping: Mapping, who: Who): Explanation['rules'] => explainMapping(mapping, who).map(({ rule, is, why }) => ({ rule, is, why }))

function decisionOf(placement: Place, host: HostId | null): Explanation['decision'] {
  const { why } = placement
  switch (placement.is) {
    case 'reuse': return { is: takes[placement.made], vwn: placement.vwn, host: placement.host, why, failure: null }
    case 'boot': return { is: 'make', vwn: null, host: placement.host, why, failure: null }
    case 'makeRoom': return { is: 'waits', vwn: null, host: placement.host, why, failure: null }
    case 'wait': return { is: 'waits', vwn: null, host: null, why, failure: null }
    case 'refused': return { is: 'refused', vwn: null, host: null, why, failure: placement.failure }
    case 'bare': return { is: 'bare', vwn: null, host, why, failure: null }
    default: return placement satisfies never
  }
}

function refusedBy(resolution: Resolution): Explanation['decision'] {
  const refusal: Failure | null = resolution.is === 'refused' ? failure(resolution.code, resolution.why) : null
  return { is: 'refused', vwn: null, host: null, why: resolution.is === 'refused' ? resolution.why : '', failure: refusal }
}

const asked = (who: Who): Pick<Explanation, 'asked'> => {
  const { requestedType: type, user, queue, project, batchSystem } = who
  return { asked: { user, groups: [...who.groups], queue, project, batchSystem, type } }
}

function matched(resolution: Resolution): { rule: string | null; type: TypeName | null; allowed: TypeName[] } {
  const rule = resolution.rule === null || resolution.rule.name === defaultRuleName ? null : resolution.rule.name
  return { rule, type: resolution.is === 'matched' ? resolution.type.name : null, allowed: [...resolution.allowed] }
}

const sizeOf = (resolution: Resolution, want: WantedShape): Amount | null => (resolution.is === 'matched' ? shapeOf(want, resolution.type.shape) : null)

const sentences = (perHost: readonly HostSentence[]): { host: HostId; why: string }[] => perHost.map(({ host, why }) => ({ host, why }))
