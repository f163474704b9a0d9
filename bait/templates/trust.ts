/**
 * How far a template is trusted. Clones that fail in a row cost each of their jobs a boot besides, so after a few the template is thrown
 * away and made once more; when the new one is no better, no more are made until the bait starts again.
 *
 *   trusted ─failures─▶ thrown away, made again ─failures─▶ quarantined        one clone that works makes it trusted again
 */
export interface Trust {
  /** Clones of it that failed since the last one that worked. */
  readonly failed: number
  /** It was thrown away once, and no clone of the new one has worked yet. */
  readonly secondChance: boolean
  /** Times in a row that it could not be made. */
  readonly unmade: number
  /** What went wrong last, for people. */
  readonly last: string | null
  /** Why no more are made. */
  readonly quarantined: string | null
}

export const fullTrust: Trust = { failed: 0, secondChance: false, unmade: 0, last: null, quarantined: null }
export const failuresMax = 3

/** After a clone failed; `drop`: the template goes. */
export function afterFailure(trust: Trust, why: string): { readonly trust: Trust; readonly drop: boolean } {
  const failed = trust.failed + 1
  if (failed < failuresMax) return { trust: { ...trust, failed, last: why }, drop: false }
  const quarantined = trust.secondChance ? `${failuresMax} clones in a row failed, and again after it was made anew; the last one: ${why}` : null
  return { trust: { ...trust, failed: 0, secondChance: true, last: why, quarantined }, drop: true }
}

/** After it could not be made. */
export function afterUnmade(trust: Trust, why: string): Trust {
  const unmade = trust.unmade + 1
  const quarantined = unmade < failuresMax ? null : `it could not be made ${failuresMax} times in a row; the last time: ${why}`
  return { ...trust, unmade, last: why, quarantined }
}
