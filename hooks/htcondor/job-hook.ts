/**
 * HTCondor's own hooks around a job, which its starter runs as the job's user with the job's ad on stdin:
 *
 *   prepare   HOOK_PREPARE_JOB: a job that this host has no VWN for is idle again before it starts. Nothing is said of any other; one that would have
 *             none anywhere goes on, for its starter tells its owner why
 *   exit      HOOK_JOB_EXIT: nothing is left of the job in its VWN when this ends. HTCondor waits for it, and listens to nothing
 *
 * The answer is an ad on stdout. A `HookStatusCode` of 300 and more has the job idle again, any below, or another exit code than 0, on hold.
 */
import { readFileSync } from 'node:fs'
import { release } from '../hook/control.ts'
import { judge, type Judgement } from '../hook/lease.ts'
import type { HookOptions } from '../hook/options.ts'
import { UsageError } from '../starter/options.ts'
import { parseAd } from './classad.ts'
import { wantsOf } from './front-end.ts'

const idleAgain = 300

/** `htcondor prepare` or `htcondor exit`; silent of jobs that are not ours. */
export async function jobHook(options: HookOptions): Promise<void> {
  const [, what] = options.words
  if (what !== 'prepare' && what !== 'exit') throw new UsageError('htcondor wants prepare or exit; see --help')
  const job = parseAd(readFileSync(0, 'utf8'))
  const { batchJobId, ...wants } = wantsOf(job)
  const isOurs = job.has('vm') ? wants.type !== null : options.flag('all')
  if (!isOurs) return
  if (what === 'prepare') return void process.stdout.write(answer(await judge(options, wants)))
  if (batchJobId !== null) await release(options, { by: 'batch', batchSystem: wants.batchSystem, batchJobId })
}

/** Nothing where the job may start. */
export function answer(judgement: Judgement): string {
  if (judgement.is !== 'refused') return ''
  return `HookStatusCode = ${idleAgain}\nHookStatusMessage = "wnod: ${judgement.said.replace(/[\\"]/g, '\\$&').replace(/\s+/g, ' ')}"\n`
}
