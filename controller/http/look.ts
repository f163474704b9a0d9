/** What hosts show of their VWNs: asked while somebody looks, and never kept. */
import type { z } from 'zod'
import { isVwnError, VwnError } from '../../core/errors.ts'
import type { Vwn } from '../../core/vwn.ts'
import { consoleSeenSchema, lookVersion, sampleEveryMs, samplesSeenSchema, type ConsoleReply, type Look, type SamplesReply } from '../../wire/look.ts'
import { subjects } from '../../wire/subjects.ts'
import type { Parts } from '../controller.ts'

/** A bait answers from its memory, or from the end of a file. */
const answerMs = 3_000

/** What a VWN has used, as its host has measured it after this moment; HOST_AWAY, VWN_UNSEEN. */
export async function samplesOf(parts: Parts, vwn: Vwn, sinceMs: number): Promise<SamplesReply> {
  const { samples } = await look(parts, vwn, { v: lookVersion, at: 'samples', vwn: vwn.id, sinceMs }, samplesSeenSchema)
  return { everyMs: sampleEveryMs, samples }
}

/** What its guest has said on its console; HOST_AWAY, VWN_UNSEEN. */
export const consoleOf = (parts: Parts, vwn: Vwn, { from, bytes }: { readonly from?: number | undefined; readonly bytes: number }): Promise<ConsoleReply> =>
  look(parts, vwn, { v: lookVersion, at: 'console', vwn: vwn.id, from: from ?? null, bytesMax: bytes }, consoleSeenSchema)

async function look<S extends z.ZodType>({ bus }: Parts, { id, host, state }: Vwn, question: Look, answer: z.ZodNullable<S>): Promise<z.output<S>> {
  if (state === 'gone') throw new VwnError('VWN_UNSEEN', { vwn: id, host, state })
  const seen = await bus.request(subjects.look(host), question, { answer, timeoutMs: answerMs }).catch((cause: unknown) => {
    throw isVwnError(cause, 'BUS_NO_ANSWER') ? new VwnError('HOST_AWAY', { host, vwn: id }, { cause }) : cause
  })
  if (seen === null) throw new VwnError('VWN_UNSEEN', { vwn: id, host, state })
  return seen
}
