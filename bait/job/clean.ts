/** Makes a VWN fit for the next job of its user, and has that proved: what is left over retires it. */
import { VwnError } from '../../core/errors.ts'
import { systemClock } from '../../kit/clock.ts'
import { fromAgentSchema, guestVersion, scrubChecks } from '../../wire/guest.ts'
import { JobStream } from '../../wire/job-stream.ts'
import type { Clean, CleanReport, ReadyVwn } from '../contracts.ts'
import { cleanScript, cleanScriptChecks, nothingRan } from './ssh-script.ts'

/** Scrubs a guest in its own way; rejects with VwnError when it does not answer. */
export const clean: Clean = (place, signal) => (place.spec.contact === 'agent' ? cleanByAgent(place, signal) : cleanBySsh(place, signal))

async function cleanByAgent(place: ReadyVwn, signal: AbortSignal): Promise<CleanReport> {
  const duplex = await place.session.openAgent(signal)
  return new Promise((resolve, reject) => {
    const via = new JobStream(duplex, {
      onControl: (raw) => {
        const parsed = fromAgentSchema.safeParse(raw)
        if (!parsed.success || parsed.data.kind !== 'cleaned') return over(() => reject(new VwnError('GUEST_GARBAGE', { vwn: place.vwn, while: 'scrubbing' })))
        const { checked, left, tookMs } = parsed.data
        const missing = scrubChecks.filter((check) => !checked.includes(check))
        over(() => (missing.length === 0 ? resolve({ checked, left, tookMs }) : reject(unproven(place, missing))))
      },
      onClose: (cause) => over(() => reject(new VwnError('GUEST_SILENT', { vwn: place.vwn, while: 'scrubbing' }, { cause }))),
    })
    const over = settling(signal, place, reject, () => via.destroy())
    via.control({ kind: 'clean', v: guestVersion })
  })
}

const textMax = 256 * 1024
/** As much as a receipt holds of a name. */
const checkBytesMax = 64

async function cleanBySsh(place: ReadyVwn, signal: AbortSignal): Promise<CleanReport> {
  const fromMs = systemClock.monotonicMs()
  const channel = await place.session.exec('exec sh', signal)
  return new Promise((resolve, reject) => {
    let text = ''
    const over = settling(signal, place, reject, () => channel.destroy())
    channel.on('data', (chunk: Buffer) => (text = (text + chunk.toString('latin1')).slice(0, textMax)))
    channel.stderr.resume()
    channel.on('error', () => {})
    channel.once('close', () => {
      const whole = /^wnod:done$/m.test(text)
      if (!whole) return over(() => reject(new VwnError('GUEST_SILENT', { vwn: place.vwn, while: 'scrubbing' })))
      const checked = said(text, 'checked', 32).map((check) => check.slice(0, checkBytesMax))
      const missing = checked.includes(nothingRan) ? [] : cleanScriptChecks.filter((check) => !checked.includes(check))
      const report = { checked, left: said(text, 'left', 256), tookMs: systemClock.monotonicMs() - fromMs }
      over(() => (missing.length === 0 ? resolve(report) : reject(unproven(place, missing))))
    })
    channel.end(cleanScript)
  })
}

/** An answer that leaves out what should have been looked at is none. */
const unproven = (place: ReadyVwn, missing: readonly string[]): VwnError =>
  new VwnError('GUEST_GARBAGE', { vwn: place.vwn, while: 'scrubbing', notChecked: missing.join(', ') })

/** The first word counts; afterwards the channel is let go. */
function settling(signal: AbortSignal, place: ReadyVwn, reject: (error: unknown) => void, close: () => void): (say: () => void) => void {
  let settled = false
  const over = (say: () => void): void => {
    if (settled) return
    settled = true
    signal.removeEventListener('abort', abort)
    say()
    close()
  }
  const abort = (): void => over(() => reject(new VwnError('GUEST_SILENT', { vwn: place.vwn, while: 'scrubbing' }, { cause: signal.reason })))
  signal.addEventListener('abort', abort, { once: true })
  if (signal.aborted) abort()
  return over
}

const said = (text: string, what: string, most: number): string[] =>
  text.split('\n').flatMap((line) => (line.startsWith(`wnod:${what} `) ? [line.slice(what.length + 6, 1000)] : [])).slice(0, most)
