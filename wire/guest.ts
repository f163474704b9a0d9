/**
 * What a bait and the agent in a guest say to each other. A guest is untrusted: everything that comes from it is checked against
 * these schemas, and a message that does not fit is counted and dropped.
 *
 * On the virtio-serial port `org.wnod.agent`, one JSON message a line:
 *   guest → bait   hello (every 500 ms until answered) · ready · pong
 *   bait → guest   identity · ping · wake, which is a ping that sets the clock · forget (to one that is to be a template: a new hello
 *                  says that it is nobody again)
 *
 * On the agent's unix socket, reached through ssh, one connection for one task, as CONTROL messages of the job stream:
 *   bait → agent   run, then DATA of stage and stdin, signal*, resize*      agent → bait   staged · started | failed, then exited
 *   bait → agent   clean                                                    agent → bait   cleaned
 * After `exited` come the rest of stdout, stderr and collect with their ENDs; a run whose connection breaks is killed.
 */
import { z } from 'zod'
import { bytesSchema, identitySchema, jobIdSchema, tokenSchema, traceSchema, usageSchema, vwnIdSchema } from './common.ts'
import { guestVersion } from './guest-facts.ts'
import { resizeSchema, runSchema, signalMessageSchema } from './hook.ts'

export { agentPortName, agentSocketPath, guestVersion, portLineBytesMax, scrubChecks } from './guest-facts.ts'

export const helloSchema = z.strictObject({
  kind: z.literal('hello'),
  v: z.literal(guestVersion),
  agent: z.string().max(64),
  /** Guest uptime when the agent was up, milliseconds. */
  upMs: z.number().nonnegative(),
})
export const readySchema = z.strictObject({ kind: z.literal('ready'), vwn: vwnIdSchema, token: tokenSchema, tookMs: z.number().nonnegative() })
export const pongSchema = z.strictObject({ kind: z.literal('pong'), n: z.int().nonnegative(), memoryBytes: z.number(), jobs: z.int().nonnegative() })
export const troubleSchema = z.strictObject({ kind: z.literal('trouble'), what: z.string().max(4096) })
/** guest → bait on the port */
export const fromPortSchema = z.discriminatedUnion('kind', [helloSchema, readySchema, pongSchema, troubleSchema])
export type FromPort = z.output<typeof fromPortSchema>

/** Everything that makes this guest this VWN; sent after hello, taken once per token. */
export const guestIdentitySchema = z.strictObject({
  kind: z.literal('identity'),
  v: z.literal(guestVersion),
  vwn: vwnIdSchema,
  token: tokenSchema,
  hostname: z.string().max(64),
  /** 32 hexadecimal digits, machine-id(5). */
  machineId: z.string().regex(/^[0-9a-f]{32}$/),
  /** OpenSSH private key of the guest's sshd, made by the bait for this VWN. */
  hostKey: z.string().max(16_384),
  /** One authorized_keys line: the only key that may log in. */
  authorizedKey: z.string().max(4096),
  /** The host's wall clock; the guest sets its own to it. */
  nowMs: z.number(),
  /** Fresh bytes for the guest's random pool. */
  entropy: bytesSchema,
})
export type GuestIdentity = z.output<typeof guestIdentitySchema>
export const pingSchema = z.strictObject({ kind: z.literal('ping'), n: z.int().nonnegative() })
/** After the guest has stood still: its clock is the host's again when the pong comes. */
export const wakeSchema = z.strictObject({ kind: z.literal('wake'), n: z.int().nonnegative(), nowMs: z.number() })
export const forgetSchema = z.strictObject({ kind: z.literal('forget') })
/** bait → guest on the port */
export const toPortSchema = z.discriminatedUnion('kind', [guestIdentitySchema, pingSchema, wakeSchema, forgetSchema])
export type ToPort = z.output<typeof toPortSchema>

/** An NFS export for the job, at a port of the guest's loopback that leads to its server by way of the bait. */
const guestMountSchema = z.strictObject({
  /** For people, as `mount` shows it. */
  source: z.string().max(2048),
  port: z.int().min(1).max(65_535),
  at: z.string().max(1024),
  readOnly: z.boolean(),
  options: z.string().max(256),
})

export const runTaskSchema = z.strictObject({
  kind: z.literal('run'),
  v: z.literal(guestVersion),
  job: jobIdSchema,
  trace: traceSchema.nullable(),
  identity: identitySchema,
  run: runSchema,
  /** Bounds by the guest's cgroup; null is no bound. */
  memoryBytes: z.number().nullable(),
  mounts: z.array(guestMountSchema).max(32).default([]),
  /** The job starts in its own directory, or not at all; else where there is none, in its home. */
  stays: z.boolean().default(false),
})
export type RunTask = z.output<typeof runTaskSchema>
export const cleanTaskSchema = z.strictObject({ kind: z.literal('clean'), v: z.literal(guestVersion) })
/** bait → agent on the socket */
export const toAgentSchema = z.discriminatedUnion('kind', [runTaskSchema, cleanTaskSchema, signalMessageSchema, resizeSchema])
export type ToAgent = z.output<typeof toAgentSchema>

/** Where a start failed: exec errors end as a shell would end them (126, 127) and are `exited`, everything else is `failed`. */
export const failedSchema = z.strictObject({ kind: z.literal('failed'), step: z.string().max(64), message: z.string().max(4096) })
export const exitedSchema = z.strictObject({
  kind: z.literal('exited'),
  code: z.int().min(0).max(255).nullable(),
  signal: z.string().max(16).nullable(),
  outOfMemory: z.boolean(),
  usage: usageSchema,
})
/** The scrub's own proof: what was looked at, and what was still there. Empty `left` is clean. */
export const cleanedSchema = z.strictObject({
  kind: z.literal('cleaned'),
  checked: z.array(z.string().max(64)).max(32),
  left: z.array(z.string().max(1024)).max(256),
  tookMs: z.number().nonnegative(),
})
/** agent → bait on the socket */
export const fromAgentSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('staged') }),
  z.strictObject({ kind: z.literal('started'), pid: z.int().positive() }),
  failedSchema,
  exitedSchema,
  cleanedSchema,
])
export type FromAgent = z.output<typeof fromAgentSchema>
