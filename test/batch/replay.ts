/**
 * Plays the batch systems that cannot be installed here: each job is called as that system calls it (argv, environment, descriptors, files, process
 * group) and is sent the signals that it sends, once natively and once through our job starter. What a player does is what was recorded or read of
 * the real thing; that it plays right is not shown by any test.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, chownSync, closeSync, constants, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../kit/until.ts'
import { playHook } from './played-pbs/play.ts'

/** Whose jobs they are. */
const user = { uid: 65534, gid: 65534 }
const withinMs = 60_000

/** Where the starter is, and the bait that it calls. */
export interface Bait {
  readonly starter: string
  readonly socket: string
  readonly type: string
  /** What the administrator has said for when it is away. */
  readonly unreachable?: 'bare'
}

/** What the owner of a job can do to it, by the system's own commands. */
export interface LiveJob {
  says(text: string): Promise<void>
  cancel(): Promise<void>
  suspend(): void
  resume(): void
  signal(name: NodeJS.Signals): void
  /** Of the process that the system has started. */
  readonly pid: number
}

export interface ReplayCase {
  readonly name: string
  /** The user's own lines for a shell. */
  readonly script: string
  /** `command`: no script, but the words of a command. */
  readonly words?: readonly string[]
  readonly stdin?: string
  readonly env?: Readonly<Record<string, string>>
  readonly during?: (job: LiveJob) => Promise<void>
  readonly tidy?: (text: string) => string
  /** Files of the directory count too. */
  readonly files?: boolean
  /** What the system itself says in this case. */
  readonly call?: Readonly<Record<string, string>>
}

/** What is done at the terminal of an interactive job, and to that job. */
export interface Typist {
  type(text: string): void
  resize(rows: number, cols: number): void
  /** By the system, to all of the job. */
  signal(name: NodeJS.Signals): void
  /** The terminal goes away. */
  hangUp(): void
  /** Resolves when this was shown since the last time. */
  shows(text: string): Promise<void>
}

/** An interactive job: a shell at a terminal (`bsub -Is bash`, `qsub -I`), or this text of LSF's. */
export interface TerminalCase {
  readonly name: string
  readonly script?: string
  readonly talk: (typist: Typist) => Promise<void>
  readonly tidy: (shown: string) => string
}

export interface ObservedTerminal {
  readonly record: string
  readonly shown: string
  /** Whether it was as before when the job was over; null where it was gone. */
  readonly restored: boolean | null
}

export interface Observed {
  /** As the system would record it: an exit code, or `signal N`. */
  readonly record: string
  readonly stdout: string
  readonly stderr: string
  readonly files: readonly string[]
}

/** How a system starts one job. */
interface Start {
  readonly file: string
  readonly argv0?: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  /** A descriptor that is closed when the job has it. */
  readonly stdin: number
  readonly ignores?: readonly string[]
}

/** Folders of one job on its node. A guest has the first, as on a shared file system, and does not have the other, the batch system's own. */
interface Place {
  readonly folder: string
  readonly spool: string
}

export interface Player {
  readonly name: 'lsf' | 'pbs' | 'torque' | 'htcondor'
  start(one: ReplayCase, place: Place, bait: Bait | null): Start
  /** What the system's commands send, to which processes, and when. */
  cancel(job: Group): Promise<void>
  suspend(job: Group): void
  resume(job: Group): void
  record(code: number | null, signal: NodeJS.Signals | null): string
}

/** A job as a system sees it: a process, its group, and whether it is still there. */
interface Group {
  readonly pid: number
  toAll(signal: NodeJS.Signals): void
  toTop(signal: NodeJS.Signals): void
  /** True when it has ended within this time. */
  ended(withinMs: number): Promise<boolean>
  /** True when nothing of its group is left within this time. */
  empty(withinMs: number): Promise<boolean>
}

/** One case, as its owner and the system see it. */
export async function replay(player: Player, one: ReplayCase, bait: Bait | null): Promise<Observed> {
  const { folder, spool } = madePlace()
  const start = player.start(one, { folder, spool }, bait)
  const outputs = ['out', 'err'].map((name) => {
    const path = join(folder, name)
    writeFileSync(path, '')
    chownSync(path, user.uid, user.gid)
    return openSync(path, 'a')
  })
  const [out = 1, err = 2] = outputs
  const { file, args, argv0 } = ignoring(start)
  const line = one.call?.['LSB_INTERACTIVE'] === undefined ? null : await interactive(one.stdin ?? '')
  const [program, ...words] = line === null ? [file, ...args] : ['bash', '-c', 'exec 0<>/dev/tcp/127.0.0.1/$0 1>&0 2>&0; exec "$@"', String(line.port), file, ...args]
  const child = spawn(program, words, { ...(argv0 !== undefined && { argv0 }), cwd: start.cwd, env: { ...start.env }, detached: true, stdio: [start.stdin, out, err], ...user })
  for (const fd of [start.stdin, ...outputs]) closeSync(fd)
  try {
    const end = await play(player, one, child, () => readFileSync(join(folder, 'out'), 'latin1'))
    if (line !== null) writeFileSync(join(folder, 'out'), await line.said)
    const text = (name: string): string => readFileSync(join(folder, name), 'latin1').replaceAll(folder, 'FOLDER').replaceAll(spool, 'SPOOL')
    const tidy = one.tidy ?? ((each: string): string => each)
    const complaints = text('err').replace(nameOfShell, 'bash: ').replace(processes, '$1 PID ').replace(one.during === undefined ? /$^/ : wordsOfShell, '')
    return { record: player.record(end.code, end.signal), stdout: tidy(text('out')), stderr: tidy(complaints), files: one.files === true ? filesOf(start.cwd) : [] }
  } finally {
    for (const path of [folder, spool]) rmSync(path, { recursive: true, force: true })
  }
}

function madePlace(): Place {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-replay-'))
  const spool = mkdtempSync('/var/tmp/wnod-replay-')
  for (const path of [folder, spool, ...['work', 'home'].map((name) => join(folder, name))]) {
    mkdirSync(path, { recursive: true })
    chownSync(path, user.uid, user.gid)
    chmodSync(path, 0o755)
  }
  return { folder, spool }
}

/** By a shell that ignores signals first, where the system does. */
function ignoring({ file, args, argv0, ignores }: Start): Pick<Start, 'file' | 'args' | 'argv0'> {
  if (ignores === undefined) return { file, args, ...(argv0 !== undefined && { argv0 }) }
  return { file: '/bin/bash', args: ['-c', `trap '' ${ignores.join(' ')}; exec ${argv0 === undefined ? '' : '-a "$0"'} "$@"`, argv0 ?? 'bash', file, ...args] }
}

/** A shell at a terminal of 33 rows and 101 columns, as this system starts one for an interactive job. */
export async function replayAtTerminal(player: Player, { script = 'bash', talk, tidy }: TerminalCase, bait: Bait | null): Promise<ObservedTerminal> {
  const place = madePlace()
  const start = player.start({ name: '', script, call: interactiveCall }, place, bait)
  closeSync(start.stdin)
  const { file, args, argv0 = file } = ignoring(start)
  const modes = player.name === 'lsf' ? 'plain' : 'mom'
  const child = spawn('python3', ['-B', join(import.meta.dirname, 'terminal.py'), modes, '33', '101', argv0, file, ...args], { cwd: start.cwd, env: { ...start.env, TERM: 'dumb' }, stdio: 'pipe', ...user })
  let [shown, report, seen] = ['', '', 0]
  child.stdout.on('data', (chunk: Buffer) => (shown += chunk.toString('latin1')))
  child.stderr.on('data', (chunk: Buffer) => (report += chunk.toString('latin1')))
  child.stdin.on('error', () => undefined) // the job may be over
  const closed = once(child, 'close')
  const act = (what: object): void => void child.stdin.write(`${JSON.stringify(what)}\n`)
  const missing = (what: string) => (cause: unknown): never => {
    throw new Error(`${what}; since then the terminal has shown ${JSON.stringify(shown.slice(seen))}`, { cause })
  }
  try {
    await talk({
      type: (text) => act({ type: text }),
      resize: (rows, cols) => act({ rows, cols }),
      signal: (name) => act({ signal: name }),
      hangUp: () => act({ hangup: true }),
      async shows(text) {
        const at = await until(() => shown.indexOf(text, seen) + 1, { withinMs, what: 'a text on the terminal' }).catch(missing(`there is no ${JSON.stringify(text)}`))
        seen = at - 1 + text.length
      },
    })
    await until(() => report.endsWith('\n'), { withinMs, what: 'the end of the job' }).catch(missing('the job does not end'))
    await closed
    const { code: exit, signal, restored } = JSON.parse(report) as { code: number | null; signal: NodeJS.Signals | null; restored: boolean | null }
    return { record: player.record(exit, signal), shown: tidy(shown), restored }
  } finally {
    child.stdin.end() // whereupon a job that is still there is killed
    await closed
    for (const path of [place.folder, place.spool]) rmSync(path, { recursive: true, force: true })
  }
}

/** By which a player knows that the job is at a terminal. */
const interactiveCall = { LSB_INTERACTIVE: 'Y', PBS_ENVIRONMENT: 'PBS_INTERACTIVE' } as const

/** The one socket that an interactive job of LSF has for all three, as `bsub -I` keeps it: what its user types, and all that it says. */
async function interactive(typed: string): Promise<{ readonly port: number; readonly said: Promise<Buffer> }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const said = once(server, 'connection').then(async ([socket]) => {
    const user = socket as Socket
    server.close()
    user.end(typed)
    const chunks: Buffer[] = []
    for await (const chunk of user) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks)
  })
  return { port: (server.address() as AddressInfo).port, said }
}

/** How a login shell calls itself before it says of what a child has died: the one difference of such words that docs/pbs.md names. */
const nameOfShell = /^(?:-|\/bin\/)bash: line \d+: +\d+ /gm
const processes = /(: line \d+:) +\d+ /g
/** Said of a child that a signal to the whole group has killed as well, if it was there just then. */
const wordsOfShell = /^(?:Terminated|Hangup|Killed|User defined signal [12])\n/gm

interface End {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

async function play(player: Player, one: ReplayCase, child: ChildProcess, said: () => string): Promise<End> {
  let end: End | null = null
  const over = new Promise<End>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve((end = { code, signal })))
  })
  const { pid } = child
  if (pid === undefined) return over // it could not be started
  const group: Group = {
    pid,
    toAll: (signal) => send(-pid, signal),
    toTop: (signal) => send(pid, signal),
    ended: (ms) => until(() => end !== null, { withinMs: ms, what: 'the end of the job' }).then(() => true, () => false),
    empty: (ms) => until(() => !isThere(-pid), { withinMs: ms, what: 'the end of its processes' }).then(() => true, () => false),
  }
  const job: LiveJob = {
    pid,
    says: (text) => until(() => said().includes(text) || (end !== null && `it ended: ${JSON.stringify(end)}`), { withinMs, what: `stdout has ${text}` }).then((answer) => {
      if (answer !== true && !said().includes(text)) throw new Error(`${answer}, having said ${JSON.stringify(said())}`)
    }),
    cancel: () => player.cancel(group),
    suspend: () => player.suspend(group),
    resume: () => player.resume(group),
    signal: (name) => group.toAll(name),
  }
  try {
    await one.during?.(job)
    if (!(await group.ended(withinMs))) throw new Error(`it does not end; so far ${JSON.stringify(said().slice(-300))}`)
    return await over
  } finally {
    send(-pid, 'SIGKILL') // natively, whatever the job has left running in its group
  }
}

function isThere(to: number): boolean {
  try {
    process.kill(to, 0)
    return true
  } catch {
    return false
  }
}

function send(to: number, signal: NodeJS.Signals): void {
  try {
    process.kill(to, signal)
  } catch {
    // it is gone
  }
}

const filesOf = (folder: string): readonly string[] =>
  readdirSync(folder).sort().filter((name) => !name.endsWith('.ad') && name !== 'condor_exec.exe').map((name) => `${name}: ${readFileSync(join(folder, name), 'latin1')}`)

const nothing = (): number => openSync('/dev/null', 'r')

/** A file with this text as stdin, or /dev/null. */
function fileOf(folder: string, text: string | undefined): number {
  if (text === undefined) return nothing()
  writeFileSync(join(folder, 'in'), text)
  return openSync(join(folder, 'in'), 'r')
}

/** A pipe that holds this text and has no writer any more. */
function pipeOf(spool: string, text: string): number {
  const path = join(spool, 'pipe')
  execFileSync('mkfifo', ['-m', '600', path])
  const writer = openSync(path, constants.O_RDWR)
  writeSync(writer, text)
  const reader = openSync(path, 'r')
  closeSync(writer)
  return reader
}

function ownedFile(path: string, content: string): void {
  writeFileSync(path, content)
  chmodSync(path, 0o700)
  chownSync(path, user.uid, user.gid)
}

const common = (folder: string): Record<string, string> => ({ PATH: '/usr/local/bin:/usr/bin:/bin', HOME: join(folder, 'home'), USER: 'nobody', LOGNAME: 'nobody', SHELL: '/bin/sh', LC_ALL: 'C' })

/** What an administrator has set for the starter of this host. */
const ours = (bait: Bait | null): Record<string, string> =>
  (bait === null ? {} : { WNOD_SOCKET: bait.socket, WNOD_NODE: process.execPath, WNOD_TYPE: bait.type, WNOD_UNREACHABLE: bait.unreachable ?? 'requeue' })

const code = (code: number | null, signal: NodeJS.Signals | null): string => (signal === null ? `exit ${code}` : signal)

/** As IBM's manual has it, but for the seconds between the signals of bkill. */
const terminateMs = 4_000

export const lsf: Player = {
  name: 'lsf',
  start(one, { folder, spool }, bait) {
    const file = join(spool, '1700000000.7')
    const starter = bait === null ? null : one.words === undefined || one.call?.['form'] === 'stdin' ? `exec ${bait.starter}/wnod-starter --lsf; %USRCMD` : `${bait.starter}/wnod-starter --lsf sh -c "%USRCMD"`
    const placed = (text: string): string => starter?.replace('%USRCMD', () => text) ?? text
    const lines = one.call?.['form'] === 'stdin'
      ? `(cat <<\\_USER_\\SCRIPT_\n${one.script}\n_USER_SCRIPT_\n) > $LSB_CHKFILENAME.shell\nchmod u+x $LSB_CHKFILENAME.shell\n${placed('$LSB_JOBFILENAME.shell')}\nsaveExit=$?\n/bin/rm -f $LSB_JOBFILENAME.shell\n(exit $saveExit)`
      : placed(one.words?.join(' ') ?? one.script)
    ownedFile(file, `#! /bin/sh\n$LSB_TRAPSIGS\n$LSB_RCP1\n# LSBATCH: User input\n${lines}\nExitStat=$?\nwait\n# LSBATCH: End user input\ntrue\nexit \`expr $? "|" $ExitStat\`\n`)
    const env = {
      ...common(folder), LSB_JOBID: '7', LSB_JOBINDEX: '0', LSB_JOBNAME: 'x', LSB_QUEUE: 'bait', LSB_HOSTS: 'h1', LSB_MCPU_HOSTS: 'h1 1', LSB_JOBFILENAME: file, LSB_CHKFILENAME: file,
      LSB_TRAPSIGS: 'trap # 15 10 12 2 1', LSB_EXIT_PRE_ABORT: '99', LS_SUBCWD: join(folder, 'work'), LSFUSER: 'nobody', LS_EXEC_T: 'START',
      ...(starter !== null && { LSB_JOB_STARTER: starter }), ...one.call, ...one.env, ...ours(bait),
    }
    return { file: '/bin/sh', args: [file], env, cwd: join(folder, 'work'), stdin: fileOf(folder, one.stdin), ignores: ['HUP'] }
  },
  async cancel({ toAll, ended }) {
    toAll('SIGCONT')
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      toAll(signal)
      if (await ended(terminateMs)) return
    }
    toAll('SIGKILL')
  },
  suspend: ({ toAll }) => toAll('SIGSTOP'),
  resume: ({ toAll }) => toAll('SIGCONT'),
  // The shell that LSF waits for: a job that dies of a signal is recorded by 128 and its number, whoever adds it.
  record: (exit, signal) => (signal === null ? `exit ${exit}` : `exit ${128 + numberOf(signal)}`),
}

const numbers: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGABRT: 6, SIGKILL: 9, SIGUSR1: 10, SIGSEGV: 11, SIGUSR2: 12, SIGTERM: 15 }
const numberOf = (signal: NodeJS.Signals): number => numbers[signal] ?? 0

/** OpenPBS and Torque: the login shell of the job's owner reads the script's path from a pipe. */
function pbsStart(one: ReplayCase, { folder, spool }: Place): Start & { readonly login: boolean } {
  const path = join(spool, 'jobs/7[3].server.SC')
  mkdirSync(join(spool, 'jobs'))
  ownedFile(path, one.script)
  const env = {
    ...common(folder), PBS_ENVIRONMENT: 'PBS_BATCH', ENVIRONMENT: 'BATCH', PBS_JOBID: '7[3].server', PBS_QUEUE: 'bait', PBS_JOBNAME: 'x', NCPUS: '1', OMP_NUM_THREADS: '1', PBS_MOMPORT: '15003',
    PBS_JOBCOOKIE: 'C', PBS_NODENUM: '0', PBS_TASKNUM: '1', PBS_O_WORKDIR: join(folder, 'work'), PBS_JOBDIR: join(folder, 'home'), ...one.env,
  }
  const cwd = join(folder, 'work')
  const environment = one.call?.['PBS_ENVIRONMENT']
  if (environment !== undefined) return { file: '/bin/bash', args: [], env: { ...env, PBS_ENVIRONMENT: environment }, cwd, stdin: nothing(), login: true }
  if (one.words !== undefined) return { file: one.words[0] ?? '', args: one.words.slice(1), env, cwd, stdin: nothing(), login: false }
  const line = `${one.call?.['sandbox'] === 'private' ? `cd ${join(folder, 'home')}\n` : ''}${path.replace(/[[\]]/g, '\\$&')}\n`
  return { file: '/bin/bash', args: [], env, cwd, stdin: pipeOf(spool, line), login: true }
}

const killDelayMs = 4_000
const pbsLike = {
  // Its top process is a shell that dies at once: what the job itself still says is waited for.
  async cancel({ toAll, empty }: Group): Promise<void> {
    toAll('SIGTERM')
    if (!(await empty(killDelayMs))) toAll('SIGKILL')
  },
  record: code,
}

export const pbs: Player = {
  ...pbsLike,
  name: 'pbs',
  start(one, place, bait) {
    const native = pbsStart(one, place)
    const dashed = (file: string): { argv0?: string } => (native.login ? { argv0: `-${file.slice(file.lastIndexOf('/') + 1)}` } : {})
    if (bait === null) return { ...native, ...dashed(native.file) }
    const hooked = playHook(
      { event: 'EXECJOB_LAUNCH', job: '7[3].server', resources: { vm: bait.type }, progname: native.file, argv: [native.file, ...native.args], env: native.env },
      { starter: join(bait.starter, 'wnod-pbs'), types: [bait.type] },
    )
    return { ...native, file: hooked.progname, args: hooked.argv.slice(1), env: { ...hooked.env, ...ours(bait) }, ...dashed(hooked.progname) }
  },
  suspend: ({ toAll }) => toAll('SIGSTOP'),
  resume: ({ toAll }) => toAll('SIGCONT'),
}

export const torque: Player = {
  ...pbsLike,
  name: 'torque',
  start(one, place, bait) {
    const native = pbsStart(one, place)
    if (bait === null) return { ...native, ...(native.login && { argv0: '-bash' }) }
    const starter = join(bait.starter, 'wnod-torque')
    return { ...native, file: starter, args: [native.file, ...native.args], env: { ...native.env, ...ours(bait) } }
  },
  suspend: ({ toTop }) => toTop('SIGTSTP'),
  resume: ({ toAll }) => toAll('SIGCONT'),
}

export const htcondor: Player = {
  name: 'htcondor',
  start(one, { folder, spool }, bait) {
    const scratch = join(spool, 'dir_12')
    mkdirSync(scratch)
    chownSync(scratch, user.uid, user.gid)
    const executable = join(scratch, 'condor_exec.exe')
    ownedFile(executable, `#!/bin/sh\n${one.script}\n`)
    ownedFile(join(scratch, '.job.ad'), `ClusterId = 7\nProcId = 0\nOwner = "nobody"\nRequestCpus = 1\nArgs = "hostile \\" text\\nVM = \\"other\\""\n${bait === null ? '' : `VM = "${bait.type}"\n`}`)
    ownedFile(join(scratch, '.machine.ad'), 'Cpus = 1\nMemory = 512\n')
    const env = {
      ...common(folder), _CONDOR_SCRATCH_DIR: scratch, _CONDOR_JOB_IWD: scratch, _CONDOR_JOB_AD: join(scratch, '.job.ad'), _CONDOR_MACHINE_AD: join(scratch, '.machine.ad'), _CONDOR_SLOT: 'slot1',
      TMPDIR: scratch, TEMP: scratch, TMP: scratch, BATCH_SYSTEM: 'HTCondor', ...one.env,
    }
    const stdin = fileOf(folder, one.stdin)
    const words = one.words ?? [executable]
    // The name of the wrapped one, not the wrapper's own; a script's kernel name is the wrapper's all the same.
    if (bait === null) return { file: words[0] ?? '', argv0: words[0] ?? '', args: words.slice(1), env, cwd: scratch, stdin }
    const { WNOD_TYPE: _asked, ...settings } = ours(bait)
    return { file: join(bait.starter, 'wnod-wrapper'), argv0: 'condor_exec.exe', args: words, env: { ...env, _CONDOR_WRAPPER_ERROR_FILE: join(scratch, '.job_wrapper_failure'), ...settings }, cwd: scratch, stdin }
  },
  async cancel({ toAll, toTop, ended }) {
    toTop('SIGTERM')
    if (!(await ended(killDelayMs))) toAll('SIGKILL')
  },
  suspend: ({ toAll }) => toAll('SIGSTOP'),
  resume: ({ toAll }) => toAll('SIGCONT'),
  record: code,
}
