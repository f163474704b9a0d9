/** The command line of `wnod hook`; anything may be given by environment as well: `--batch-job-id` is WNOD_BATCH_JOB_ID. */
import { UsageError } from '../starter/options.ts'

/** What a person who calls it wrongly gets to read; the answer to `--help`. */
export const usage = `usage: wnod hook ACTION [OPTION…]          for batch systems; silent where all is well
  control suspend JOB                      the job's guest stands still with all that is in it
  control resume JOB                       it goes on, its clock right
  control terminate JOB [--grace S | --now]  TERM, then KILL; returns when nothing of it is left in the guest
  release [JOB]                            whatever still lives of the batch job is ended
      JOB: an id of ours (h1-17), or the batch system's with --batch-system B or alone; --batch-job-id J is the same
      --verbose   say what was done, on stdout
  lease --user U [--group G] [--queue Q] [--project P] [--type T]
      --refused-code N   exit code when such a job would be refused on this host (75); --host H names another host
      --denied-code N    exit code where it would be refused again and again (that of --refused-code)
  resources --format slurm|sge|elim|condor|pbs [--host H] [--node N] [--every S] [--dry-run]
      how many jobs each VWN type has room for on this host; --node is its name in the batch system,
      --every S goes on telling, --dry-run prints the command for Slurm
  pending TYPE=COUNT… | --from slurm|gridengine
      how many jobs pend with the batch system, all of them each time: some VWNs stand ready when they come; root, or who may
      --from asks the batch system itself; --type T: jobs that name no type want this one, --partition A,B: of these partitions of Slurm alone
      --batch-system B   whose word it is (that of --from); --dry-run prints it
  htcondor prepare|exit                    as HOOK_PREPARE_JOB and HOOK_JOB_EXIT of HTCondor call it, with the job's ad on stdin
      --all   also for jobs without +VM
  --strict                                 a bait or controller that is away is a failure of lease and release too
  --socket PATH | --home DIR               where the bait is
Each option can be given as WNOD_OPTION in the environment.
`

const texts = ['socket', 'home', 'batch-system', 'batch-job-id', 'user', 'group', 'queue', 'project', 'type', 'host', 'node', 'format', 'from', 'partition'] as const
const numbers = ['grace', 'refused-code', 'denied-code', 'every'] as const
const flags = ['now', 'strict', 'verbose', 'dry-run', 'all', 'help'] as const
type Text = (typeof texts)[number]
type NumberName = (typeof numbers)[number]
type Flag = (typeof flags)[number]

export interface HookOptions {
  /** What is no option, in order. */
  readonly words: readonly string[]
  text(name: Text): string | null
  number(name: NumberName, most: number): number | null
  flag(name: Flag): boolean
}

const takesValue: ReadonlySet<string> = new Set([...texts, ...numbers])
const isFlag: ReadonlySet<string> = new Set(flags)

/** Every option and word; UsageError for what there is not. */
export function parseHook(args: readonly string[], env: NodeJS.ProcessEnv): HookOptions {
  const given = new Map<string, string>()
  const words: string[] = []
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at] ?? ''
    if (!arg.startsWith('--')) {
      words.push(arg)
      continue
    }
    const [, name = '', inline] = /^--([^=]*)(?:=(.*))?$/s.exec(arg) ?? []
    if (isFlag.has(name) && inline === undefined) given.set(name, '1')
    else if (takesValue.has(name)) {
      const value = inline ?? args[++at]
      if (value === undefined) throw new UsageError(`--${name} wants a value`)
      given.set(name, value)
    } else throw new UsageError(`unknown option ${arg}; see --help`)
  }
  const text = (name: Text | NumberName | Flag): string | null => given.get(name) ?? (env[`WNOD_${name.toUpperCase().replaceAll('-', '_')}`] || null)
  return {
    words, text,
    number(name, most) {
      const value = text(name)
      if (value === null) return null
      if (!/^\d{1,9}$/.test(value) || Number(value) > most) throw new UsageError(`--${name} must be a whole number up to ${most}, not "${value}"`)
      return Number(value)
    },
    flag: (name) => !['0', 'no', 'false', null].includes(text(name)),
  }
}
