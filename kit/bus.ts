/**
 * The bus is a hint and never the truth. It reconnects for ever; what is published while it is away may be lost. What
 * arrives is checked by a schema: anything else is dropped and counted, and never reaches, or stops, the program.
 */
import { readFileSync } from 'node:fs'
import { connect, credsAuthenticator, ErrorCode, headers, nkeyAuthenticator, NatsError } from 'nats'
import type { ConnectionOptions, Msg, NatsConnection, Subscription } from 'nats'
import { z } from 'zod'
import { explain, VwnError } from '../core/errors.ts'
import type { Kit, Subscribe } from './service.ts'
import { openSlices } from './slices.ts'

export interface BusOptions {
  readonly servers: readonly string[]
  /** Shown by the server's own tools. */
  readonly name: string
  /** Credentials: a .creds file (JWT and key), or a file with an nkey seed alone. */
  readonly credsFile?: string | undefined
  readonly nkeyFile?: string | undefined
  /** Where answers to our requests arrive; must be what our credentials allow. */
  readonly inboxPrefix?: string | undefined
  /** Gives up with BUS_UNREACHABLE when the server is not there so soon; null tries for ever. */
  readonly firstConnectMs: number | null
}

/** For requests most of which are like the one before: what is known of their bytes. */
export interface Recall<S extends z.ZodType, R> {
  /** The answer to a request that need not be read; null where it has to be. */
  answered(bytes: Uint8Array, subject: string): Uint8Array | null
  /** This request was read and answered so. */
  keep(bytes: Uint8Array, request: z.output<S>, reply: R, answer: Uint8Array): void
}

type OnMessage<S extends z.ZodType, R> = (message: z.output<S>, subject: string) => R | Promise<R>

export interface Bus extends AsyncDisposable {
  readonly connected: boolean
  /** Fires when the connection comes or goes. */
  readonly changed: Subscribe
  /** How many messages were dropped because nobody could read them. */
  readonly dropped: number
  /** For JetStream, which has its own rules. */
  readonly nats: NatsConnection
  /** Sends, if it can; what is lost is lost. */
  publish(subject: string, message: unknown): void
  /** The checked answer; BUS_NO_ANSWER, BUS_BAD_REPLY or BUS_REFUSED otherwise. */
  request<S extends z.ZodType>(subject: string, message: unknown, how: { answer: S; timeoutMs: number }): Promise<z.output<S>>
  /** Hands over each well-formed message, in order, many of them in slices (slices.ts); a handler's failure is logged. */
  subscribe<S extends z.ZodType>(subject: string, schema: S, handle: OnMessage<S, void>): Disposable
  /** Answers each well-formed request; a handler's failure reaches the asker as BUS_REFUSED. */
  answer<S extends z.ZodType, R>(subject: string, schema: S, handle: OnMessage<S, R>, recall?: Recall<S, R>): Disposable
  /** Sends what is pending and closes. Safe to repeat. */
  close(): Promise<void>
}

const refusedHeader = 'Wnod-Refused'
const retryMs = { first: 100, longest: 2_000 }

/** Connected; or BUS_DENIED, BUS_UNREACHABLE, CANCELLED. */
export async function connectBus(kit: Kit, options: BusOptions): Promise<Bus> {
  const connection = await firstConnection(kit, options)
  return busOver(kit, connection)
}

async function firstConnection(kit: Kit, options: BusOptions): Promise<NatsConnection> {
  const settings = connectionOptions(options)
  const startedMs = kit.clock.monotonicMs()
  for (let pauseMs = retryMs.first; ; pauseMs = Math.min(pauseMs * 2, retryMs.longest)) {
    if (kit.signal.aborted) throw new VwnError('CANCELLED', { what: 'connecting to NATS' })
    try {
      return await connect(settings)
    } catch (cause) {
      const servers = options.servers.join(',')
      if (isDenied(cause)) throw new VwnError('BUS_DENIED', { servers, creds: options.credsFile ?? options.nkeyFile }, { cause })
      const waitedMs = Math.round(kit.clock.monotonicMs() - startedMs)
      if (options.firstConnectMs !== null && waitedMs + pauseMs > options.firstConnectMs) {
        throw new VwnError('BUS_UNREACHABLE', { servers, waitedMs }, { cause })
      }
      kit.log.debug({ servers, err: cause }, 'nats server not reached yet')
      await kit.clock.sleep(pauseMs, kit.signal).catch(() => undefined)
    }
  }
}

function connectionOptions(options: BusOptions): ConnectionOptions {
  const { credsFile, nkeyFile, inboxPrefix } = options
  return {
    servers: [...options.servers],
    name: options.name,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 500,
    reconnectJitter: 250,
    pingInterval: 10_000,
    maxPingOut: 3,
    timeout: 5_000,
    ignoreAuthErrorAbort: true, // a server that restarts may deny us for a moment
    ...(inboxPrefix !== undefined && { inboxPrefix }),
    ...(credsFile !== undefined && { authenticator: credsAuthenticator(readSecret(credsFile)) }),
    ...(nkeyFile !== undefined && { authenticator: nkeyAuthenticator(seedIn(readSecret(nkeyFile))) }),
  }
}

function busOver(kit: Kit, nats: NatsConnection): Bus {
  const { log } = kit
  const listeners = new Set<() => void>()
  let connected = true
  let dropped = 0
  let closing: Promise<void> | null = null

  const nowConnected = (value: boolean): void => {
    connected = value
    for (const listener of listeners) listener()
  }
  void watch(nats, log, nowConnected)

  const drop = (subject: string, why: string): void => {
    dropped += 1
    log.debug({ subject, why, dropped }, 'message dropped')
    if (/^10*$/.test(String(dropped))) log.warn({ subject, why, dropped }, 'messages dropped that nobody can read')
  }
  const listen = <S extends z.ZodType>(subject: string, schema: S, handle: (value: z.output<S>, msg: Msg) => unknown, known: (msg: Msg) => boolean = () => false): Disposable => {
    const slices = openSlices(kit.clock)
    const hear = (msg: Msg): void => {
      if (known(msg)) return
      const read = decode(schema, msg.data)
      if ('value' in read) return void handle(read.value, msg)
      drop(msg.subject, read.why)
      refuse(msg, `not understood: ${read.why}`)
    }
    const subscription: Subscription = nats.subscribe(subject, {
      callback: (error, msg) => {
        if (error === null) slices.add(() => hear(msg))
        else log.warn({ subject, err: error }, 'subscription failed')
      },
    })
    return {
      [Symbol.dispose]() {
        subscription.unsubscribe()
        slices[Symbol.dispose]()
      },
    }
  }

  const close = (): Promise<void> => {
    closing ??= (connected ? nats.drain() : nats.close()).catch(() => nats.close())
    return closing
  }
  return {
    nats,
    get connected() {
      return connected
    },
    get dropped() {
      return dropped
    },
    changed(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    publish(subject, message) {
      try {
        nats.publish(subject, encode(message))
      } catch (error) {
        log.debug({ subject, err: error }, 'message not sent')
      }
    },
    async request(subject, message, how) {
      const bytes = encode(message)
      let reply: Msg
      try {
        reply = await nats.request(subject, bytes, { timeout: how.timeoutMs })
      } catch (cause) {
        throw new VwnError('BUS_NO_ANSWER', { subject, timeoutMs: how.timeoutMs }, { cause })
      }
      const refused = reply.headers?.get(refusedHeader)
      if (refused !== undefined && refused !== '') throw new VwnError('BUS_REFUSED', { subject, why: refused })
      const read = decode(how.answer, reply.data)
      if ('value' in read) return read.value
      throw new VwnError('BUS_BAD_REPLY', { subject, why: read.why })
    },
    subscribe(subject, schema, handle) {
      return listen(subject, schema, (value, msg) => {
        settle(() => handle(value, msg.subject)).catch((error: unknown) => {
          log.warn({ subject: msg.subject, err: error }, 'message handler failed')
        })
      })
    },
    answer(subject, schema, handle, recall) {
      const answered = async (value: z.output<typeof schema>, msg: Msg): Promise<Uint8Array> => {
        const reply = await handle(value, msg.subject)
        const answer = encode(reply)
        recall?.keep(msg.data, value, reply, answer)
        return answer
      }
      const failed = (msg: Msg) => (error: unknown): void => {
        log.warn({ subject: msg.subject, err: error }, 'request handler failed')
        refuse(msg, explain(error))
      }
      const isKnown = (msg: Msg): boolean => {
        try {
          const answer = recall?.answered(msg.data, msg.subject) ?? null
          return answer !== null && (respond(msg, answer), true)
        } catch (error) {
          failed(msg)(error)
          return true
        }
      }
      return listen(subject, schema, (value, msg) => void answered(value, msg).then((answer) => void respond(msg, answer), failed(msg)), isKnown)
    },
    close,
    [Symbol.asyncDispose]: close,
  }
}

async function watch(nats: NatsConnection, log: Kit['log'], nowConnected: (value: boolean) => void): Promise<void> {
  for await (const status of nats.status()) {
    if (status.type === 'disconnect') {
      log.warn({ server: status.data }, 'nats connection lost')
      nowConnected(false)
    } else if (status.type === 'reconnect') {
      log.info({ server: status.data }, 'nats connection back')
      nowConnected(true)
    } else if (status.type === 'error') {
      log.warn({ why: status.data, permission: status.permissionContext }, 'nats server complained')
    }
  }
}

const encode = (message: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(message))

function decode<S extends z.ZodType>(schema: S, bytes: Uint8Array): { value: z.output<S> } | { why: string } {
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return { why: 'not JSON' }
  }
  const parsed = schema.safeParse(json)
  return parsed.success ? { value: parsed.data } : { why: oneLine(z.prettifyError(parsed.error)) }
}

/** Tells the asker, if one waits. */
function refuse(msg: Msg, why: string): void {
  const words = headers()
  words.set(refusedHeader, oneLine(why))
  respond(msg, new Uint8Array(), words)
}

function respond(msg: Msg, data: Uint8Array, words?: ReturnType<typeof headers>): boolean {
  try {
    return msg.respond(data, words === undefined ? undefined : { headers: words })
  } catch {
    return false // the connection closed meanwhile; the asker asks again
  }
}

const settle = async <T>(call: () => T | Promise<T>): Promise<T> => call()

const oneLine = (words: string): string => words.replaceAll(/[^\x20-\x7e]+/g, ' ').slice(0, 500)

const isDenied = (error: unknown): boolean =>
  error instanceof NatsError &&
  ([ErrorCode.AuthorizationViolation, ErrorCode.BadAuthentication, ErrorCode.BadCreds, ErrorCode.AccountExpired, ErrorCode.AuthenticationExpired] as string[]).includes(error.code)

function readSecret(file: string): Uint8Array {
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new VwnError('FILE_UNREADABLE', { file }, { cause })
  }
}

const seedIn = (bytes: Uint8Array): Uint8Array => new TextEncoder().encode(/\bS[A-Z2-7]{57}\b/.exec(new TextDecoder().decode(bytes))?.[0] ?? '')
