/** The command line of the job starter; anything may be given by environment as well: `--batch-job-id` is WNOD_BATCH_JOB_ID. */

export interface Options {
  readonly socket: string | null
  readonly home: string | null
  readonly type: string | null
  readonly queue: string | null
  readonly project: string | null
  readonly batchSystem: string | null
  readonly batchJobId: string | null
  readonly cpus: number | null
  readonly memoryMib: number | null
  readonly scratchGib: number | null
  readonly stage: boolean
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  /** `NAME=value` entries that the job gets in place of ours. */
  readonly env: readonly string[]
  readonly tty: boolean
  readonly waitStdin: boolean
  readonly verbose: boolean
  /** On a terminal, one line says what the job waits for until it begins. */
  readonly progress: boolean
  /** A file that gets one JSON object at the end: which VWN it was, how the job ended, where the time went. */
  readonly report: string | null
  /** What becomes of a job that can ask nobody, because the bait is not there. */
  readonly unreachable: 'requeue' | 'bare'
  /** A bait that says nothing for so long, before it has accepted the job, is not there either. */
  readonly baitTimeoutS: number
  /** Exit code when the job never ran. */
  readonly refusedCode: number
  /** The same where running it again would end in the same way: a type that there is not, a request that nobody can read. */
  readonly deniedCode: number
  /** Exit code when nobody can tell what became of the job. */
  readonly lostCode: number
}

/** What a person who calls it wrongly gets to read; the answer to `--help`. */
export const usage = `usage: wnod-starter [OPTION…] [--] COMMAND [ARG…]
  --type T  --queue Q  --project P      what the mapping of VWN types looks at
  --batch-system B  --batch-job-id J    whose job it is
  --cpus N  --memory MIB  --scratch GIB
  --stage  --include PAT  --exclude PAT hand the working directory over, and changed files back
  --env NAME=VALUE                      set for the job, beside what it gets of ours
  --tty                                 a terminal, where there is one
  -n, --no-wait-stdin                   do not read stdin; the job gets /dev/null
  --refused-code N  --lost-code N       exit codes: the job never ran (75); nobody can tell (76)
  --denied-code N                       the job never ran, and never would (as --refused-code)
  --unreachable requeue|bare            without a bait: the job never ran (as --refused-code), or runs on this host itself
  --bait-timeout S                      a bait that says nothing for so long is away (120)
  --progress                            on a terminal, what the job waits for until it begins
  --report FILE                         write there, as JSON, what became of the job
  --socket PATH | --home DIR            where the bait is
Each option can be given as WNOD_OPTION in the environment. The job sees no WNOD_* variable.
`

/** Wrong use: said to the caller with the refused code, for the job never ran. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

const texts = ['socket', 'home', 'type', 'queue', 'project', 'batch-system', 'batch-job-id', 'report', 'unreachable'] as const
const numbers = ['cpus', 'memory', 'scratch', 'bait-timeout', 'refused-code', 'denied-code', 'lost-code'] as const
const lists = ['include', 'exclude', 'env'] as const
const flags = ['stage', 'tty', 'no-wait-stdin', 'verbose', 'progress', 'help', 'version'] as const
const takesValue: ReadonlySet<string> = new Set([...texts, ...numbers, ...lists])
const isFlag: ReadonlySet<string> = new Set(flags)

/** Options, and how many of `args` were options: the rest is the job's command, untouched. What neither says is taken from `known`. */
export function parseOptions(args: readonly string[], env: NodeJS.ProcessEnv, known: Partial<Options> = {}): { readonly options: Options; readonly used: number; readonly asks: 'help' | 'version' | null } {
  const given = new Map<string, string[]>()
  const used = readArguments(args, given)
  const all = (name: string): readonly string[] => given.get(name) ?? fromEnv(env, name)
  const last = (name: (typeof texts)[number] | (typeof numbers)[number] | (typeof flags)[number]): string | null => all(name).at(-1) ?? null
  const flag = (name: (typeof flags)[number]): boolean => !['', '0', 'no', 'false', null].includes(last(name))
  const number = (name: (typeof numbers)[number]): number | null => {
    const text = last(name)
    if (text === null) return null
    if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${name} must be a whole number, not "${text}"`)
    return Number(text)
  }
  const refused = exitCode(number('refused-code') ?? known.refusedCode ?? 75)
  const options: Options = {
    socket: last('socket'), home: last('home'), type: last('type') ?? known.type ?? null, queue: last('queue') ?? known.queue ?? null, project: last('project') ?? known.project ?? null,
    batchSystem: last('batch-system') ?? known.batchSystem ?? null, batchJobId: last('batch-job-id') ?? known.batchJobId ?? null,
    cpus: number('cpus') ?? known.cpus ?? null, memoryMib: number('memory') ?? known.memoryMib ?? null, scratchGib: number('scratch'),
    stage: flag('stage') || known.stage === true, include: all('include'), exclude: [...(known.exclude ?? []), ...all('exclude')], env: all('env').map(assignment),
    tty: flag('tty') || known.tty === true, waitStdin: !flag('no-wait-stdin'), verbose: flag('verbose'), progress: flag('progress'), report: last('report'),
    unreachable: unreachable(last('unreachable')), baitTimeoutS: number('bait-timeout') ?? 120,
    refusedCode: refused, deniedCode: exitCode(number('denied-code') ?? known.deniedCode ?? refused), lostCode: exitCode(number('lost-code') ?? known.lostCode ?? 76),
  }
  return { options, used, asks: flag('help') ? 'help' : flag('version') ? 'version' : null }
}

function readArguments(args: readonly string[], given: Map<string, string[]>): number {
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at] ?? ''
    if (arg === '--') return at + 1
    if (!arg.startsWith('-') || arg === '-') return at
    const [name = '', inline] = arg === '-n' ? ['no-wait-stdin'] : splitOption(arg)
    if (takesValue.has(name)) {
      const value = inline ?? args[++at]
      if (value === undefined) throw new UsageError(`--${name} wants a value`)
      given.set(name, [...(given.get(name) ?? []), value])
    } else if (isFlag.has(name) && inline === undefined) given.set(name, ['1'])
    else throw new UsageError(`unknown option ${arg}; see --help`)
  }
  return args.length
}

function splitOption(arg: string): [string, string?] {
  const name = arg.replace(/^--/, '')
  const equals = name.indexOf('=')
  return equals < 0 ? [name] : [name.slice(0, equals), name.slice(equals + 1)]
}

function fromEnv(env: NodeJS.ProcessEnv, name: string): readonly string[] {
  const value = env[`WNOD_${name.toUpperCase().replaceAll('-', '_')}`]
  if (value === undefined || value === '') return []
  return (lists as readonly string[]).includes(name) ? value.split('\n') : [value]
}

function assignment(text: string): string {
  if (!/^[^=]+=/.test(text)) throw new UsageError(`--env wants NAME=VALUE, not "${text}"`)
  return text
}

function unreachable(text: string | null): Options['unreachable'] {
  if (text === null || text === 'requeue' || text === 'bare') return text ?? 'requeue'
  throw new UsageError(`--unreachable is requeue or bare, not "${text}"`)
}

function exitCode(code: number): number {
  if (code > 255) throw new UsageError(`an exit code is at most 255, not ${code}`)
  return code
}
