/** How long to wait before trying again, and when to give up. Randomness is handed in, so that tests own it. */

/** Waits grow from `baseMs` by `factor` up to `maxMs`; a share `jitter` of each wait is random, so that a crowd spreads out. */
export interface Backoff {
  readonly baseMs: number
  readonly factor: number
  readonly maxMs: number
  readonly jitter: number
}

/** For talking to a neighbour program that is probably being restarted. */
export const reconnectBackoff: Backoff = { baseMs: 100, factor: 2, maxMs: 5_000, jitter: 0.5 }

/** The wait before attempt `attempt + 1`, after `attempt` (1, 2, …) failures; `random` is in [0, 1). Never above `maxMs`. */
export function waitMs(backoff: Backoff, attempt: number, random: number): number {
  const grown = backoff.baseMs * backoff.factor ** Math.max(0, attempt - 1)
  const full = Math.min(backoff.maxMs, Number.isFinite(grown) ? grown : backoff.maxMs)
  return Math.round(full * (1 - backoff.jitter * random))
}

/** At most `tries` within `windowMs`. */
export interface Budget {
  readonly tries: number
  readonly windowMs: number
}

export type Allowance =
  | { readonly is: 'allowed'; readonly spent: readonly number[] }
  | { readonly is: 'spent'; readonly againAtMs: number }

/** May one more try be made now? `spent` are the times of former tries; keep what comes back. */
export function spend(budget: Budget, spent: readonly number[], nowMs: number): Allowance {
  const recent = spent.filter((atMs) => nowMs - atMs < budget.windowMs)
  const oldest = recent[recent.length - budget.tries]
  if (recent.length < budget.tries) return { is: 'allowed', spent: [...recent, nowMs] }
  return { is: 'spent', againAtMs: oldest === undefined ? nowMs + budget.windowMs : oldest + budget.windowMs }
}
