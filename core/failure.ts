/** What goes wrong and how jobs end, as plain values that cross process boundaries. `wire/common.ts` checks the same shapes. */
import { catalogue, type ErrorCode } from './errors.ts'

/** An account of one failure: a row of the catalogue, and what it was about. */
export interface Failure {
  readonly code: string
  readonly message: string
  readonly hint: string
}

/** The account of a failure of this kind; `about` says which case it was. */
export const failure = (code: ErrorCode, about = ''): Failure => ({
  code,
  message: about === '' ? catalogue[code].say : `${catalogue[code].say} (${about})`,
  hint: catalogue[code].hint,
})

/** The account as one sentence. */
export const failureWords = ({ message, code }: Failure): string => `${message} (${code})`

/** Present where a process of the job was killed because its memory ran out, the job's own or another. */
interface MemoryFact {
  readonly outOfMemory?: true | undefined
}

/**
 * How a job ended, as far as anybody knows. `refused`: it never ran, so running it again is safe. `lost`: it may have run. `bare`: its starter
 * has become the job, on the host itself, and the batch system alone sees how that ends.
 */
export type Outcome =
  | ({ readonly is: 'exited'; readonly code: number } & MemoryFact)
  | ({ readonly is: 'signalled'; readonly signal: string; readonly coreDumped: boolean } & MemoryFact)
  | { readonly is: 'refused'; readonly failure: Failure }
  | { readonly is: 'cancelled'; readonly signal: string | null }
  | { readonly is: 'lost'; readonly failure: Failure }
  | { readonly is: 'bare' }
export const outcomeKinds = ['exited', 'signalled', 'refused', 'cancelled', 'lost', 'bare'] as const satisfies readonly Outcome['is'][]
