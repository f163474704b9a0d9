/**
 * The farm as it is watched: slim rows, all of them by `GET /v1/farm`, and what has changed since by `GET /v1/changes`.
 *
 *   farm ─▶ rows as of `generation` ─▶ changes?since=generation ─▶ change, change, … (whole rows: the last one said counts)
 *                      ▲                                          └▶ reset: too long away, or another database: fetch the farm again
 *                      └──────────────────────────────────────────────┘
 *
 * A client keeps the rows by id, takes every `change` whose generation is above its own, and drops VWNs that are `gone` and jobs that have `ended`.
 */
import { z } from 'zod'
import { mades } from '../core/placement.ts'
import { vwnStates } from '../core/vwn.ts'
import { amount, jobStates } from './api.ts'
import { digestSchema, hostIdSchema, jobIdSchema, outcomeSchema, timeMsSchema, typeNameSchema, vwnIdSchema } from './common.ts'

/** Rises with every change of what the farm shows, and with no heartbeat; over restarts too. */
export const generationSchema = z.int().nonnegative()

export const farmHostSchema = z.object({
  host: hostIdSchema,
  want: z.enum(['open', 'draining', 'closed']),
  fact: z.enum(['alive', 'silent', 'fenced']),
  capacity: amount,
  /** What its VWNs hold: those without a job no cpus. */
  used: amount,
  /** Why no guest can be started there at all; null where one can. */
  broken: z.string().nullable(),
})
export type FarmHost = z.output<typeof farmHostSchema>

export const farmVwnSchema = z.object({
  vwn: vwnIdSchema,
  host: hostIdSchema,
  type: typeNameSchema,
  state: z.enum(vwnStates),
  /** It stands still. */
  paused: z.boolean(),
  /** Begin of this state. */
  sinceMs: timeMsSchema,
  job: jobIdSchema.nullable(),
  /** Its owner; null while it is nobody's. */
  user: z.string().nullable(),
  cpus: z.int(),
  memoryMib: z.int(),
  scratchGib: z.int(),
  image: digestSchema,
  /** Why it has to go, in one sentence. */
  cause: z.string().nullable(),
})
export type FarmVwn = z.output<typeof farmVwnSchema>

export const farmJobSchema = z.object({
  job: jobIdSchema,
  name: z.string(),
  host: hostIdSchema,
  user: z.string(),
  queue: z.string().nullable(),
  state: z.enum(jobStates),
  type: typeNameSchema.nullable(),
  vwn: vwnIdSchema.nullable(),
  batchSystem: z.string().nullable(),
  batchJobId: z.string().nullable(),
  submittedAtMs: timeMsSchema,
  endedAtMs: timeMsSchema.nullable(),
  made: z.enum(mades).nullable(),
  why: z.string().nullable(),
  outcome: outcomeSchema.nullable(),
})
export type FarmJob = z.output<typeof farmJobSchema>

/** Of `GET /v1/farm` everything that there is; of a `change` what has changed, VWNs that are `gone` and jobs that have `ended` as well. */
export const farmSchema = z.object({
  generation: generationSchema,
  nowMs: timeMsSchema,
  hosts: z.array(farmHostSchema),
  vwns: z.array(farmVwnSchema),
  jobs: z.array(farmJobSchema),
})
export type Farm = z.output<typeof farmSchema>

/** Said every few seconds and at the start, so that a watcher can tell stale from quiet. */
export const tickSchema = z.object({ nowMs: timeMsSchema })

/** What was missed cannot be told: the farm has to be fetched again. The changes after this generation follow. */
export const resetSchema = z.object({ generation: generationSchema, nowMs: timeMsSchema })

/** `since`: the generation that the client has. Without one, everything from now on. A `Last-Event-ID` counts before it. */
export const changesQuerySchema = z.strictObject({ since: z.coerce.number().pipe(generationSchema).optional() })
