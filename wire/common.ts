/** Pieces that several messages share. Every schema is strict: what we do not know, we refuse. */
import { z } from 'zod'
import { hostId, idPatterns, imageDigest, jobId, typeName, vwnId } from '../core/ids.ts'

export const hostIdSchema = z.string().regex(idPatterns.host).transform(hostId)
export const vwnIdSchema = z.string().regex(idPatterns.vwn).transform(vwnId)
export const jobIdSchema = z.string().regex(idPatterns.job).transform(jobId)
export const typeNameSchema = z.string().regex(idPatterns.type).transform(typeName)
export const digestSchema = z.string().regex(idPatterns.digest).transform(imageDigest)
export const tokenSchema = z.strictObject({ term: z.int().nonnegative(), epoch: z.int().nonnegative() })
/** The trace id of the W3C's trace context: one for all that is done for a job, by whichever program. */
export const traceSchema = z.string().regex(/^[0-9a-f]{32}$/)
/** Milliseconds since the epoch. */
export const timeMsSchema = z.number().nonnegative()
/** Any bytes, as base64: arguments and environments are bytes, not text. */
export const bytesSchema = z.base64()
export const shapeSchema = z.strictObject({
  cpus: z.int().min(1).max(1024),
  memoryMib: z.int().min(32).max(16 * 1024 * 1024),
  scratchGib: z.int().min(1).max(65_536),
})

/** An account of a failure that crosses a process boundary: a row of the catalogue plus what it was about. */
export const failureSchema = z.strictObject({
  code: z.string().max(64),
  message: z.string().max(4096),
  hint: z.string().max(1024),
})
export type Failure = z.output<typeof failureSchema>

/** A user as the host's own user database knows it; groups are names as well as numbers because mappings match names. */
export const identitySchema = z.strictObject({
  user: z.string().min(1).max(256),
  uid: z.int().nonnegative(),
  gid: z.int().nonnegative(),
  group: z.string().max(256),
  groups: z.array(z.strictObject({ gid: z.int().nonnegative(), name: z.string().max(256) })).max(65_536),
})
export type Identity = z.output<typeof identitySchema>

/** Present where a process of the job was killed because its memory ran out. */
const outOfMemory = z.literal(true).optional()

/** How a job ended, as far as anybody knows; `hooks/` alone turns this into a batch system's exit conventions. */
export const outcomeSchema = z.discriminatedUnion('is', [
  z.strictObject({ is: z.literal('exited'), code: z.int().min(0).max(255), outOfMemory }),
  z.strictObject({ is: z.literal('signalled'), signal: z.string().max(16), coreDumped: z.boolean().default(false), outOfMemory }),
  z.strictObject({ is: z.literal('refused'), failure: failureSchema }),    // never ran: safe to run again
  z.strictObject({ is: z.literal('cancelled'), signal: z.string().max(16).nullable() }),
  z.strictObject({ is: z.literal('lost'), failure: failureSchema }),       // may have run: the worst there is
  z.strictObject({ is: z.literal('bare') }),                               // the job starter has become the job, on the host itself
])
export type Outcome = z.output<typeof outcomeSchema>

/** What a job used, measured in the guest; null where the guest cannot tell. */
export const usageSchema = z.strictObject({
  cpuUserMs: z.number().nullable(),
  cpuSystemMs: z.number().nullable(),
  memoryPeakBytes: z.number().nullable(),
  readBytes: z.number().nullable(),
  writtenBytes: z.number().nullable(),
})
export type Usage = z.output<typeof usageSchema>

/**
 * Where a job's time went, in milliseconds; a phase that did not happen is absent.
 * wait: accepted → placed · placement: the decision itself · boot: VM spawned → guest's hello (or ssh probe) · contact: hello →
 * ssh open · stage: bytes in · start: run sent → started · run: started → exited · collect: bytes out · scrub: after the job.
 */
export const phaseNames = ['wait', 'placement', 'boot', 'contact', 'stage', 'start', 'run', 'collect', 'scrub'] as const
export type PhaseName = (typeof phaseNames)[number]
export const phasesSchema = z.partialRecord(z.enum(phaseNames), z.number().nonnegative())
export type Phases = z.output<typeof phasesSchema>
