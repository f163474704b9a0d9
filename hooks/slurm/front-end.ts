/**
 * Slurm (22.05 and later): a SPANK plugin has put us in the place of the command and left its name in WNOD_ARGV0, and the type that the
 * user asked for in WNOD_TYPE. Batch scripts and steps come alike. Without the plugin we are the interpreter of a batch script, by a first line
 * `#!/…/wnod-starter --slurm-batch` before its own (job_submit.lua). Variables as in sbatch(1) and srun(1), "OUTPUT ENVIRONMENT VARIABLES".
 */
import { UsageError } from '../starter/options.ts'
import { notAJob, spooledScript, wholeNumber, type Call, type Reading } from '../starter/front-end.ts'

/** Of the node that Slurm has chosen, not of the VWN: no job could use them there. */
const ofTheNode = ['SLURM_TASK_PID', 'SLURM_CONF', 'SLURM_LAUNCH_NODE_IPADDR', 'SLURM_SRUN_COMM_HOST', 'SLURM_SRUN_COMM_PORT', 'SLURM_SPANK__SLURM_SPANK_OPTION_wnod_vm'] as const

/** Of its RequeueExit, which `wnod install slurm` sets: the job runs later. And the one of a job that would never run: it fails. */
const [refusedCode, deniedCode] = [75, 77]

/**
 * As slurmd names what `sbatch` was given, below its spool folder: the name alone tells, for a job that was submitted from a step has that
 * step's SLURM_STEP_ID in its environment. Other steps than `srun $0` name a program that the guest has.
 */
const spooled = /^\/.*\/job\d+\/slurm_script$/

/** What Slurm asks for. */
export function slurm(call: Call): Reading {
  const command = call.envBytes('WNOD_ARGV0')
  if (command === null) throw new UsageError('WNOD_ARGV0 does not name the command: is the plugin of Slurm the one of this version?')
  return { ...reading(call.env, [command, ...call.args]), script: spooled.test(command.toString('latin1')) ? spooledScript(call, command) : null }
}

/** What the kernel asks for, of a batch script with our line before its first. */
export function slurmBatch(call: Call): Reading {
  const [path = Buffer.alloc(0)] = call.args
  if (!spooled.test(path.toString('latin1'))) throw notAJob(`${path.toString('latin1') || 'nothing'} is no batch script in the spool of slurmd`, { refusedCode })
  const { content } = spooledScript(call, path)
  return { ...reading(call.env, call.args), script: { path, content: content.subarray(content.indexOf('\n') + 1) }, isHeaded: true }
}

function reading(env: NodeJS.ProcessEnv, argv: readonly Buffer[]): Reading {
  return {
    argv,
    native: { file: 'asSlurm', argv }, // slurmstepd's exec_task
    known: {
      batchSystem: 'slurm',
      batchJobId: jobIdOf(env),
      queue: env['SLURM_JOB_PARTITION'] ?? null,
      project: env['SLURM_JOB_ACCOUNT'] ?? null,
      cpus: wholeNumber(env['SLURM_CPUS_ON_NODE']),
      memoryMib: memoryOf(env),
      tty: env['SLURM_PTY_PORT'] !== undefined,
      refusedCode,
      deniedCode,
    },
    deathBySignal: 'raise',
    drops: ofTheNode,
  }
}

/** `7`, of an array `7_3`, of a step `7.0`, as Slurm's own tools write them. */
function jobIdOf(env: NodeJS.ProcessEnv): string | null {
  const job = env['SLURM_JOB_ID']
  if (job === undefined) return null
  const [array, task, step] = [env['SLURM_ARRAY_JOB_ID'], env['SLURM_ARRAY_TASK_ID'], env['SLURM_STEP_ID']]
  const name = array !== undefined && task !== undefined ? `${array}_${task}` : job
  return step === undefined ? name : `${name}.${step}`
}

/** MiB for the job on this node; null where nobody has asked for memory (0 is all of the node). */
function memoryOf(env: NodeJS.ProcessEnv): number | null {
  const perNode = wholeNumber(env['SLURM_MEM_PER_NODE'])
  if (perNode !== null) return perNode > 0 ? perNode : null
  const [perCpu, cpus] = [wholeNumber(env['SLURM_MEM_PER_CPU']), wholeNumber(env['SLURM_CPUS_ON_NODE'])]
  return perCpu === null || cpus === null || perCpu * cpus === 0 ? null : perCpu * cpus
}
