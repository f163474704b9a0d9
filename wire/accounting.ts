/**
 * What the controller's HTTP API answers about the past, in pages.
 *
 *   GET  /v1/accounting?after=&since=&until=&user=&group=&project=&type=&limit=   one record per ended job, in the order of their numbers
 *   POST /v1/accounting/acknowledge/:id                                          operator's socket: records up to this one are taken
 *   GET  /v1/history/export?after=&limit=                                        all that is over, oldest first
 *   GET  /v1/times?hours=                                                        waits and hand-overs of late
 *   GET  /v1/making?hours=                                                       how VWNs came up, and why they failed
 */
import { z } from 'zod'
import { causes, type AccountingRecord } from '../core/accounting.ts'
import { mades } from '../core/placement.ts'
import { jobViewSchema, vwnPastSchema } from './api.ts'
import { digestSchema, hostIdSchema, jobIdSchema, timeMsSchema, typeNameSchema, vwnIdSchema } from './common.ts'

const whole = z.int().nonnegative()
const text = z.string().min(1).max(256)

export const accountingRecordSchema = z.object({
  record: z.int().positive(),
  job: jobIdSchema,
  batchSystem: z.string().nullable(),
  batchJobId: z.string().nullable(),
  name: z.string(),
  user: z.string(),
  uid: whole,
  group: z.string(),
  project: z.string().nullable(),
  queue: z.string().nullable(),
  host: hostIdSchema,
  type: typeNameSchema.nullable(),
  vwn: vwnIdSchema.nullable(),
  image: digestSchema.nullable(),
  made: z.enum(mades).nullable(),
  /** What its VWN held; null for a job that reached none. */
  cpus: whole.nullable(),
  memoryMib: whole.nullable(),
  scratchGib: whole.nullable(),
  submittedAtMs: timeMsSchema,
  startedAtMs: timeMsSchema.nullable(),
  endedAtMs: timeMsSchema,
  /** The sum of its phases from `wait` to `collect`, and `other`. */
  wallMs: whole,
  waitMs: whole,
  bootMs: whole,
  contactMs: whole,
  stageMs: whole,
  startMs: whole,
  runMs: whole,
  collectMs: whole,
  otherMs: whole,
  /** After the end: no part of `wallMs`. */
  scrubMs: whole,
  /** All phases but `run`, and the scrub: time that is not the user's. */
  overheadMs: whole,
  cpuUserMs: whole.nullable(),
  cpuSystemMs: whole.nullable(),
  memoryPeakBytes: whole.nullable(),
  readBytes: whole.nullable(),
  writtenBytes: whole.nullable(),
  cause: z.enum(causes),
  exitCode: z.int().nullable(),
  signal: z.string().nullable(),
  coreDumped: z.boolean(),
  failure: z.string().nullable(),
}) satisfies z.ZodType<AccountingRecord>

export const accountingReplySchema = z.object({
  /** Name of the farm: with it, a record's number is unique among farms. */
  farm: z.string(),
  records: z.array(accountingRecordSchema),
  /** What to ask for next as `after`; null: this was the end. A page may be empty and not the end. */
  next: whole.nullable(),
  /** Records up to this one were exported and acknowledged. */
  acknowledged: whole,
})
export type AccountingReply = z.output<typeof accountingReplySchema>

export const accountingQuerySchema = z.strictObject({
  after: z.coerce.number().int().nonnegative().optional(),
  /** Milliseconds since the epoch, of the jobs' ends: from `since` on, and before `until`. */
  since: z.coerce.number().nonnegative().optional(),
  until: z.coerce.number().nonnegative().optional(),
  user: text.optional(),
  group: text.optional(),
  project: text.optional(),
  type: text.optional(),
  limit: z.coerce.number().int().min(1).max(5_000).default(1_000),
})
export type AccountingQuery = z.output<typeof accountingQuerySchema>

export const acknowledgedSchema = z.object({ acknowledged: whole })

/** One thing that is over. */
export const historyEntrySchema = z.discriminatedUnion('kind', [
  jobViewSchema.extend({ kind: z.literal('job') }),
  vwnPastSchema.extend({ kind: z.literal('vwn') }),
])
export type HistoryEntry = z.output<typeof historyEntrySchema>
export const historyExportReplySchema = z.object({
  entries: z.array(historyEntrySchema),
  /** What to ask for next as `after`; null: this was the end. */
  next: z.string().nullable(),
})
export type HistoryExportReply = z.output<typeof historyExportReplySchema>
export const historyExportQuerySchema = z.strictObject({
  /** `next` of the page before. */
  after: z.string().regex(/^\d+(\.\d+)?:[a-z0-9-]{1,64}$/).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(500),
})

const percentilesSchema = z.object({ p50: z.number(), p95: z.number(), p99: z.number() }).nullable()
const timesSchema = z.object({
  jobs: whole,
  /** Until the job had its VWN, the making of it included; then until its process ran; and what the making took where there was one. */
  waitMs: percentilesSchema,
  handoverMs: percentilesSchema,
  bootMs: percentilesSchema,
  made: z.object({ new: whole, ready: whole, reused: whole, bare: whole }),
})
export type TimesView = z.output<typeof timesSchema>
export const timesReplySchema = z.object({
  /** Later than was asked for where there are more jobs than one answer looks at. */
  fromMs: timeMsSchema,
  toMs: timeMsSchema,
  byType: z.array(timesSchema.extend({ type: typeNameSchema.nullable() })),
  byHost: z.array(timesSchema.extend({ host: hostIdSchema })),
  /** Jobs that ended, minute by minute. */
  perMinute: z.array(z.object({ atMs: timeMsSchema, jobs: whole })),
  /** Of jobs that were refused or lost, and of VWNs that went by themselves; most frequent first. */
  errors: z.array(z.object({ code: z.string(), count: whole })),
})
export type TimesReply = z.output<typeof timesReplySchema>
export const timesQuerySchema = z.strictObject({ hours: z.coerce.number().positive().max(168).default(24) })

const madeSchema = z.object({ vwns: whole, halfMs: z.array(z.number().nullable()) })
/** By type, in steps of equal length. */
export const makingReplySchema = z.object({
  /** Later than was asked for where there are more VWNs than one answer looks at. */
  fromMs: timeMsSchema,
  toMs: timeMsSchema,
  stepMs: z.number().positive(),
  types: z.array(z.object({
    type: typeNameSchema,
    /** So many VWNs in all, and for each step how long half of them took at most, from being begun to being available; null where there were none. */
    made: z.object({ clone: madeSchema, boot: madeSchema }),
    /** For each cause, the most frequent first, how many failed in each step. */
    failures: z.array(z.object({ code: z.string(), counts: z.array(whole) })),
  })),
})
export type MakingReply = z.output<typeof makingReplySchema>
