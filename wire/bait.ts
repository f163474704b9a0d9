/**
 * What baits and the controller tell each other over NATS. Both messages carry a whole state, never a change: a lost one costs
 * latency, a doubled or late one is recognised by its number and ignored.
 *
 *   Report   bait → controller   what really is on this host: VWNs, live jobs, and ended jobs until they are acknowledged
 *   Orders   controller → bait   what is wanted of this host: VWNs with their tokens, which job each serves, answers to waiting jobs
 *
 * A Report is a NATS request; its answer is the current Orders. Orders are also pushed when they change.
 */
import { z } from 'zod'
import {
  digestSchema, failureSchema, hostIdSchema, identitySchema, jobIdSchema, outcomeSchema, phasesSchema, shapeSchema, timeMsSchema,
  tokenSchema, traceSchema, typeNameSchema, usageSchema, vwnIdSchema,
} from './common.ts'
import { directoryPolicies } from '../core/directory.ts'
import { ways } from '../core/making.ts'
import { formerOwners, reusePolicies } from '../core/reuse.ts'
import { pendingCountsSchema, wantSchema } from './hook.ts'

export const baitVersion = 1

export const contactSchema = z.enum(['agent', 'ssh'])
export const networkSchema = z.enum(['isolated', 'outbound'])

/** What a VWN is made of; fixed for its life. */
export const vwnSpecSchema = z.strictObject({
  type: typeNameSchema,
  image: digestSchema,
  contact: contactSchema,
  shape: shapeSchema,
  network: networkSchema,
  /** Deadline of one boot attempt. */
  bootMs: z.int().positive(),
})
export type VwnSpec = z.output<typeof vwnSpecSchema>

export const observedStates = ['preparing', 'booting', 'idle', 'busy', 'cleaning', 'stopping', 'gone'] as const
export const observedVwnSchema = z.strictObject({
  vwn: vwnIdSchema,
  token: tokenSchema,
  state: z.enum(observedStates),
  /** The job it serves, or the one it is made for. */
  job: jobIdSchema.nullable(),
  /** Jobs it has finished and been scrubbed of. */
  jobsRun: z.int().nonnegative(),
  bootAttempt: z.int().nonnegative(),
  sinceMs: timeMsSchema,
  phases: phasesSchema,
  /** Why it stops or is gone; null while all is well. */
  cause: failureSchema.nullable(),
  accelerator: z.string().max(16).nullable(),
  pid: z.int().positive().nullable(),
  /** Its VM stands still: ready and nobody's, or with a job that is suspended. */
  paused: z.boolean().default(false),
  /** How its guest came to be. */
  madeBy: z.enum(ways).nullable().default(null),
})
export type ObservedVwn = z.output<typeof observedVwnSchema>

export const liveJobStates = ['waiting', 'staging', 'starting', 'running', 'suspended', 'stopping', 'collecting'] as const
export const liveJobSchema = z.strictObject({
  job: jobIdSchema,
  state: z.enum(liveJobStates),
  vwn: vwnIdSchema.nullable(),
  identity: identitySchema,
  want: wantSchema,
  /** Base name of the command, for people; arguments stay on the host. */
  name: z.string().max(64),
  submittedAtMs: timeMsSchema,
  phases: phasesSchema,
  trace: traceSchema.nullable().default(null),
})
export type LiveJob = z.output<typeof liveJobSchema>

export const reusePolicySchema = z.enum(reusePolicies)

/** What a VWN was when a job was let in. Built by the bait from its own records, and bounded whatever a guest has said. */
export const scrubReceiptSchema = z.strictObject({
  image: digestSchema,
  /** How its guest came to be: cloned from this template, or booted for this reason. */
  made: z.enum(['clone', 'boot']).nullable(),
  template: z.string().max(128).nullable(),
  bootedBecause: z.string().max(256).nullable(),
  /** Names the scratch disk, made for this VWN alone and deleted with it. */
  overlay: z.string().max(64).nullable(),
  policy: reusePolicySchema,
  /** Jobs that were in it before this one. */
  jobsBefore: z.int().nonnegative(),
  /** Whose they were. */
  before: z.enum(formerOwners),
  /** The scrub after the last of them; null where there was none. */
  scrub: z.strictObject({ checked: z.array(z.string().max(64)).max(32), tookMs: z.number().nonnegative(), atMs: timeMsSchema }).nullable(),
  atMs: timeMsSchema,
})
export type ScrubReceipt = z.output<typeof scrubReceiptSchema>

export const endedJobSchema = z.strictObject({
  ...liveJobSchema.omit({ state: true }).shape,
  outcome: outcomeSchema,
  endedAtMs: timeMsSchema,
  reused: z.boolean(),
  usage: usageSchema.nullable(),
  /** Null for a job that never reached a VWN. */
  scrubReceipt: scrubReceiptSchema.nullable(),
})
export type EndedJob = z.output<typeof endedJobSchema>

export const acceleratorSchema = z.strictObject({ name: z.enum(['kvm', 'tcg']), works: z.boolean(), why: z.string().max(1024) })

/** `missing`: none is made at present, for the reason given. `quarantined`: none is made any more until the bait starts again. */
export const templateStates = ['missing', 'making', 'ready', 'quarantined'] as const
/** What VWNs of one machine are cloned from on a host. */
export const templateFactSchema = z.strictObject({
  /** Null where there can be none. */
  id: z.string().max(16).nullable(),
  image: digestSchema,
  contact: contactSchema,
  network: networkSchema,
  shape: shapeSchema,
  state: z.enum(templateStates),
  /** Why there is none; null where all is well. */
  why: z.string().max(1024).nullable(),
  /** What it takes of the disk; 0 until it is whole. */
  diskMib: z.int().nonnegative(),
  /** How long it took to make; null until it is whole. */
  tookMs: z.number().nonnegative().nullable(),
})
export type TemplateFact = z.output<typeof templateFactSchema>
export const templateFactsMax = 1_024

export const hostFactsSchema = z.strictObject({
  capacity: z.strictObject({ cpus: z.int().nonnegative(), memoryMib: z.int().nonnegative(), scratchGib: z.int().nonnegative() }),
  hypervisor: z.string().max(64),
  accelerators: z.array(acceleratorSchema).max(8),
  /** Why no guest can be started here at all; null where one can, and while that is not known yet. */
  broken: z.string().max(1024).nullable().default(null),
  images: z.array(z.strictObject({ digest: digestSchema, name: z.string().max(64), contact: contactSchema })).max(1024),
  version: z.string().max(64),
  templates: z.array(templateFactSchema).max(templateFactsMax),
  /** What all templates together may take of the disk; 0: there are none. */
  templatesMibMax: z.int().nonnegative(),
})
export type HostFacts = z.output<typeof hostFactsSchema>

/** Batch systems that one host speaks for. */
export const pendingSystemsMax = 16
/** What a batch system said last, here, of its pending jobs; `nth` counts what it said within the session. */
export const pendingSaidSchema = z.strictObject({ batchSystem: z.string().min(1).max(256), nth: z.int().positive(), agoMs: z.int().nonnegative(), counts: pendingCountsSchema })
export type PendingSaid = z.output<typeof pendingSaidSchema>

/** Ended jobs in one report; when there are more, the rest follows once these are acknowledged. */
export const endedMax = 1_000

export const reportSchema = z.strictObject({
  v: z.literal(baitVersion),
  host: hostIdSchema,
  /** Kernel boot id: another one proves that nothing of before is still running. */
  bootId: z.string().max(64),
  /** This bait process; `seq` counts within it, starting at 1. `startedAtMs` orders sessions. */
  session: z.string().max(64),
  startedAtMs: timeMsSchema,
  seq: z.int().positive(),
  /** The newest Orders this bait has taken in; term 0 when none yet. */
  ordersSeen: z.strictObject({ term: z.int().nonnegative(), generation: z.int().nonnegative() }),
  facts: hostFactsSchema,
  vwns: z.array(observedVwnSchema).max(10_000),
  jobs: z.array(liveJobSchema).max(10_000),
  ended: z.array(endedJobSchema).max(endedMax),
  pending: z.array(pendingSaidSchema).max(pendingSystemsMax).default([]),
})
export type Report = z.output<typeof reportSchema>

/** The first job of a VWN, as far as it decides who may come after it. */
export const sharerSchema = z.strictObject({ uid: z.int().nonnegative(), gid: z.int().nonnegative(), project: z.string().max(256).nullable() })

/** A file system that a job finds in its guest where its host has it; see core/directory.ts. */
export const mountSchema = z.strictObject({
  server: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535),
  path: z.string().startsWith('/').max(1024),
  at: z.string().startsWith('/').max(1024),
  readOnly: z.boolean(),
  options: z.string().max(256),
})

export const wantedVwnSchema = z.strictObject({
  vwn: vwnIdSchema,
  token: tokenSchema,
  want: z.enum(['run', 'gone']),
  /** True: `gone` may not wait for a job to finish (operator's kill). */
  insist: z.boolean(),
  spec: vwnSpecSchema,
  /** Who may share it with its owner; fixed for its life. */
  reuse: reusePolicySchema,
  /** Null until the first job is known. */
  owner: sharerSchema.nullable(),
  job: jobIdSchema.nullable(),
  /** What its next job finds mounted, and where that starts. */
  mounts: z.array(mountSchema).max(32).default([]),
  directory: z.enum(directoryPolicies).nullable().default(null),
})
export type WantedVwn = z.output<typeof wantedVwnSchema>

export const answerSchema = z.discriminatedUnion('is', [
  z.strictObject({ job: jobIdSchema, is: z.literal('waits'), why: z.string().max(4096) }),
  z.strictObject({ job: jobIdSchema, is: z.literal('refused'), failure: failureSchema }),
  /** It runs on the host itself: its starter becomes it. */
  z.strictObject({ job: jobIdSchema, is: z.literal('bare') }),
])
export type Answer = z.output<typeof answerSchema>

export const ordersSchema = z.strictObject({
  v: z.literal(baitVersion),
  host: hostIdSchema,
  /** The bait process that they are for: the one whose Report was heard last. Any other ignores them. */
  session: z.string().max(64),
  term: z.int().positive(),
  generation: z.int().nonnegative(),
  vwns: z.array(wantedVwnSchema).max(10_000),
  answers: z.array(answerSchema).max(10_000),
  /** What may be asked of this host next: templates of these machines are made before anybody waits for them. */
  machines: z.array(vwnSpecSchema).max(10_000),
  /** Ended jobs that are in the controller's history: the bait may forget them. */
  acknowledged: z.array(jobIdSchema).max(endedMax),
})
export type Orders = z.output<typeof ordersSchema>
