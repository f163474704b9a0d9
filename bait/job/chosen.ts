/** Which jobs a caller means, and whether it may. */
import { VwnError } from '../../core/errors.ts'
import type { JobId } from '../../core/ids.ts'
import type { LiveJob } from '../../wire/bait.ts'
import type { WhichJobs } from '../../wire/hook.ts'

/**
 * The jobs that `uid` means: root any, others their own. None where there is none; JOB_NOT_YOURS where all of them are others'. That a
 * batch job's id is a user's own word gives nobody power over another's: he is asked who he is, not what he calls his job.
 */
export function chosenBy(which: WhichJobs, uid: number, live: readonly LiveJob[]): readonly JobId[] {
  const meant = live.filter((job) => isMeant(which, job))
  const own = meant.filter(({ identity }) => uid === 0 || identity.uid === uid)
  if (meant.length > 0 && own.length === 0) throw new VwnError('JOB_NOT_YOURS', { job: meant.map(({ job }) => job).join(), uid })
  return own.map(({ job }) => job)
}

function isMeant(which: WhichJobs, { job, want }: LiveJob): boolean {
  if (which.by === 'job') return job === which.job
  const { batchSystem, batchJobId } = which
  if (want.batchJobId === null || (batchSystem !== null && want.batchSystem !== batchSystem)) return false
  // Slurm names the steps of a job after it: `7.0` and `7.extern` go with `7`. Elsewhere a dot means something else.
  return want.batchJobId === batchJobId || (want.batchSystem === 'slurm' && want.batchJobId.startsWith(`${batchJobId}.`))
}
