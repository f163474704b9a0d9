/**
 * One thing that a batch job does, or that is done to it, and what its owner sees of it: run natively and in a VWN by a real batch system, and
 * compared (docs/batch-conformance.md is printed from the results).
 */
import { until } from '../../kit/until.ts'

/** A job under way, in its owner's hands. */
export interface LiveJob {
  /** As the batch system numbers it. */
  readonly id: string
  /** Resolves when the job's stdout so far contains this. */
  says(text: string): Promise<void>
  /** The batch system's own command (`cancel`, `suspend`, …), in its default form. */
  cancel(): Promise<void>
  suspend(): Promise<void>
  resume(): Promise<void>
  requeue(): Promise<void>
  signal(name: string): Promise<void>
  /** Its time limit is moved to so many seconds from now. */
  endsIn(seconds: number): Promise<void>
}

export interface BatchCase {
  readonly group: 'exit' | 'signals' | 'streams' | 'limits' | 'environment' | 'arguments' | 'suspension' | 'cancellation' | 'requeue' | 'arrays' | 'interactive' | 'time limits' | 'script forms'
  readonly name: string
  /** Lines of a shell script that is submitted as a batch script; or the words of a command that is run as a step or interactively. */
  readonly script?: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly stdin?: string
  /** Options of this batch system's submit command, by its name. */
  readonly options?: Readonly<Record<string, readonly string[]>>
  readonly during?: (job: LiveJob) => Promise<void>
  /** Takes out of the output what differs from run to run (process ids, times). */
  readonly tidy?: (text: string) => string
  /** Systems for which the difference is known, with the reason that the docs give. */
  readonly differs?: Readonly<Record<string, string>>
}

/** What the owner and the batch system's records say of one run. */
export interface Observed {
  /** The system's own words for how it ended: state, exit code, signal. */
  readonly record: Readonly<Record<string, string>>
  readonly stdout: string
  readonly stderr: string
}

export interface BatchSystem extends AsyncDisposable {
  readonly name: string
  /** A script becomes a batch job, a command one that its caller waits for. */
  run(one: BatchCase, how: 'bare' | 'vwn'): Promise<Observed>
}

/** What one case waits for, which all ends `withinMs` after its first word, so that there is time left to clear up behind it. */
export type Wait = <T>(probe: () => T | Promise<T>, what: string, everyMs?: number) => Promise<Exclude<T, false | null | undefined | 0 | ''>>

export function waitsOfCase(withinMs: number): Wait {
  const signal = AbortSignal.timeout(withinMs)
  return (probe, what, everyMs = 200) => until(probe, { withinMs, everyMs, what, signal })
}
