/**
 * How one batch system calls the job starter, in the starter's own terms. Which one it is says WNOD_FRONT_END, or the name that we were called
 * by (`wnod-slurm` is a link to `wnod-starter`): a batch system that puts us in the job's place leaves no room for options of ours.
 *
 *   argv, environment ─ front end ─▶ command · what the mapping needs to know · how to end
 *
 * A front end is pure but for `readFile` and `userShell`, and says nothing: what it writes would be in the job's output.
 */
import type { Failure } from '../../wire/common.ts'
import { UsageError, type Options } from './options.ts'

export interface Call {
  /** All of our arguments but the first, as bytes. */
  readonly args: readonly Buffer[]
  readonly env: NodeJS.ProcessEnv
  /** The bytes of a variable that may be no text; null where it is not set. */
  readonly envBytes: (name: string) => Buffer | null
  readonly readFile: (path: string | Buffer) => Buffer
  /** The login shell of whose process this is; null where the user database has none. */
  readonly userShell: () => string | null
}

/** What the batch system knows of the job; the environment's own WNOD_* go before it. */
export type Known = Partial<Pick<Options, 'type' | 'queue' | 'project' | 'batchSystem' | 'batchJobId' | 'cpus' | 'memoryMib' | 'refusedCode' | 'deniedCode' | 'lostCode' | 'tty'>>

export interface Reading {
  /** The job's command, word by word. */
  readonly argv: readonly Buffer[]
  readonly known: Known
  /** How it hears that the job has died by a signal: by our death of the same one, or by exit code 128 + its number. */
  readonly deathBySignal: 'raise' | 'code'
  /** What SIGTSTP does beside reaching the job: `pause`, which it is where nothing is said, stops its whole guest a moment later. */
  readonly suspend?: 'signal' | 'pause'
  /** Names of variables that mean something on the bait alone: the job does not get them. */
  readonly drops: readonly string[]
  /** The job's script, where it lies in a spool of the bait: the guest gets it at the same path. */
  readonly script?: SpooledScript | null
}

export interface SpooledScript {
  readonly path: Buffer
  readonly content: Buffer
}

/** The job cannot be handed over, and has not run. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly failure: Failure
  /** What the batch system would have us exit with, by its own conventions. */
  readonly known: Pick<Known, 'refusedCode'>

  constructor(failure: Failure, known: Pick<Known, 'refusedCode'>) {
    super(failure.message)
    this.failure = failure
    this.known = known
  }
}

/** The script at this path of the bait; a Refusal where it cannot be read. */
export function spooledScript({ readFile }: Call, path: Buffer, known: Pick<Known, 'refusedCode'> = {}): SpooledScript {
  try {
    return { path, content: readFile(path) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const hint = 'the batch system has removed it, or its spool is not open to the user of the job'
    throw new Refusal({ code: 'JOB_SCRIPT_UNREADABLE', message: `the script of the job cannot be read on this host: ${why}`, hint }, known)
  }
}

export type FrontEnd = (call: Call) => Reading

/** Each loads its own code only when it is the one. */
const frontEnds: Readonly<Record<string, () => Promise<FrontEnd>>> = {
  gridengine: async () => (await import('../gridengine/front-end.ts')).gridEngine,
  slurm: async () => (await import('../slurm/front-end.ts')).slurm,
}

/** The front end that this environment names; null for a plain call, with options. UsageError for a name that nobody has. */
export function frontEndOf(env: NodeJS.ProcessEnv): (() => Promise<FrontEnd>) | null {
  const name = env['WNOD_FRONT_END']
  if (name === undefined || name === '') return null
  const load = Object.hasOwn(frontEnds, name) ? frontEnds[name] : undefined
  if (load === undefined) throw new UsageError(`WNOD_FRONT_END is "${name}"; there are ${Object.keys(frontEnds).join(', ')}`)
  return load
}

/** A whole number of a batch system's variable, or null where it says none that we could want. */
export function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null
}
