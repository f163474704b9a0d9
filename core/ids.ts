/** Names of the things that the parts of the farm talk about. Branded, so that a VWN id cannot stand where a job id is meant. */
declare const brand: unique symbol
type Brand<Name extends string> = string & { readonly [brand]: Name }

/** A bait's host, as its configuration names it: `h1`, `node017`. */
export type HostId = Brand<'HostId'>
/** A virtual worker node, numbered by the controller: `v17`. */
export type VwnId = Brand<'VwnId'>
/** A job, numbered by the bait that accepted it: `h1-17`. */
export type JobId = Brand<'JobId'>
/** A VWN type, as the mapping names it: `el9`. */
export type TypeName = Brand<'TypeName'>
/** SHA-256 of an OS image's manifest, 64 hexadecimal digits. */
export type ImageDigest = Brand<'ImageDigest'>

/** What each kind of name may look like; wire schemas and settings check against these, nobody else does. */
export const idPatterns = {
  host: /^[a-z][a-z0-9-]{0,31}$/,
  vwn: /^v[1-9][0-9]{0,9}$/,
  job: /^[a-z][a-z0-9-]{0,31}-[1-9][0-9]{0,9}$/,
  type: /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/,
  digest: /^[0-9a-f]{64}$/,
} as const

/** Brands a text as a host id; the caller has matched `idPatterns.host`. */
export const hostId = (text: string): HostId => text as HostId
/** The VWN id with this number. */
export const vwnId = (text: string): VwnId => text as VwnId
/** The job id with this text. */
export const jobId = (text: string): JobId => text as JobId
/** The VWN type with this name. */
export const typeName = (text: string): TypeName => text as TypeName
/** The image digest with these hexadecimal digits. */
export const imageDigest = (text: string): ImageDigest => text as ImageDigest

/** Orders `v9` before `v10`: by text first, then by the trailing number. Zero only for equal ids, so that ties always end the same way. */
export function compareIds(a: string, b: string): number {
  const [headA, numberA] = splitNumber(a)
  const [headB, numberB] = splitNumber(b)
  if (headA !== headB) return headA < headB ? -1 : 1
  if (numberA !== numberB) return numberA - numberB
  return a < b ? -1 : a > b ? 1 : 0 // node1 and node01
}

/** The digits at the end are looked for by hand: a scheduler's turn compares ids a million times. */
function splitNumber(id: string): [string, number] {
  let at = id.length
  while (at > 0 && isDigit(id.charCodeAt(at - 1))) at -= 1
  return at === id.length ? [id, 0] : [id.slice(0, at), Number(id.slice(at))]
}
const isDigit = (code: number): boolean => code >= 48 && code <= 57
