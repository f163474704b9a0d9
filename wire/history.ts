/** What happened in the farm, and how it was at a moment. */
import { z } from 'zod'
import { vwnStates } from '../core/vwn.ts'
import { hostIdSchema, jobIdSchema, timeMsSchema, typeNameSchema, vwnIdSchema } from './common.ts'
import { farmHostSchema, farmJobSchema, farmVwnSchema } from './farm.ts'

const eventId = z.int().nonnegative()

/** One transition of one VWN. */
export const farmEventSchema = z.object({
  /** Rises in the order in which things happened. */
  id: eventId,
  atMs: timeMsSchema,
  vwn: vwnIdSchema,
  host: hostIdSchema,
  type: typeNameSchema,
  /** Kind of the event; `requested` for the first. */
  event: z.string(),
  from: z.enum(vwnStates),
  to: z.enum(vwnStates),
  job: jobIdSchema.nullable(),
  why: z.string().nullable(),
})
export type FarmEvent = z.output<typeof farmEventSchema>

/** `next`: what `since` is for the events after these; null where there are none. */
export const eventsReplySchema = z.object({ events: z.array(farmEventSchema), next: eventId.nullable() })
export type EventsReply = z.output<typeof eventsReplySchema>

const text = z.string().min(1).max(256)
const moment = z.coerce.number().pipe(timeMsSchema)

/** `since`: only what comes after this event, in the order that is asked for. */
export const eventsQuerySchema = z.strictObject({
  since: z.coerce.number().pipe(eventId).optional(),
  from: moment.optional(),
  to: moment.optional(),
  vwn: text.optional(),
  host: text.optional(),
  job: text.optional(),
  order: z.enum(['asc', 'desc']).default('asc'),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
export type EventsQuery = z.output<typeof eventsQuerySchema>

/** Said to a watcher that has seen what this database never had: what it knows is of another one. */
export const eventsResetSchema = z.object({ newest: eventId })

export const followQuerySchema = eventsQuerySchema.pick({ since: true })

const unrecorded = z.null()

/** The farm at a moment, in the shape of `GET /v1/farm`; null is what nobody wrote down. `used` is what the VWNs of then held. */
export const pastFarmSchema = z.object({
  atMs: timeMsSchema,
  hosts: z.array(farmHostSchema.extend({ want: unrecorded, fact: unrecorded, capacity: unrecorded, broken: unrecorded })),
  vwns: z.array(farmVwnSchema.extend({ paused: unrecorded })),
  /** Those that had been handed over and had not ended; `vwn` and `type`, where one was theirs, served or reserved. */
  jobs: z.array(farmJobSchema.extend({ state: unrecorded, endedAtMs: unrecorded, made: unrecorded, why: unrecorded, outcome: unrecorded })),
})
export type PastFarm = z.output<typeof pastFarmSchema>

export const historyQuerySchema = z.strictObject({ at: moment })

/** The moments that can be asked for. */
export const historyBoundsSchema = z.object({ fromMs: timeMsSchema, toMs: timeMsSchema })
export type HistoryBounds = z.output<typeof historyBoundsSchema>
