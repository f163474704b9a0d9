/**
 * A lease token is the epoch of the controller's claim on one VWN: the term of the controller that gave it, then a number
 * within that term. Every order and every report carries it; a lower one speaks of the past and is refused.
 */
export interface LeaseToken {
  readonly term: number
  readonly epoch: number
}

/** Negative when `a` is older than `b`, zero when they are the same claim. */
export const compareTokens = (a: LeaseToken, b: LeaseToken): number => a.term - b.term || a.epoch - b.epoch

/** True when both name the same claim. */
export const sameToken = (a: LeaseToken, b: LeaseToken): boolean => compareTokens(a, b) === 0

/** The next claim: the same term counts on, a later term starts again. */
export const nextToken = (last: LeaseToken, term: number): LeaseToken =>
  term > last.term ? { term, epoch: 1 } : { term: last.term, epoch: last.epoch + 1 }

/** The token as logs and file names show it: `3.14`. */
export const showToken = (token: LeaseToken): string => `${token.term}.${token.epoch}`
