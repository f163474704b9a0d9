/**
 * What the controller's HTTP API answers, for its server, the CLI and the monitor alike. Reading is `GET /v1/…`; the operator's
 * verbs exist on the operator's unix socket only. docs/api.md has the addresses.
 *
 * Views leave room for new fields: clients ignore what they do not know, so these objects are not strict.
 */
import { z } from 'zod'
import { directoryPolicies } from '../core/directory.ts'
import type { VwnError } from '../core/errors.ts'
import { ways } from '../core/making.ts'
import { orderKinds } from '../core/orders.ts'
import { mades } from '../core/placement.ts'
import { acceleratorSchema, contactSchema, liveJobStates, mountSchema, networkSchema, reusePolicySchema, scrubReceiptSchema, templateFactSchema, templateStates } from './bait.ts'
import {
  digestSchema, failureSchema, hostIdSchema, jobIdSchema, outcomeSchema, phaseNames, phasesSchema, shapeSchema, timeMsSchema, traceSchema,
  typeNameSchema, usageSchema, vwnIdSchema,
} from './common.ts'

const count = z.int().nonnegative()
export const amount = z.object({ cpus: z.int(), memoryMib: z.int(), scratchGib: z.int() })

/** Every refusal, whatever its status. */
export const errorReplySchema = z.object({
  code: z.string(),
  message: z.string(),
  hint: z.string(),
  facts: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
})
export type ErrorReply = z.output<typeof errorReplySchema>

/** The refusal for an expected failure. */
export function errorReply({ code, message, entry: { hint }, facts }: VwnError): ErrorReply {
  const known = Object.entries(facts).filter((pair): pair is [string, string | number | boolean | null] => pair[1] !== undefined)
  return { code, message, hint, facts: Object.fromEntries(known) }
}

export const hostViewSchema = z.object({
  host: hostIdSchema,
  /** The operator's want, and beside it the fact. */
  want: z.enum(['open', 'draining', 'closed']),
  fact: z.enum(['alive', 'silent', 'fenced']),
  lastReportAtMs: timeMsSchema.nullable(),
  capacity: amount,
  /** What its VWNs hold at present. */
  used: amount,
  vwns: count,
  jobs: count,
  version: z.string(),
  hypervisor: z.string(),
  accelerators: z.array(acceleratorSchema),
  /** Why no guest can be started there at all; null where one can, and while that is not known yet. */
  broken: z.string().nullable(),
  images: count,
  /** What VWNs are cloned from there, and what that takes of the disk at present and at most. */
  templates: z.object({ kept: z.array(templateFactSchema), diskMib: count, diskMibMax: count }),
})
export type HostView = z.output<typeof hostViewSchema>

export const vwnViewSchema = z.object({
  vwn: vwnIdSchema,
  host: hostIdSchema,
  type: typeNameSchema,
  image: z.object({ digest: digestSchema, name: z.string().nullable() }),
  contact: contactSchema,
  shape: shapeSchema,
  network: networkSchema,
  state: z.string(),
  sinceMs: timeMsSchema,
  deadlineAtMs: timeMsSchema.nullable(),
  token: z.string(),
  job: jobIdSchema.nullable(),
  /** Of its first job, and for life; `reuse` says who may come after it. */
  owner: z.object({ uid: count, user: z.string(), gid: count, group: z.string(), project: z.string().nullable() }).nullable(),
  reuse: reusePolicySchema,
  jobsRun: count,
  createdAtMs: timeMsSchema,
  phases: phasesSchema,
  bootAttempt: count,
  accelerator: z.string().nullable(),
  pid: z.int().nullable(),
  /** It stands still: ready and nobody's, or with a job that is suspended. */
  paused: z.boolean().default(false),
  /** How its guest came to be; null until that is known. */
  madeBy: z.enum(ways).nullable().default(null),
  cause: failureSchema.nullable(),
})
export type VwnView = z.output<typeof vwnViewSchema>

export const vwnEventViewSchema = z.object({
  atMs: timeMsSchema,
  event: z.string(),
  from: z.string(),
  to: z.string(),
  job: jobIdSchema.nullable(),
  why: z.string().nullable(),
})
export type VwnEventView = z.output<typeof vwnEventViewSchema>

/** One VWN with everything that ever happened to it. */
export const vwnPastSchema = vwnViewSchema.extend({ events: z.array(vwnEventViewSchema) })
export type VwnPast = z.output<typeof vwnPastSchema>

export const vwnDetailSchema = vwnPastSchema.extend({
  /** What its bait was told to do with it, first to last. */
  orders: z.array(z.object({
    atMs: timeMsSchema,
    does: z.enum(orderKinds),
    job: jobIdSchema.nullable(),
    /** The event that led to it. */
    event: z.string(),
    why: z.string().nullable(),
  })),
  /** Its bait has taken in all of that. */
  ordersTaken: z.boolean(),
})
export type VwnDetail = z.output<typeof vwnDetailSchema>

export const jobStates = [...liveJobStates, 'ended'] as const
export const jobViewSchema = z.object({
  job: jobIdSchema,
  host: hostIdSchema,
  name: z.string(),
  state: z.enum(jobStates),
  user: z.string(),
  uid: count,
  group: z.string(),
  queue: z.string().nullable(),
  project: z.string().nullable(),
  batchSystem: z.string().nullable(),
  batchJobId: z.string().nullable(),
  requestedType: typeNameSchema.nullable(),
  /** What the mapping made of it; null until it was looked at. */
  type: typeNameSchema.nullable(),
  rule: z.string().nullable(),
  vwn: vwnIdSchema.nullable(),
  reused: z.boolean().nullable(),
  /** How it came by its VWN: made for it · `ready`, fresh, before it came · used by its user before. Null while it has none. */
  made: z.enum(mades).nullable(),
  /** Why it has no VWN yet, or why it was refused. */
  why: z.string().nullable(),
  outcome: outcomeSchema.nullable(),
  submittedAtMs: timeMsSchema,
  endedAtMs: timeMsSchema.nullable(),
  phases: phasesSchema,
  usage: usageSchema.nullable(),
  /** Is on every log line about it. */
  trace: traceSchema.nullable().default(null),
})
export type JobView = z.output<typeof jobViewSchema>

/** Where the time of one job went, and what its VWN was when it came in. */
export const receiptSchema = jobViewSchema.extend({
  /** In the order in which they happen; a phase that did not happen is absent. */
  timeline: z.array(z.object({ phase: z.enum(phaseNames), ms: z.number().nonnegative() })),
  /** From submission to end; null while the job lives. */
  totalMs: z.number().nonnegative().nullable(),
  /** Part of the total that no phase explains. */
  otherMs: z.number().nullable(),
  /** Null while the job lives, and for one that never reached a VWN. */
  scrubReceipt: z.object(scrubReceiptSchema.shape).nullable(),
})
export type Receipt = z.output<typeof receiptSchema>

/** Why a job got, gets or would get what. */
export const explanationSchema = z.object({
  job: jobIdSchema.nullable(),
  /** When this was decided; for a question without a job, now. */
  atMs: timeMsSchema,
  asked: z.object({
    user: z.string(),
    groups: z.array(z.string()),
    queue: z.string().nullable(),
    project: z.string().nullable(),
    batchSystem: z.string().nullable(),
    type: typeNameSchema.nullable(),
  }),
  /** The rule that decided; null: the default one, or none. */
  rule: z.string().nullable(),
  /** Every rule in order, and why it did or did not decide; those after the one that did are `notReached`. */
  rules: z.array(z.object({ rule: z.string(), is: z.enum(['matched', 'noMatch', 'notReached']), why: z.string() })),
  type: typeNameSchema.nullable(),
  allowed: z.array(typeNameSchema),
  shape: shapeSchema.nullable(),
  decision: z.object({
    /** `ready`: one that stands ready and is nobody's yet. `bare`: none, the host itself. */
    is: z.enum(['reuse', 'ready', 'make', 'waits', 'refused', 'bare']),
    vwn: vwnIdSchema.nullable(),
    host: hostIdSchema.nullable(),
    why: z.string(),
    failure: failureSchema.nullable(),
  }),
  /** How a VWN that is made for it comes to be; null where none is made. */
  made: z.object({ by: z.enum(['clone', 'boot']), why: z.string() }).nullable().default(null),
  /** One sentence per host that was looked at. */
  hosts: z.array(z.object({ host: hostIdSchema, why: z.string() })),
})
export type Explanation = z.output<typeof explanationSchema>

/** What one host keeps ready of a type, as of the controller's last turn. */
export const poolViewSchema = z.object({
  host: hostIdSchema,
  making: count,
  ready: count,
  /** Given back, but not gone yet. */
  going: count,
  /** Fewer are filled up to `wanted`, more are given back down to `kept`; `target` is how many there will be, as room is now. */
  wanted: count,
  kept: count,
  target: count,
  /** How many are wanted for what reason, and why no more are made. */
  why: z.string(),
})
export type PoolView = z.output<typeof poolViewSchema>

export const typeViewSchema = z.object({
  type: typeNameSchema,
  /** As the mapping names it. */
  image: z.string(),
  shape: shapeSchema,
  network: networkSchema,
  /** What its jobs find mounted, and where they start. */
  mounts: z.array(z.object(mountSchema.shape)).default([]),
  directory: z.enum(directoryPolicies).nullable().default(null),
  reuse: reusePolicySchema,
  jobsMax: count,
  ageMaxMs: count,
  idleMaxMs: count,
  bootMs: count,
  limit: count.nullable(),
  /** What each host is to keep ready; null: nothing. */
  pool: z.object({ min: count, max: count, memoryShare: z.number() }).nullable(),
  /** What it keeps ready, by host. */
  pools: z.array(poolViewSchema),
  vwns: count,
  /** Jobs that pend for it, as each batch system has said last, and how long ago. */
  pending: z.array(z.object({ batchSystem: z.string(), jobs: count, agoMs: count })).default([]),
  /** Hosts that have the image. */
  hosts: z.array(hostIdSchema),
  /** What its VWNs are cloned from on each of these hosts; `why` where that is not ready. */
  templates: z.array(z.object({
    host: hostIdSchema, id: z.string().nullable(), state: z.enum(templateStates), why: z.string().nullable(), diskMib: count, tookMs: z.number().nullable(),
  })),
  problem: z.string().nullable(),
})
export type TypeView = z.output<typeof typeViewSchema>

export const imageViewSchema = z.object({
  digest: digestSchema,
  name: z.string(),
  contact: contactSchema,
  hosts: z.array(hostIdSchema),
  types: z.array(typeNameSchema),
})
export type ImageView = z.output<typeof imageViewSchema>

export const statusSchema = z.object({
  name: z.string(),
  version: z.string(),
  term: count,
  startedAtMs: timeMsSchema,
  nowMs: timeMsSchema,
  bus: z.object({ connected: z.boolean(), dropped: count, stale: count }),
  mapping: z.object({
    file: z.string(),
    /** Counts the mappings taken into force since the controller started; 0: none yet. */
    version: count,
    loadedAtMs: timeMsSchema.nullable(),
    types: count,
    rules: count,
    /** Why the file as it is now was refused; the mapping before it stays in force. */
    problem: failureSchema.nullable(),
    /** What is valid but cannot work at present: an image that no host has. */
    warnings: z.array(z.string()),
  }),
  hosts: z.array(z.object({ host: hostIdSchema, generation: count, generationSeen: count })),
  counts: z.object({ hosts: z.record(z.string(), count), vwns: z.record(z.string(), count), jobs: z.record(z.string(), count) }),
})
export type Status = z.output<typeof statusSchema>

/** What a host offers to the next jobs of each type; the types share the host, so only one of them can have its number. */
export const resourceViewSchema = z.object({
  type: typeNameSchema,
  /** As batch systems count it: `vm_` and the type, whatever is no letter or digit an underscore. */
  name: z.string(),
  jobs: count,
  ready: count,
  inUse: count,
  /** How long the next job would wait; null where there is nothing for it. */
  readyMs: count.nullable(),
})
export type ResourceView = z.output<typeof resourceViewSchema>
export const resourcesReplySchema = z.object({ host: hostIdSchema, resources: z.array(resourceViewSchema) })
export type ResourcesReply = z.output<typeof resourcesReplySchema>

export const hostsReplySchema = z.object({ hosts: z.array(hostViewSchema) })
/** `next`: what `cursor` is for the rows after these; null where there are none. */
const next = z.string().nullable().default(null)
export const vwnsReplySchema = z.object({ vwns: z.array(vwnViewSchema), next })
export const jobsReplySchema = z.object({ jobs: z.array(jobViewSchema), next })
export const typesReplySchema = z.object({
  types: z.array(typeViewSchema),
  /** Why the mapping file as it is now was refused, if so; the types are those of the one before. */
  problem: failureSchema.nullable().default(null),
})
export const imagesReplySchema = z.object({ images: z.array(imageViewSchema) })

/** There is nothing to complain about. */
export const aliveSchema = z.object({ ok: z.boolean() })

/** An order was taken; how far it has come is seen in the view. */
export const hostOrderedSchema = z.object({ host: hostViewSchema })
export const vwnOrderedSchema = z.object({ vwn: vwnViewSchema })

const text = z.string().min(1).max(256)
/** Of a list so many rows, those after a `cursor`, and of each row only these `fields` (`a,b`). */
const paging = { limit: z.coerce.number().int().min(1).max(10_000).default(100), cursor: text.optional(), fields: z.string().max(1024).optional() }

export const jobsQuerySchema = z.strictObject({
  user: text.optional(),
  host: text.optional(),
  vwn: text.optional(),
  type: text.optional(),
  state: z.enum(jobStates).optional(),
  /** `live`: not ended. */
  only: z.enum(['live', 'ended']).optional(),
  ...paging,
})
export type JobsQuery = z.output<typeof jobsQuerySchema>

export const vwnsQuerySchema = z.strictObject({
  host: text.optional(),
  type: text.optional(),
  state: text.optional(),
  /** VWNs that are gone are left out unless asked for. */
  gone: z.stringbool().default(false),
  ...paging,
})
export type VwnsQuery = z.output<typeof vwnsQuerySchema>

/** A group may be given several times or as `a,b`; without one, the user's own groups on the controller's machine count. */
export const explainQuerySchema = z.strictObject({
  user: text,
  group: z.union([text, z.array(text).max(1024)]).optional(),
  queue: text.optional(),
  project: text.optional(),
  batch_system: text.optional(),
  type: text.optional(),
  /** Where the batch system would send the job; without one, any host counts. */
  host: text.optional(),
})
export type ExplainQuery = z.output<typeof explainQuerySchema>
