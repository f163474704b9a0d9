/**
 * What is asked of a host while somebody looks at one of its VWNs: a NATS request of the controller, answered by the bait from its memory and
 * its files. Nothing of it is kept by the controller, nothing is decided on it, and nobody asks while nobody looks.
 */
import { z } from 'zod'
import { timeMsSchema, vwnIdSchema } from './common.ts'

export const lookVersion = 1

/** How often a bait looks at its VWNs, and how many of the last looks it keeps: an hour. */
export const sampleEveryMs = 10_000
export const samplesMax = 360
/** Of a console in one answer. */
export const consoleBytesMax = 64 * 1024

const count = z.int().nonnegative()
const orUnknown = count.nullable()

export const lookSchema = z.discriminatedUnion('at', [
  z.strictObject({ v: z.literal(lookVersion), at: z.literal('samples'), vwn: vwnIdSchema, sinceMs: timeMsSchema }),
  /** `from`: how much of what the guest has said is known; null for the last lines. */
  z.strictObject({ v: z.literal(lookVersion), at: z.literal('console'), vwn: vwnIdSchema, from: orUnknown, bytesMax: z.int().min(1).max(consoleBytesMax) }),
])
export type Look = z.output<typeof lookSchema>

/** What a VWN had used by then since its VM was started, as its host measures it; null is what the host cannot tell. */
export const sampleSchema = z.strictObject({
  atMs: timeMsSchema,
  cpuMs: count,
  /** Of the host's memory, without what it shares with its template. */
  memoryBytes: count,
  /** Of its disks, by its guest. */
  readBytes: orUnknown,
  writtenBytes: orUnknown,
  /** Over the bait's connection to it, since this bait holds that: a guest that may reach other machines has carried more. */
  toGuestBytes: orUnknown,
  fromGuestBytes: orUnknown,
})
export type Sample = z.output<typeof sampleSchema>

/** Null: the host has nothing of that VWN (any more). */
export const samplesSeenSchema = z.strictObject({ samples: z.array(sampleSchema).max(samplesMax) }).nullable()
export const consoleSeenSchema = z.strictObject({
  /** Where the text begins; later than was asked for where what stood there was left out. */
  from: count,
  /** Where to go on. */
  next: count,
  /** How much the guest has said in all, in bytes. */
  said: count,
  /** Without terminal control. */
  text: z.string().max(consoleBytesMax),
}).nullable()

export const samplesReplySchema = z.object({ everyMs: count, samples: z.array(z.object(sampleSchema.shape)) })
export type SamplesReply = z.output<typeof samplesReplySchema>
export const consoleReplySchema = z.object(consoleSeenSchema.unwrap().shape)
export type ConsoleReply = z.output<typeof consoleReplySchema>

export const samplesQuerySchema = z.strictObject({
  /** Only what was measured after this. */
  since: z.coerce.number().nonnegative().default(0),
})
export const consoleQuerySchema = z.strictObject({
  /** `next` of the answer before; without it, the last lines. */
  from: z.coerce.number().int().nonnegative().optional(),
  bytes: z.coerce.number().int().min(1).max(consoleBytesMax).default(consoleBytesMax),
})
