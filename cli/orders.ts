/** What an operator may order: `wnod drain | undrain | kill`; and `wnod console`, which reads a file of this host. */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { StringDecoder } from 'node:string_decoder'
import { VwnError } from '../core/errors.ts'
import { idPatterns } from '../core/ids.ts'
import { duration } from '../core/words.ts'
import { errnoOf } from '../kit/atomic-file.ts'
import { systemClock } from '../kit/clock.ts'
import { hostOrderedSchema, vwnDetailSchema, vwnOrderedSchema } from '../wire/api.ts'
import { show, type Context } from './context.ts'
import { harmless } from '../kit/plain.ts'

/** The host finishes what it has and takes no more, or takes jobs again. */
export async function orderHost(context: Context, verb: 'drain' | 'undrain', host: string): Promise<void> {
  const reply = await context.api.order(`/hosts/${encodeURIComponent(host)}/${verb}`, hostOrderedSchema)
  show(context, reply, ({ host: now }) => `${now.host} is ${now.want} now; it has ${now.vwns} VWNs and ${now.jobs} jobs\n`)
}

/** Shows what a kill would do; does it only with consent. */
export async function kill(context: Context, vwn: string, yes: boolean): Promise<void> {
  const now = await context.api.get(`/vwns/${encodeURIComponent(vwn)}`, vwnDetailSchema)
  context.say(`${now.vwn} (${now.type} on ${now.host}, ${now.state}) is killed${now.job === null ? '; it runs no job' : `, and with it job ${now.job}, which ends as lost`}`)
  if (!yes) throw new VwnError('CONSENT_NEEDED', { vwn })
  const reply = await context.api.order(`/vwns/${encodeURIComponent(vwn)}/kill`, vwnOrderedSchema)
  show(context, reply, (ordered) => `${ordered.vwn.vwn} is ${ordered.vwn.state} now\n`)
}

/**
 * Prints a VWN's serial log; with `follow`, also what comes until the VWN is gone or the reader has enough. A guest must not play with the
 * operator's terminal: there it is text, elsewhere it is as the guest wrote it.
 */
export async function printConsole(context: Context, vwn: string, follow: boolean): Promise<void> {
  if (!idPatterns.vwn.test(vwn)) throw new VwnError('VWN_NOT_FOUND', { vwn })
  const { host, sinceMs, state } = await context.api.get(`/vwns/${vwn}`, vwnDetailSchema)
  const file = context.home.host(host).vm(vwn).serialLog
  if (readable(file) === null) {
    const gone = state === 'gone' ? `gone for ${duration(systemClock.nowMs() - sinceMs)}` : state
    throw new VwnError('FILE_UNREADABLE', { file, why: `this VWN is ${gone}; its serial log is on host ${host}, in the home of its bait` })
  }
  const decoder = new StringDecoder('utf8')
  const write = (bytes: Buffer): void => void process.stdout.write(process.stdout.isTTY ? harmless(decoder.write(bytes)) : Buffer.from(bytes))
  const enough = new AbortController()
  process.once('SIGINT', () => enough.abort())
  for (let at = 0; ; ) {
    at = copyFrom(file, at, write)
    if (!follow || enough.signal.aborted || readable(file) === null) return
    await systemClock.sleep(200, enough.signal).catch(() => undefined)
  }
}

/** Copies the file from there; answers where it ended. A log that was cut starts again. */
function copyFrom(file: string, from: number, write: (bytes: Buffer) => void): number {
  const size = readable(file)
  if (size === null) return from
  let at = size < from ? 0 : from
  const handle = openSync(file, 'r')
  const buffer = Buffer.allocUnsafe(64 * 1024)
  try {
    for (let got = readSync(handle, buffer, 0, buffer.length, at); got > 0; got = readSync(handle, buffer, 0, buffer.length, at)) {
      write(buffer.subarray(0, got))
      at += got
    }
  } finally {
    closeSync(handle)
  }
  return at
}

function readable(file: string): number | null {
  try {
    return statSync(file).size
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return null
    throw new VwnError('FILE_UNREADABLE', { file }, { cause })
  }
}
