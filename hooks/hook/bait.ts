/**
 * One question to the bait of this host, and its answer.
 *
 *   connect ─▶ greet: make the proof ─▶ the question ─▶ the answer
 */
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { catalogue, VwnError, type ErrorCode } from '../../core/errors.ts'
import type { Control, PendingReport, ToStarter } from '../../wire/hook.ts'
import { JobStream } from '../../wire/job-stream.ts'
import { baitSocket } from '../bait-socket.ts'
import type { HookOptions } from './options.ts'

/** Checked against the schema by its type; the schemas themselves are too large to be loaded here. */
const hookVersion: Control['v'] = 1

type Unsigned<Message> = Omit<Message, 'v' | 'uid' | 'gid'>

/** The answer of this kind; the bait's refusals are failures of ours, and one that is away or silent for so long is BAIT_UNREACHABLE. */
export function askBait<Kind extends ToStarter['kind']>(
  options: HookOptions, question: Unsigned<Control> | Unsigned<PendingReport>, answer: Kind, withinMs: number,
): Promise<Extract<ToStarter, { kind: Kind }>> {
  const path = baitSocket({ socket: options.text('socket'), home: options.text('home') })
  return new Promise((resolve, reject) => {
    const unreachable = (why: string): void => reject(new VwnError('BAIT_UNREACHABLE', { socket: path, why }))
    const late = setTimeout(() => {
      unreachable(`no answer in ${withinMs} ms`)
      via.destroy()
    }, withinMs)
    const via: JobStream = new JobStream(connect(path), {
      onControl: (raw) => {
        const message = raw as ToStarter
        if (message.kind === 'greet') return say(message.prove)
        if (isA(message, answer)) resolve(message)
        if (message.kind === 'error') reject(said(message.failure))
        via.end()
      },
      onClose: (error) => {
        clearTimeout(late)
        unreachable(error?.message ?? 'it went away')
      },
    })
    const say = (prove: string): void => {
      mkdirSync(prove, { mode: 0o700 })
      via.control({ ...question, v: hookVersion, uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1 } satisfies Control | PendingReport)
    }
  })
}

const isA = <Kind extends ToStarter['kind']>(message: ToStarter, kind: Kind): message is Extract<ToStarter, { kind: Kind }> => message.kind === kind

/** The bait's failure as our own. */
const said = ({ code, message }: { readonly code: string; readonly message: string }): VwnError =>
  new VwnError(Object.hasOwn(catalogue, code) ? (code as ErrorCode) : 'JOB_REQUEST_INVALID', { said: message.split('\n', 1)[0] })
