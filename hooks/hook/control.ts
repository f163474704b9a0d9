/**
 * What a batch system's methods, prologs and epilogs want of jobs that the bait has. One connection, one answer; nobody to do it to is no failure.
 *
 *   connect ─▶ greet: make the proof ─▶ control ─▶ controlled
 */
import { mkdirSync } from 'node:fs'
import { connect } from 'node:net'
import { catalogue, VwnError, type ErrorCode } from '../../core/errors.ts'
import { idPatterns, jobId } from '../../core/ids.ts'
import type { Control, ControlDone, ControlOrder, ToStarter, WhichJobs } from '../../wire/hook.ts'
import { JobStream } from '../../wire/job-stream.ts'
import { baitSocket } from '../bait-socket.ts'
import { UsageError } from '../starter/options.ts'
import type { HookOptions } from './options.ts'

/** Checked against the schema by its type; the schemas themselves are too large to be loaded here. */
const hookVersion: Control['v'] = 1
const graceSecondsMax = 3_600
/** How long the bait may take to answer beside the grace, which it needs only where a guest must be ended by force. */
const answerMs = 60_000

/** What was done to one job. */
export interface Done {
  readonly job: string
  readonly is: ControlDone
}

/** `control suspend|resume|terminate JOB`. */
export function controlJobs(options: HookOptions): Promise<readonly Done[]> {
  const [, what, job] = options.words
  const which = whichJobs(options, job)
  if (which === null) throw new UsageError('control wants a job; see --help')
  return ask(options, orderOf(options, what), which)
}

/** `release [JOB]`: none is left when it resolves. */
export async function releaseJobs(options: HookOptions): Promise<readonly Done[]> {
  const which = whichJobs(options, options.words[1])
  if (which === null) throw new UsageError('release wants a job, or WNOD_BATCH_JOB_ID; see --help')
  try {
    return await ask(options, { do: 'terminate', graceMs: 0 }, which)
  } catch (error) {
    // A bait that is not there has no jobs: those that it had are lost, and the next one clears up behind them.
    if (!options.flag('strict') && error instanceof VwnError && error.code === 'BAIT_UNREACHABLE') return []
    throw error
  }
}

function orderOf(options: HookOptions, what: string | undefined): ControlOrder {
  if (what === 'suspend' || what === 'resume') return { do: what }
  if (what !== 'terminate') throw new UsageError(`control is suspend, resume or terminate, not "${what ?? ''}"`)
  const seconds = options.flag('now') ? 0 : options.number('grace', graceSecondsMax)
  return { do: what, graceMs: seconds === null ? null : seconds * 1_000 }
}

function whichJobs(options: HookOptions, word: string | undefined): WhichJobs | null {
  const batchSystem = options.text('batch-system')
  const batchJobId = word ?? options.text('batch-job-id')
  if (batchJobId === null) return null
  if (batchSystem === null && idPatterns.job.test(batchJobId)) return { by: 'job', job: jobId(batchJobId) }
  return { by: 'batch', batchSystem, batchJobId }
}

function ask(options: HookOptions, order: ControlOrder, which: WhichJobs): Promise<readonly Done[]> {
  const path = baitSocket({ socket: options.text('socket'), home: options.text('home') })
  const withinMs = answerMs + (order.do === 'terminate' ? (order.graceMs ?? 0) : 0)
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
        if (message.kind === 'controlled') resolve(message.jobs)
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
      via.control({ kind: 'control', v: hookVersion, uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1, order, which } satisfies Control)
    }
  })
}

/** The bait's failure as our own. */
const said = ({ code, message }: { readonly code: string; readonly message: string }): VwnError =>
  new VwnError(Object.hasOwn(catalogue, code) ? (code as ErrorCode) : 'JOB_REQUEST_INVALID', { said: message.split('\n', 1)[0] })
