/**
 * Grid Engine (8.1 and its relatives): we are the queue's `starter_method`. How the job would have been started without us is in the file `config`
 * of its spool directory, which anybody may read; sge_shepherd and qrsh_starter do from it what `commandOf` and `qrshCommand` do here.
 * Variables as in qsub(1), "ENVIRONMENTAL VARIABLES", and queue_conf(5), "starter_method".
 *
 *   shell_start_mode      script                            -b y                         -b y -shell n
 *   unix_behavior         SCRIPT ARG…                       SHELL -c 'WORD WORD '        WORD WORD…
 *   posix_compliant       SHELL SCRIPT ARG…                 the same                     the same
 *   script_from_stdin     SHELL -s ARG…, script on stdin    the same                     SHELL -s ARG…
 */
import { spooledScript, wholeNumber, type Call, type Reading } from '../starter/front-end.ts'
import { UsageError } from '../starter/options.ts'

/** Grid Engine runs the job again after exit 99, and holds it for its owner to look at after exit 100 (queue_conf(5)); any other has failed. */
const [again, hold, failed] = [99, 100, 77]

/** What exists on the bait alone: the guest has a /tmp of its own. */
const ofTheNode = ['SGE_JOB_SPOOL_DIR', 'TMPDIR', 'TMP'] as const

/** What the starter method alone is told. */
const ofTheStarter = ['SGE_STARTER_SHELL_PATH', 'SGE_STARTER_SHELL_START_MODE', 'SGE_STARTER_USE_LOGIN_SHELL'] as const

/** What Grid Engine asks for. */
export function gridEngine(call: Call): Reading {
  const { env } = call
  const config = configOf(call)
  const command = env['JOB_SCRIPT'] === 'QRSH' ? qrshCommand(call) : commandOf(call, config)
  return {
    ...command,
    known: {
      batchSystem: 'gridengine',
      batchJobId: jobIdOf(env),
      queue: env['QUEUE'] ?? null,
      project: projectOf(config),
      cpus: wholeNumber(env['NSLOTS']),
      refusedCode: again,
      deniedCode: failed,
      lostCode: hold,
      tty: true, // it has given us one exactly where the job would have got it
    },
    deathBySignal: 'raise',
    drops: ofTheNode,
    told: ofTheStarter,
  }
}

type Config = ReadonlyMap<string, string>

/** The lines `name=value` of the job's `config`. The first of a name counts, as for the shepherd: a word of the job may hold more lines. */
function configOf({ env, readFile }: Call): Config {
  const folder = env['SGE_JOB_SPOOL_DIR']
  if (folder === undefined) throw new UsageError('SGE_JOB_SPOOL_DIR is not set: are we the starter_method of a queue of Grid Engine?')
  const lines = readFile(`${folder}/config`).toString('latin1').split('\n')
  return new Map(lines.reverse().map((line) => [line.split('=', 1)[0] ?? '', line.slice(line.indexOf('=') + 1)]))
}

/** A batch job, by the table above; `args` are its script and its words, or `-s` and its words. */
function commandOf(call: Call, config: Config): Pick<Reading, 'argv' | 'native' | 'script'> {
  const { args, env } = call
  const shell = env['SGE_STARTER_SHELL_PATH'] ?? config.get('shell_path') ?? '/bin/sh'
  const mode = env['SGE_STARTER_SHELL_START_MODE']
  const [isBinary, hasShell] = [config.get('handle_as_binary') === '1', config.get('no_shell') !== '1']
  const fromStdin = mode === 'script_from_stdin'
  const [first = Buffer.alloc(0), ...rest] = args
  const word = fromStdin ? Buffer.from(config.get('script_file') ?? '', 'latin1') : first
  const login = env['SGE_STARTER_USE_LOGIN_SHELL'] === 'true'
  const start = login && knowsLogin.test(shell) ? [shell, '-l'] : [shell]
  const name = `${login ? '-' : ''}${baseName(shell)}`
  /** As the shepherd has it: the shell's name says what kind of shell it is. */
  const byShell = (words: readonly (Buffer | string)[], zero: readonly string[] = []): Pick<Reading, 'argv' | 'native'> =>
    ({ argv: [...start, ...words, ...zero].map(bytes), native: { file: bytes(shell), argv: [name, ...words].map(bytes) } })
  if (isBinary && hasShell) return { ...byShell(['-c', joined([word, ...rest, Buffer.alloc(0)])], [name]), script: null }
  if (fromStdin) return { ...byShell(['-s', ...rest]), script: null }
  const script = isBinary ? null : spooledScript(call, first, { refusedCode: again })
  if (isBinary) return { argv: args, script }
  if (mode === 'posix_compliant') return { ...byShell(args), script }
  return { argv: [...(script !== null && isPlain(script.content) ? [bytes('/bin/sh')] : []), ...args], script }
}

/** These become login shells by `-l`, as they would by a `-` before their name; csh and its like have no such option beside others. */
const knowsLogin = /(?:^|\/)(?:ba|da|k|mk|z)?sh$/

/** A file that the system cannot execute: the shepherd hands it to /bin/sh. */
const isPlain = (content: Buffer): boolean => content.subarray(0, 2).toString('latin1') !== '#!' && content.subarray(0, 4).toString('latin1') !== '\x7fELF'

/** `qrsh COMMAND`: its user's own shell gets the words, joined; with `-noshell` they are the command as they are. */
function qrshCommand({ args, readFile, userShell }: Call): Pick<Reading, 'argv' | 'native' | 'script'> {
  const parent = /^PPid:\s*(\d+)$/m.exec(readFile('/proc/self/status').toString('latin1'))?.[1] ?? ''
  const noShell = readFile(`/proc/${parent}/cmdline`).toString('latin1').split('\0').includes('noshell')
  if (noShell) return { argv: args, script: null }
  const shell = userShell() ?? '/bin/sh'
  const words = ['-c', joined(args)]
  return { argv: [shell, ...words, baseName(shell)].map(bytes), native: { file: bytes(shell), argv: [baseName(shell), ...words].map(bytes) }, script: null }
}

const bytes = (text: Buffer | string): Buffer => (typeof text === 'string' ? Buffer.from(text) : text)
const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1)

/** Words with a blank between each two. */
const joined = (words: readonly Buffer[]): Buffer => Buffer.concat(words.flatMap((word, index) => (index === 0 ? [word] : [Buffer.from(' '), word])))

/** `7`, or of an array `7.3`, as Grid Engine's own tools write them. */
function jobIdOf(env: NodeJS.ProcessEnv): string | null {
  const [job, task] = [env['JOB_ID'], env['SGE_TASK_ID']]
  if (job === undefined) return null
  return task === undefined || task === 'undefined' ? job : `${job}.${task}`
}

/** Of the accounting record; the word of the shepherd for no project is `none`. */
function projectOf(config: Config): string | null {
  const project = config.get('acct_project') ?? 'none'
  return project === 'none' || project === '' ? null : project
}
