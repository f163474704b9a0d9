/** Failures as HTTP replies: one shape, one table. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import { VwnError } from '../../core/errors.ts'
import { nearest } from '../../kit/config.ts'
import type { Log } from '../../kit/log.ts'
import { errorReply, type ErrorReply } from '../../wire/api.ts'

/** Answers an expected failure in its own words; a bug is logged, and the caller learns only that there is one. */
export function sendError(log: Log, error: unknown, request: FastifyRequest, reply: FastifyReply): void {
  if (error instanceof VwnError) {
    if (error.entry.http === 503) void reply.header('retry-after', '1')
    void reply.code(error.entry.http).send(errorReply(error))
    return
  }
  const status = statusIn(error)
  if (status !== null && status < 500) {
    const problem = error instanceof Error ? error.message : String(error)
    void reply.code(status).send(errorReply(new VwnError('REQUEST_INVALID', { problem })))
    return
  }
  log.error({ err: error, method: request.method, url: request.url }, 'bug: a request failed')
  const bug: ErrorReply = { code: 'BUG', message: 'a bug of the controller', hint: 'its log has the details; please report it', facts: {} }
  void reply.code(500).send(bug)
}

/** The checked value; REQUEST_INVALID, with the name that was probably meant, otherwise. */
export function checked<S extends z.ZodObject>(schema: S, value: unknown): z.output<S> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  throw new VwnError('REQUEST_INVALID', {
    parameter: unknown ?? issue?.path.join('.'),
    problem: unknown === undefined ? issue?.message : 'no such parameter',
    nearest: unknown === undefined ? undefined : (nearest(unknown, Object.keys(schema.shape)) ?? undefined),
  })
}

/** The status that the framework itself gives an error (a body too large, a content type that nobody reads). */
const statusIn = (error: unknown): number | null =>
  error instanceof Error && 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : null
