/**
 * HTCondor, as USER_JOB_WRAPPER: our arguments are the job's executable, by its full path, and its arguments. HTCondor gives a wrapper the name
 * `condor_exec.exe` all the same: that of the file which it executes, a link `wnod-htcondor` (before.c), is what tells us who calls.
 *
 * Who wants what is in two files beside the job: its own ad (`+VM = "type"` in the submit file) and the machine's. Where HTCondor has brought the job's
 * files, its world is the scratch directory: that is handed over, and what changed in it is brought back for HTCondor to take home.
 */
import { notAJob, type Call, type Reading } from '../starter/front-end.ts'
import { countIn, nameIn, parseAd, type Ad } from './classad.ts'

/** Not there without a wrapper. */
const ofTheWrapper = ['_CONDOR_WRAPPER_ERROR_FILE'] as const

/** Paths in the scratch directory, which a job that is not handed it does not have. */
const ofTheScratch = ['TMP', 'TEMP', '_CONDOR_SCRATCH_DIR', '_CONDOR_JOB_AD', '_CONDOR_MACHINE_AD'] as const

/** Open in HTCondor's hands while the job runs: what it says goes there by our stdout and stderr. */
const outputs = ['_condor_stdout', '_condor_stderr'] as const

/** Larger numbers are no memory that a job could ask for. */
const memoryMibMax = 16 * 1024 * 1024
const cpusMax = 1024

/** What HTCondor asks for. */
export function htcondor({ args, env, readFile }: Call): Reading {
  const failureFile = env['_CONDOR_WRAPPER_ERROR_FILE']
  const by = failureFile === undefined || failureFile === '' ? {} : { failureFile }
  if (args.length === 0) throw notAJob('it has named no command', by)
  const read = (path: string | undefined): Ad => adOf(readFile, path)
  const [job, machine] = [read(env['_CONDOR_JOB_AD']), read(env['_CONDOR_MACHINE_AD'])]
  const [cpus, memory] = [countIn(machine, 'Cpus') ?? countIn(job, 'RequestCpus'), countIn(machine, 'Memory') ?? countIn(job, 'RequestMemory')]
  const wants = wantsOf(job)
  if (wants.type === null && job.has('vm')) throw notAJob('+VM of the job is not the name of a VWN type, in quotes', by)
  const scratch = env['_CONDOR_SCRATCH_DIR']
  const stage = scratch !== undefined && scratch !== '' && scratch === env['_CONDOR_JOB_IWD']
  return {
    argv: args,
    known: {
      ...wants,
      cpus: cpus !== null && cpus <= cpusMax ? cpus : null,
      memoryMib: memory !== null && memory <= memoryMibMax ? memory : null,
      stage,
      exclude: outputs,
    },
    deathBySignal: 'raise',
    drops: stage ? [] : ofTheScratch,
    told: ofTheWrapper,
    ...by,
  }
}

/** What its owner has written of it; also on the stdin of a job hook. */
export const wantsOf = (job: Ad) => ({
  type: nameIn(job, 'VM'),
  batchSystem: 'htcondor',
  batchJobId: jobIdOf(job),
  queue: nameIn(job, 'JobQueue'),
  project: nameIn(job, 'AcctGroup') ?? nameIn(job, 'AccountingGroup'),
})

/** A job without its ad is still a job: the mapping decides by its user alone. */
function adOf(readFile: Call['readFile'], path: string | undefined): Ad {
  if (path === undefined || path === '') return new Map()
  try {
    return parseAd(readFile(path).toString('utf8'))
  } catch {
    return new Map()
  }
}

/** `7.0`, as HTCondor's own tools write them. */
function jobIdOf(ad: Ad): string | null {
  const [cluster, proc] = [ad.get('clusterid'), ad.get('procid')]
  return typeof cluster === 'number' && typeof proc === 'number' ? `${cluster}.${proc}` : null
}
