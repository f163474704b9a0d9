import { Writable } from 'node:stream'
import { pino, type DestinationStream } from 'pino'
import { explain, VwnError } from '../core/errors.ts'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

interface Say {
  (message: string): void
  (facts: object, message: string): void
}

/**
 * `log.info({ vwn, host, tookMs }, 'vwn ready')`: a constant sentence, facts as fields, a failure as `err`.
 * *error*: an operator must act · *warn*: healed, but look · *info*: one line per transition · *debug*: wire traffic.
 */
export interface Log {
  readonly debug: Say
  readonly info: Say
  readonly warn: Say
  readonly error: Say
  /** A log whose every line carries these facts too. */
  child(facts: object): Log
}

/** What never reaches a log, at the top of the facts or one level below. */
const secret = ['password', 'passphrase', 'secret', 'seed', 'privateKey', 'clientKey', 'hostKey', 'creds', 'env', 'environment', 'args', 'argv']

/** A log as JSON lines on stderr, or wherever told. */
export function createLog(options: { program: string; level?: LogLevel; to?: DestinationStream }): Log {
  const to = options.to ?? pino.destination({ fd: 2, sync: true })
  return pino(
    {
      base: { program: options.program, pid: process.pid },
      level: options.level ?? 'info',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: errorFacts },
      redact: { paths: [...secret, ...secret.map((name) => `*.${name}`)], censor: '…' },
    },
    to,
  )
}

/** The same log, where each line that names a job carries its trace as well: one thing to ask all programs for. */
export function traced(log: Log, traceOf: (job: string) => string | null): Log {
  const withTrace = (facts: object): object => {
    if (!('job' in facts) || typeof facts.job !== 'string' || 'trace' in facts) return facts
    const trace = traceOf(facts.job)
    return trace === null ? facts : { ...facts, trace }
  }
  const say = (level: 'debug' | 'info' | 'warn' | 'error'): Say => (first: object | string, message?: string): void =>
    typeof first === 'string' ? log[level](first) : log[level](withTrace(first), message ?? '')
  return { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error'), child: (facts) => traced(log.child(withTrace(facts)), traceOf) }
}

/** A log that says nothing. */
export const silentLog: Log = pino({ level: 'silent' })

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: LogLevel; readonly msg: string }

/** A log for tests that keeps its lines. */
export function captureLog(): { readonly log: Log; readonly lines: readonly LogLine[] } {
  const lines: LogLine[] = []
  const to = new Writable({
    write(chunk, _encoding, done) {
      lines.push(JSON.parse(String(chunk)) as LogLine)
      done()
    },
  })
  return { log: createLog({ program: 'test', level: 'debug', to }), lines }
}

/** An expected failure is its explained chain; a bug brings its stack. */
function errorFacts(error: unknown): object {
  const why = explain(error)
  if (error instanceof VwnError) return { code: error.code, why, facts: error.facts }
  return { why, stack: error instanceof Error ? error.stack : undefined }
}
