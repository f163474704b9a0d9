/** What hosts say of their templates, as far as it concerns one kind of VWN. */
import type { Amount } from '../core/amount.ts'
import type { ImageDigest } from '../core/ids.ts'
import type { HostFacts, TemplateFact } from '../wire/bait.ts'

/** What tells the templates of one host apart. */
export interface Kind {
  readonly image: ImageDigest
  readonly network: 'isolated' | 'outbound'
  readonly shape: Amount
}

/** How a VWN comes to be, and why so. */
export interface Making {
  readonly by: 'clone' | 'boot'
  readonly why: string
}

/** What this host says of the template of this kind; null when it has not spoken of one. */
export const templateOn = ({ templates }: Pick<HostFacts, 'templates'>, { image, network, shape }: Kind): TemplateFact | null =>
  templates.find((fact) => fact.image === image && fact.network === network && (['cpus', 'memoryMib', 'scratchGib'] as const).every((name) => fact.shape[name] === shape[name])) ?? null

/** Why a VWN of this kind would be booted for as long as things stand as they do; null where clones are to be had, or may be soon. */
export function onlyBootedOn(facts: Pick<HostFacts, 'templates'>, kind: Kind): string | null {
  const fact = templateOn(facts, kind)
  const isLasting = fact !== null && (fact.state === 'quarantined' || (fact.state === 'missing' && fact.id === null))
  return isLasting ? makingOn(facts, kind).why : null
}

/** How a VWN of this kind would be made for a job that waits for it. */
export function makingOn(facts: Pick<HostFacts, 'templates'>, kind: Kind): Making {
  const fact = templateOn(facts, kind)
  if (fact === null) return { by: 'boot', why: 'there is no template of its size yet; one is made behind it' }
  switch (fact.state) {
    case 'ready': return { by: 'clone', why: `its template ${fact.id} is ready` }
    case 'making': return { by: 'boot', why: 'its template is being made' }
    case 'missing': return { by: 'boot', why: `it has no template: ${fact.why}` }
    case 'quarantined': return { by: 'boot', why: `its template is not used any more: ${fact.why}` }
    default: return fact.state satisfies never
  }
}
