/**
 * What a job starter and the bait say to each other on the bait's unix socket, as CONTROL messages of the job stream
 * (wire/frames.ts).
 *
 *   bait → starter   greet      here is a path that nobody has used: prove who you are by making it
 *   starter → bait   submit     made (the bait reads its owner); this is the job
 *   bait → starter   accepted · waiting* · placed · started     or, at any time, one `ended`
 *   starter → bait   signal* · resize*                          and DATA of stdin, stage
 *
 * Beside job starters, others call on behalf of a batch system (`wnod hook`): instead of `submit` they say what is to become of jobs, or how
 * many still pend with it.
 *
 *   caller → bait    control    proof made; this is to be done to these jobs
 *   bait → caller    controlled, when it is done
 *   caller → bait    pending    proof made; so many jobs of each type pend with this batch system
 *   bait → caller    noted
 *
 * A job that runs on the host itself has `ended` with the outcome `bare` before it begins: from there on its starter is the job.
 *
 * `ended` is the last message from the bait and comes after the last byte of stdout, stderr and collect was acknowledged. The
 * starter's socket closing before `ended` cancels the job.
 */
import { z } from 'zod'
import { bytesSchema, failureSchema, jobIdSchema, outcomeSchema, phasesSchema, traceSchema, typeNameSchema, vwnIdSchema } from './common.ts'

export const hookVersion = 1

/** Bytes of argv and environment together; Linux itself allows 2 MiB with the usual 8 MiB stack (execve(2)). */
export const argumentBytesMax = 2 * 1024 * 1024

/** Resource limits by their getrlimit(2) names without RLIMIT_; null is infinity. */
export const limitNames = ['as', 'core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc', 'rss', 'rtprio', 'rttime', 'sigpending', 'stack'] as const
export const limitSchema = z.strictObject({
  name: z.enum(limitNames),
  soft: z.int().nonnegative().nullable(),
  hard: z.int().nonnegative().nullable(),
})
export type Limit = z.output<typeof limitSchema>

/** The largest number of a signal, SIGRTMAX. */
export const signalMax = 64

export const scriptSchema = z.strictObject({ path: bytesSchema, content: bytesSchema })
export type Script = z.output<typeof scriptSchema>

const size = z.int().min(0).max(65_535)
export const ttySchema = z.strictObject({ rows: size, cols: size })

/** What runs and in which surroundings: all that a bare node would have given the process at its execve. */
export const runSchema = z.strictObject({
  argv: z.array(bytesSchema).min(1),
  /** `NAME=value` entries, any bytes. */
  env: z.array(bytesSchema),
  /** Where the job starts; null is the user's home in the guest. */
  cwd: bytesSchema.nullable(),
  umask: z.int().min(0).max(0o777),
  limits: z.array(limitSchema).max(limitNames.length),
  nice: z.int().min(-20).max(19),
  /** Linux's numbers of the signals that the job starts with ignored; all others get their default. */
  ignored: z.array(z.int().min(1).max(signalMax)).max(signalMax),
  /** `stream`: bytes follow; `null`: /dev/null, as the batch system gave it; `closed`: there is no such descriptor. */
  stdin: z.enum(['stream', 'null', 'closed']),
  stdout: z.enum(['stream', 'null', 'closed']),
  /** `stdout`: one pipe for both, because the caller's two are one file and their order must stay exact. */
  stderr: z.enum(['stream', 'null', 'closed', 'stdout']),
  /** A terminal of this size for all three; its bytes travel as stdin and stdout. */
  tty: ttySchema.nullable(),
  /** True: a tar of the working directory comes on stream `stage` first, and what the job changed goes back on `collect`. What is submitted is a wish. */
  stage: z.boolean(),
  /** A file in the batch system's spool, which the guest does not have: it gets it at this path, and an argument that names it follows. */
  script: scriptSchema.nullable().default(null),
})
export type Run = z.output<typeof runSchema>

const name = z.string().min(1).max(256)
/** What the mapping needs to know to choose a VWN type, beside the user himself. */
export const wantSchema = z.strictObject({
  type: typeNameSchema.nullable(),
  queue: name.nullable(),
  project: name.nullable(),
  batchSystem: name.nullable(),
  batchJobId: name.nullable(),
  cpus: z.int().min(1).max(1024).nullable(),
  memoryMib: z.int().min(1).max(16 * 1024 * 1024).nullable(),
  scratchGib: z.int().min(1).max(65_536).nullable(),
})
export type Want = z.output<typeof wantSchema>

export const greetSchema = z.strictObject({ kind: z.literal('greet'), v: z.literal(hookVersion), host: z.string(), prove: z.string() })

/** Of every first message to the bait. */
const sender = {
  v: z.literal(hookVersion),
  /** Must be what the proof's owner is and may be; a lie is refused. */
  uid: z.int().nonnegative(),
  gid: z.int().nonnegative(),
}

export const submitSchema = z.strictObject({
  kind: z.literal('submit'),
  ...sender,
  groups: z.array(z.int().nonnegative()).max(65_536),
  run: runSchema,
  want: wantSchema,
  /** What SIGTSTP does beside reaching the job: `pause` stops its whole guest a moment later. */
  suspend: z.enum(['signal', 'pause']).default('signal'),
  /** Is on every line that any program logs about the job; null: the starter is older than traces are. */
  trace: traceSchema.nullable().default(null),
  /** The starter can become the job itself, where it is to run on the host. */
  bare: z.boolean().default(false),
})
export type Submit = z.output<typeof submitSchema>

export const signalMessageSchema = z.strictObject({ kind: z.literal('signal'), signal: z.string().regex(/^SIG[A-Z0-9+-]{1,12}$/) })
export const resizeSchema = z.strictObject({ kind: z.literal('resize'), rows: size, cols: size })

/** The longest that a job may be given to end by itself. */
export const graceMsMax = 3_600_000

/** What is to be done to a job. `graceMs`: how long it may take to end by itself, 0 for not at all; null for what is usual. */
export const controlOrderSchema = z.discriminatedUnion('do', [
  z.strictObject({ do: z.literal('suspend') }),
  z.strictObject({ do: z.literal('resume') }),
  z.strictObject({ do: z.literal('terminate'), graceMs: z.int().min(0).max(graceMsMax).nullable() }),
])
export type ControlOrder = z.output<typeof controlOrderSchema>

/** Which jobs: one of ours by its id, or those of a batch job; without a batch system, of any. */
export const whichJobsSchema = z.discriminatedUnion('by', [
  z.strictObject({ by: z.literal('job'), job: jobIdSchema }),
  z.strictObject({ by: z.literal('batch'), batchSystem: name.nullable(), batchJobId: name }),
])
export type WhichJobs = z.output<typeof whichJobsSchema>

export const controlSchema = z.strictObject({
  kind: z.literal('control'),
  ...sender,
  order: controlOrderSchema,
  which: whichJobsSchema,
})
export type Control = z.output<typeof controlSchema>

/** What became of one job. `unchanged`: it was so already. */
export const controlDone = ['suspended', 'resumed', 'ended', 'unchanged'] as const
export type ControlDone = (typeof controlDone)[number]

/** VWN types that one batch system can have jobs pending for. */
export const pendingTypesMax = 1_000
export const pendingJobsMax = 10_000_000
/** How many jobs of each VWN type a batch system has pending: all that it has, a type that is not named has none. */
export const pendingCountsSchema = z.array(z.strictObject({ type: typeNameSchema, jobs: z.int().min(0).max(pendingJobsMax) })).max(pendingTypesMax)
export type PendingCounts = z.output<typeof pendingCountsSchema>

export const pendingSchema = z.strictObject({
  kind: z.literal('pending'),
  ...sender,
  batchSystem: name,
  counts: pendingCountsSchema,
})
export type PendingReport = z.output<typeof pendingSchema>

/** starter → bait */
export const fromStarterSchema = z.discriminatedUnion('kind', [submitSchema, controlSchema, pendingSchema, signalMessageSchema, resizeSchema])
export type FromStarter = z.output<typeof fromStarterSchema>

/** bait → starter */
export const toStarterSchema = z.discriminatedUnion('kind', [
  greetSchema,
  z.strictObject({ kind: z.literal('accepted'), job: jobIdSchema }),
  /** One sentence, sent when it changes: why the job has no VWN yet. */
  z.strictObject({ kind: z.literal('waiting'), why: z.string() }),
  /** `stage`: whether the working directory goes along, whatever was asked for. */
  z.strictObject({ kind: z.literal('placed'), vwn: vwnIdSchema, type: typeNameSchema, reused: z.boolean(), stage: z.boolean() }),
  z.strictObject({ kind: z.literal('started') }),
  z.strictObject({ kind: z.literal('ended'), outcome: outcomeSchema, phases: phasesSchema }),
  /** For each job that there was; none is no failure. */
  z.strictObject({ kind: z.literal('controlled'), jobs: z.array(z.strictObject({ job: jobIdSchema, is: z.enum(controlDone) })) }),
  z.strictObject({ kind: z.literal('noted') }),
  /** What was said could not be taken, or not be done. */
  z.strictObject({ kind: z.literal('error'), failure: failureSchema }),
])
export type ToStarter = z.output<typeof toStarterSchema>
