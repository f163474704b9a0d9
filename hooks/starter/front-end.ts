/**
 * How one batch system calls the job starter, in the starter's own terms. Which one it is says our first argument (`--lsf`), WNOD_FRONT_END, or the
 * name that we were called by (`wnod-slurm` is a link to `wnod-starter`): a batch system that puts us in the job's place leaves no room for options
 * of ours.
 *
 *   argv, environment ─ front end ─▶ command · what the mapping needs to know · how to end
 *
 * A front end is pure but for `readFile` and `userShell`, and says nothing: what it writes would be in the job's output.
 */
import type { Failure } from '../../wire/common.ts'
import { UsageError, type Options } from './options.ts'
import type { Forwarded } from './signals.ts'

export interface Call {
  /** All of our arguments but the first, as bytes. */
  readonly args: readonly Buffer[]
  readonly env: NodeJS.ProcessEnv
  /** The bytes of a variable that may be no text; null where it is not set. */
  readonly envBytes: (name: string) => Buffer | null
  readonly readFile: (path: string | Buffer) => Buffer
  /** The login shell of whose process this is; null where the user database has none. */
  readonly userShell: () => string | null
  /** All that a pipe on our stdin holds, which is then read; null where it is no pipe. */
  readonly readPipe?: () => Buffer | null
}

/** What the batch system knows of the job; the environment's own WNOD_* go before it. */
export type Known = Partial<Pick<Options, 'type' | 'queue' | 'project' | 'batchSystem' | 'batchJobId' | 'cpus' | 'memoryMib' | 'refusedCode' | 'deniedCode' | 'lostCode' | 'tty' | 'stage' | 'exclude'>>

export interface Reading {
  /** The job's command, word by word. */
  readonly argv: readonly Buffer[]
  readonly known: Known
  /** How it hears that the job has died by a signal: by our death of the same one, or by exit code 128 + its number. */
  readonly deathBySignal: 'raise' | 'code'
  /** What SIGTSTP does beside reaching the job: `pause`, which it is where nothing is said, stops its whole guest a moment later. */
  readonly suspend?: 'signal' | 'pause'
  /** Names of variables that mean something on the bait alone: the job does not get them in a VWN. */
  readonly drops: readonly string[]
  /** Names of variables that a job starter alone is given: the job does not get them anywhere. */
  readonly told?: readonly string[]
  /** How the batch system itself would start the job, where it runs on the host and that is not `argv`, looked for in the PATH. */
  readonly native?: Native
  /** The job's script, where it lies in a spool of the bait: the guest gets it at the same path. */
  readonly script?: SpooledScript | null
  /** On the bait that script has a first line of ours, which the job's owner has not written: where the job runs on the host itself, it goes first. */
  readonly isHeaded?: boolean
  /** What the job reads on stdin: the front end has taken it from ours. */
  readonly stdin?: Buffer
  /** Signals that the batch system ignores for itself: the job gets their default action. */
  readonly restores?: readonly Forwarded[]
  /** Files that the batch system's own script would remove after the job, were it not us that it has become. */
  readonly removes?: readonly string[]
  /** Where the batch system wants to read that the farm has failed, and not the job. */
  readonly failureFile?: string
}

export interface Native {
  /**
   * The program, where the first word is another name for it. `asSlurm`: the first word, which becomes a full path where it has no slash; it goes to no
   * shell where it is no program, and where it cannot be executed the job exits with the number of the error.
   */
  readonly file?: Buffer | 'asSlurm'
  readonly argv: readonly Buffer[]
}

export interface SpooledScript {
  readonly path: Buffer
  readonly content: Buffer
}

/** How this batch system wants to be told that a job has not run. */
export type RefusedBy = Pick<Reading, 'failureFile'> & { readonly refusedCode?: number }

/** The job cannot be handed over, and has not run. */
export class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly failure: Failure
  readonly by: RefusedBy

  constructor(failure: Failure, by: RefusedBy = {}) {
    super(failure.message)
    this.failure = failure
    this.by = by
  }
}

/** What the batch system has given us is no job of its own: a Refusal that says so. */
export function notAJob(why: string, by: RefusedBy = {}): Refusal {
  return new Refusal({ code: 'JOB_CALL_UNREADABLE', message: `what the batch system has given us is no job of its own: ${why}`, hint: 'compare how it calls the job starter with the page of this batch system in docs' }, by)
}

/** The script at this path of the bait; a Refusal where it cannot be read. */
export function spooledScript({ readFile }: Call, path: Buffer, by: RefusedBy = {}): SpooledScript {
  try {
    return { path, content: readFile(path) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    const hint = 'the batch system has removed it, or its spool is not open to the user of the job'
    throw new Refusal({ code: 'JOB_SCRIPT_UNREADABLE', message: `the script of the job cannot be read on this host: ${why}`, hint }, by)
  }
}

export type FrontEnd = (call: Call) => Reading

/** Each loads its own code only when it is the one. */
const frontEnds: Readonly<Record<string, () => Promise<FrontEnd>>> = {
  gridengine: async () => (await import('../gridengine/front-end.ts')).gridEngine,
  slurm: async () => (await import('../slurm/front-end.ts')).slurm,
  'slurm-batch': async () => (await import('../slurm/front-end.ts')).slurmBatch,
  lsf: async () => (await import('../lsf/front-end.ts')).lsf,
  pbs: async () => (await import('../pbs/front-end.ts')).pbs,
  torque: async () => (await import('../pbs/front-end.ts')).torque,
  htcondor: async () => (await import('../htcondor/front-end.ts')).htcondor,
}

export interface Chosen {
  readonly load: () => Promise<FrontEnd>
  /** How many of our arguments named it. */
  readonly used: 0 | 1
}

/** The front end that the first argument or this environment names; null for a plain call, with options. UsageError for a name that nobody has. */
export function frontEndOf(env: NodeJS.ProcessEnv, first = ''): Chosen | null {
  const given = first.startsWith('--') && Object.hasOwn(frontEnds, first.slice(2))
  const name = given ? first.slice(2) : env['WNOD_FRONT_END']
  if (name === undefined || name === '') return null
  const load = Object.hasOwn(frontEnds, name) ? frontEnds[name] : undefined
  if (load === undefined) throw new UsageError(`WNOD_FRONT_END is "${name}"; there are ${Object.keys(frontEnds).join(', ')}`)
  return { load, used: given ? 1 : 0 }
}

/** A whole number of a batch system's variable, or null where it says none that we could want. */
export function wholeNumber(text: string | undefined): number | null {
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null
}
