/** What a batch system's methods, prologs and epilogs want of jobs that the bait has; nobody to do it to is no failure. */
import { VwnError } from '../../core/errors.ts'
import { idPatterns, jobId } from '../../core/ids.ts'
import type { ControlDone, ControlOrder, WhichJobs } from '../../wire/hook.ts'
import { UsageError } from '../starter/options.ts'
import { askBait } from './bait.ts'
import type { HookOptions } from './options.ts'

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
export function releaseJobs(options: HookOptions): Promise<readonly Done[]> {
  const which = whichJobs(options, options.words[1])
  if (which === null) throw new UsageError('release wants a job, or WNOD_BATCH_JOB_ID; see --help')
  return release(options, which)
}

/** None of these is left when it resolves. */
export async function release(options: HookOptions, which: WhichJobs): Promise<readonly Done[]> {
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

async function ask(options: HookOptions, order: ControlOrder, which: WhichJobs): Promise<readonly Done[]> {
  const withinMs = answerMs + (order.do === 'terminate' ? (order.graceMs ?? 0) : 0)
  return (await askBait(options, { kind: 'control', order, which }, 'controlled', withinMs)).jobs
}
