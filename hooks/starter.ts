#!/usr/bin/env node
/**
 * The process that a batch system runs in the job's stead. Tells the bait what should run and in which surroundings, carries bytes and
 * signals, and ends as the job ended. No retries, no state, no policy: all of that is in the bait.
 *
 *   connect ─▶ greet: make the proof ─▶ submit ─▶ accepted … placed: open the streams ─▶ started ─▶ ended: flush, end alike
 *
 * A job that is to run on the host itself is not carried at all: we become it (starter/bare.ts), and nothing of us is left.
 *
 * Our socket closing is the job's end, whatever kills us. Nothing but the job's own bytes reaches its stdout and stderr, save for one
 * line where the job never ran, is lost, or ended for want of memory.
 */
import { mkdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { userInfo } from 'node:os'
import { scriptBytesMax } from '../core/script-path.ts'
import { startProgress, type Progress } from '../kit/progress.ts'
import { version } from '../kit/version.ts'
import type { Failure, Outcome, Phases } from '../wire/common.ts'
import { stream } from '../wire/frames.ts'
import type { Run, Submit, ToStarter } from '../wire/hook.ts'
import { JobStream, type Receiver, type Sender } from '../wire/job-stream.ts'
import { baitSocket } from './bait-socket.ts'
import { become, canBecome, inPath, nameOf, withoutStdin, type Bare } from './starter/bare.ts'
import { parseBefore } from './starter/before.ts'
import { complain, die, signalNumber } from './starter/ending.ts'
import { frontEndOf, Refusal, type Chosen, type FrontEnd, type Native, type Reading } from './starter/front-end.ts'
import { parseOptions, usage, UsageError, type Options } from './starter/options.ts'
import { harmless, listen, sameMs, type Forwarded } from './starter/signals.ts'
import { given, leaveGone, look, readerIsGone, sink, source, type FdFacts } from './starter/stdio.ts'
import type { Stager } from './starter/stage.ts'
import { decoded, lastArguments, surroundings, variable, without, withEntries } from './starter/surroundings.ts'
import { terminalSize, type Terminal } from './starter/terminal.ts'
import { traceOf } from './starter/trace.ts'

/** Checked against the schema by its type; the schemas themselves are too large to be loaded here. */
const hookVersion: Submit['v'] = 1
/** How long a job that has not started may take to be cancelled, before we die of the signal without an answer. */
const cancelMs = 5_000

/** What the starter knows of its job. */
interface State {
  readonly options: Options
  readonly stdio: { readonly stdin: FdFacts; readonly stdout: FdFacts; readonly stderr: FdFacts }
  readonly run: Run
  readonly command: Command
  /** The job's environment where it runs on the host itself. */
  readonly hostEnv: readonly string[]
  readonly trace: string
  /** `over`: the bait has nothing more to say. */
  phase: 'calling' | 'submitted' | 'started' | 'over'
  receivers: Receiver[]
  terminal: Terminal | null
  progress: Progress | null
  stager: Stager | null
  /** What the bait has said so far, for `--report`. */
  seen: { job: string | null; trace: string; vwn: string | null; type: string | null; reused: boolean | null; outcome: Outcome | null; phases: Phases | null }
  /** Output that the job has written and that could not be written for it. */
  unwritten: NodeJS.ErrnoException | null
}

// Whenever a socket ends, node compares it with process.stderr, and by that makes the file that we share with our caller non-blocking. What we say
// there is said without it.
Object.defineProperty(process, 'stderr', { value: null })

/** As our caller has started us. */
const asCalled = parseBefore(process.env['WNOD_BEFORE'], process.pid, () => readFileSync('/proc/self/status', 'latin1'))
/** The same, but for what the batch system does for itself alone. */
let before = asCalled
/** Our caller has us ignore it (`nohup`), so it neither ends nor stops us; a job that is there gets it, and may have changed its mind. */
const ignores = (signal: Forwarded): boolean => before.ignored.includes(signalNumber(signal) ?? 0)
const isDeadly = (signal: Forwarded): boolean => !harmless.has(signal) && !ignores(signal)

let early: Forwarded | null = null
let onSignal = (signal: Forwarded): void => {
  if (isDeadly(signal)) early ??= signal
}

function misused(error: unknown): never {
  if (error instanceof Refusal) {
    sayFailure(refusalLine(error.failure), error.by.failureFile)
    process.exit(parseOptions([], process.env, error.by).options.refusedCode)
  }
  if (!(error instanceof UsageError)) throw error
  complain(error.message)
  process.exit(2)
}

let unlisten = (): void => undefined

try {
  const chosen = frontEndOf(process.env, process.argv[2])
  unlisten = listen((signal) => onSignal(signal), chosen === null ? sameMs.person : sameMs.batchSystem)
  if (chosen === null) main(process.argv.slice(2))
  else chosen.load().then((read) => called(read, chosen)).catch(misused)
} catch (error) {
  misused(error)
}

/** By a person or a script, with options of ours. */
function main(args: readonly string[]): void {
  const { options, used, asks } = parseOptions(args, process.env)
  if (asks !== null) {
    process.stdout.write(asks === 'help' ? usage : `wnod-starter ${version}\n`)
    return
  }
  const count = args.length - used
  if (count === 0) throw new UsageError('no command given; see --help')
  begin(options, { argv: lastArguments(count, process.env), deathBySignal: 'raise', suspend: 'signal', drops: [] })
}

/** By a batch system, in its own way. */
function called(read: FrontEnd, { used }: Chosen): void {
  const readPipe = (): Buffer | null => (look(0, before.closed).kind === 'pipe' ? readFileSync(0) : null)
  const reading = read({ args: lastArguments(process.argv.length - 2 - used, {}), env: process.env, envBytes: variable, readFile: readFileSync, readPipe, userShell })
  const restored = reading.restores?.map(signalNumber) ?? []
  before = { ...before, ignored: before.ignored.filter((number) => !restored.includes(number)) }
  begin(parseOptions([], process.env, reading.known).options, { ...reading, suspend: reading.suspend ?? 'pause' })
}

function userShell(): string | null {
  try {
    return userInfo().shell || null
  } catch {
    return null // a user id that nobody has
  }
}

type Command = Omit<Reading, 'known' | 'suspend'> & Pick<Submit, 'suspend'>

function begin(options: Options, command: Command): void {
  const stdio = { stdin: look(0, before.closed), stdout: look(1, before.closed), stderr: look(2, before.closed) }
  const trace = traceOf(process.env)
  const state: State = {
    options, stdio, ...describe(options, stdio, command), command, trace, phase: 'calling', receivers: [], terminal: null, stager: null, progress: options.progress && !options.verbose ? startProgress('asking the bait of this host') : null,
    unwritten: null, seen: { job: null, trace, vwn: null, type: null, reused: null, outcome: null, phases: null },
  }
  const scriptBytes = command.script?.content.length ?? 0
  if (scriptBytes > scriptBytesMax) return refused(state, tooLarge(scriptBytes))
  if (!options.stage) return call(state)
  prepareStage(state, () => call(state))
}

/** Goes on when the working directory can be staged. */
function prepareStage(state: State, then: () => void): void {
  import('./starter/stage.ts').then(({ createStager }) => createStager(state.options)).then(
    (stager) => {
      state.stager = stager
      then()
    },
    (error: unknown) => refused(state, { code: 'STAGE_UNREADABLE', message: error instanceof Error ? error.message : String(error), hint: 'make it readable, or leave it out with --exclude' }),
  )
}

/** What the bait would say too, if a message so long could reach it. */
const tooLarge = (bytes: number): Failure =>
  ({ code: 'JOB_SCRIPT_TOO_LARGE', message: `the script of the job has ${bytes} bytes, ${scriptBytesMax} are allowed`, hint: 'keep data that the script carries in a file beside it' })

/** The job, from our own surroundings. */
function describe(options: Options, stdio: State['stdio'], { argv, drops, told = [], script = null, stdin: taken }: Command): Pick<State, 'run' | 'hostEnv'> {
  const { stdin, stdout, stderr } = stdio
  const hasTerminal = options.tty && stdin.kind === 'tty' && stdout.kind === 'tty'
  const ours = surroundings(argv, before, process.env)
  const hostEnv = withEntries(without(ours.env, told), options.env)
  const run: Run = {
    ...ours,
    env: withEntries(without(hostEnv, drops), options.env),
    stdin: taken !== undefined ? 'stream' : options.waitStdin ? modeOf(stdin) : 'null',
    stdout: modeOf(stdout),
    stderr: hasTerminal || (modeOf(stderr) === 'stream' && stderr.file === stdout.file) ? 'stdout' : modeOf(stderr),
    tty: hasTerminal ? terminalSize() : null,
    stage: options.stage,
    script: script === null ? null : { path: script.path.toString('base64'), content: script.content.toString('base64') },
  }
  return { run, hostEnv }
}

function modeOf({ kind }: FdFacts): 'stream' | 'null' | 'closed' {
  return kind === 'null' || kind === 'closed' ? kind : 'stream'
}

function call(state: State): void {
  const path = baitSocket(state.options)
  const silent = new Error(`it has said nothing for ${state.options.baitTimeoutS} s`)
  let heard = 0
  const via: JobStream = new JobStream(connect(path), {
    onControl: (message) => {
      heard += 1
      hear(state, via, message as ToStarter)
    },
    onClose: (error) => {
      state.progress?.clear()
      if (state.phase === 'over') return
      if (state.phase === 'started') return lost(state, { code: 'JOB_BAIT_RESTARTED', message: 'the bait went away while the job ran', hint: 'the job may have run in part' })
      withoutBait(state, unreachable(path, heard > 0 && error !== silent, error))
    },
  })
  /** Until the bait has accepted the job. A turn of the event loop late, for what has come while we were stopped. */
  const watch = (before: number): void =>
    void setTimeout(() => setImmediate(() => {
      if (state.seen.job !== null || state.phase === 'over') return
      if (heard === before) via.destroy(silent)
      else watch(heard)
    }), state.options.baitTimeoutS * 1_000)
  watch(heard)
  onSignal = (signal) => pass(state, via, signal)
  if (early !== null) pass(state, via, early)
}

/** One signal of ours becomes one of the job's; before the job has started it cancels it, unless we ignore it. */
function pass(state: State, via: JobStream, signal: Forwarded): void {
  const deadly = isDeadly(signal)
  if (ignores(signal) && state.phase !== 'started') return
  if (state.phase === 'calling') return deadly ? end(state, () => endBy(state, signal)) : stopAlike(signal)
  if (signal === 'SIGWINCH' && state.terminal !== null) return via.control({ kind: 'resize', ...terminalSize() })
  via.control({ kind: 'signal', signal })
  stopAlike(signal)
  if (!deadly || state.phase !== 'submitted') return
  early ??= signal // should the bait have let go of the job already, it is for us to obey
  setTimeout(() => state.phase === 'submitted' && end(state, () => endBy(state, signal)), cancelMs)
}

/** Our own stop, while it is on its way. */
let stopping: NodeJS.Immediate | undefined

/**
 * Once what is written has left, for a stopped process writes nothing; and a turn of the event loop later, so that a CONT that has
 * come meanwhile is heard: it takes the stop back, or nobody would ever wake us.
 */
function stopAlike(signal: Forwarded): void {
  if (signal === 'SIGCONT') clearImmediate(stopping)
  if (signal !== 'SIGTSTP' || ignores(signal)) return
  stopping = setImmediate(() => (stopping = setImmediate(() => process.kill(process.pid, 'SIGSTOP'))))
}

function hear(state: State, via: JobStream, message: ToStarter): void {
  if (!['greet', 'accepted', 'waiting'].includes(message.kind)) state.progress?.clear()
  switch (message.kind) {
    case 'greet': return submit(state, via, message.prove)
    case 'accepted':
      state.seen.job = message.job
      state.progress?.say(`${message.job} waits for a VWN`)
      return whisper(state, `accepted as ${message.job}, trace ${state.trace}`)
    case 'waiting':
      state.progress?.say(`${state.seen.job} waits: ${message.why}`)
      return whisper(state, `waiting: ${message.why}`)
    case 'placed':
      state.seen = { ...state.seen, vwn: message.vwn, type: message.type, reused: message.reused }
      whisper(state, `placed on ${message.vwn} of type ${message.type}${message.reused ? ', reused' : ''}`)
      return message.stage && state.stager === null ? prepareStage(state, () => openStreams(state, via, true)) : openStreams(state, via, message.stage)
    case 'started':
      state.phase = 'started'
      return whisper(state, 'started')
    case 'ended':
      state.seen = { ...state.seen, outcome: message.outcome, phases: message.phases }
      return finish(state, via, message.outcome)
    case 'error': return refused(state, message.failure)
    case 'controlled':
    case 'noted': return // are for other hooks
    default: return message satisfies never
  }
}

function submit(state: State, via: JobStream, prove: string): void {
  mkdirSync(prove, { mode: 0o700 })
  const { options, run, trace, command: { suspend } } = state
  const { type, queue, project, batchSystem, batchJobId, cpus, memoryMib, scratchGib } = options
  const want = { type, queue, project, batchSystem, batchJobId, cpus, memoryMib, scratchGib }
  via.control({ kind: 'submit', v: hookVersion, uid: process.geteuid?.() ?? -1, gid: process.getegid?.() ?? -1, groups: process.getgroups?.() ?? [], run, want, suspend, trace, bare: canBecome() })
  state.phase = 'submitted'
}

/** Nobody can be asked. That is not so for a job which the bait has accepted: it may be on its way into a VWN. */
function withoutBait(state: State, why: Failure): void {
  if (state.options.unreachable === 'requeue' || state.seen.job !== null) return refused(state, why)
  if (!canBecome()) return refused(state, { ...impossible, message: `${impossible.message}: there is no bait, and no wnod-exec.node beside the starter` })
  conclude(state, { is: 'bare' })
}

/** As the catalogue has it, which is too large to be loaded here. */
const impossible: Failure = {
  code: 'BARE_IMPOSSIBLE',
  message: 'the job was to run on the host itself, and the job starter cannot become it',
  hint: 'it needs `wnod-exec.node` beside `starter.cjs`: install gcc and libc6-dev on this host and say `npm run build`',
}

const unreachable = (path: string, left: boolean, error: Error | null): Failure => ({
  code: 'BAIT_UNREACHABLE',
  message: `the bait at ${path} ${left ? 'went away' : 'does not answer'}${error === null ? '' : `: ${error.message}`}`,
  hint: 'check that `wnod bait` runs on this host',
})

/** From here on the job may read and write. */
function openStreams(state: State, via: JobStream, stage: boolean): void {
  const { stdio, run, command } = state
  if (run.tty !== null) void import('./starter/terminal.ts').then(({ takeTerminal }) => (state.terminal = takeTerminal()))
  if (run.stdin === 'stream') {
    const input = command.stdin === undefined ? source(stdio.stdin, () => sender, run.tty !== null) : given(command.stdin, () => sender)
    const sender: Sender = via.outgoing(stream.stdin, input)
  }
  if (run.stdout === 'stream') receive(state, via, stream.stdout, stdio.stdout)
  if (run.stderr === 'stream') receive(state, via, stream.stderr, stdio.stderr)
  if (stage) state.stager?.open(via)
}

function receive(state: State, via: JobStream, streamId: number, facts: FdFacts): void {
  const to = sink(facts, (error) => {
    if (!readerIsGone(facts, error)) state.unwritten ??= error
    receiver.stop()
  })
  // Stderr stays open for what we may have to say when the job is over; our own end closes it.
  const receiver = via.incoming(streamId, streamId === stream.stderr ? { ...to, end: () => undefined } : to)
  state.receivers.push(receiver)
}

/** The job is over; every byte that has come is written before we are. */
function finish(state: State, via: JobStream, outcome: Outcome): void {
  state.phase = 'over'
  onSignal = (signal) => (isDeadly(signal) ? end(state, () => endBy(state, signal)) : stopAlike(signal))
  const wait = (): void => {
    if (state.receivers.some((receiver) => !receiver.idle) || state.stager?.busy === true) return void setTimeout(wait, 1)
    via.destroy()
    conclude(state, outcome)
  }
  wait()
}

function conclude(state: State, outcome: Outcome): void {
  sayOutOfMemory(state.options, outcome)
  switch (outcome.is) {
    case 'exited':
      if (state.stager !== null && state.stager.failure !== null) return lost(state, state.stager.failure)
      if (state.unwritten !== null && outcome.code === 0) return lost(state, { code: 'FILE_UNWRITABLE', message: `output of the job could not be written: ${state.unwritten.message}`, hint: 'the job itself has exited with 0' })
      return end(state, () => process.exit(outcome.code))
    case 'signalled': return end(state, () => endBy(state, outcome.signal))
    case 'cancelled': return end(state, () => endBy(state, outcome.signal ?? early ?? 'SIGTERM'))
    case 'refused': return refused(state, outcome.failure)
    case 'lost': return lost(state, outcome.failure)
    case 'bare': return becomeJob(state)
    default: return outcome satisfies never
  }
}

/** The last that is ours: what is left of this process is the job, as if we had never been. */
function becomeJob(state: State): void {
  const { options, command, hostEnv } = state
  state.phase = 'over'
  state.seen.outcome = { is: 'bare' }
  onSignal = (signal) => {
    if (isDeadly(signal)) endBy(state, signal)
    else if (signal === 'SIGTSTP' && !ignores(signal)) process.kill(process.pid, 'SIGSTOP') // nothing of ours is left to be written
  }
  if (early !== null) return endBy(state, early)
  whisper(state, 'runs on the host itself')
  report(state)
  const env = hostEnv.map(decoded)
  const { file, argv: [first = Buffer.alloc(0), ...rest] }: Native = command.native ?? { argv: command.argv }
  const { script = null, isHeaded = false } = command
  const asSlurm = file === 'asSlurm'
  const name = asSlurm ? inPath(first, env) : first
  try {
    if (!options.waitStdin) withoutStdin()
    if (isHeaded && script !== null) writeFileSync(script.path, script.content)
    const job: Bare = { file: file instanceof Buffer ? file : name, isPath: asSlurm, argv: [name, ...rest], env, stdin: command.stdin, before: asCalled }
    become(job, (errno) => notExecuted(name, errno, asSlurm))
  } catch (error) {
    state.seen.outcome = null
    refused(state, { ...impossible, message: `${impossible.message}: ${(error as Error).message}` })
  }
}

/** With the exit code of a shell and of a guest, or of Slurm. */
function notExecuted(name: Buffer, errno: number, asSlurm: boolean): void {
  const why = nameOf(errno)
  complain(`${name.toString('latin1')} cannot be executed: ${why}`)
  process.exit(asSlurm ? errno : why === 'ENOENT' || why === 'ENOTDIR' ? 127 : 126)
}

/** The one word about a job that ran: it would look for the reason in itself. Nothing where it has done well all the same. */
function sayOutOfMemory({ memoryMib }: Options, outcome: Outcome): void {
  if ((outcome.is !== 'exited' && outcome.is !== 'signalled') || outcome.outOfMemory !== true || (outcome.is === 'exited' && outcome.code === 0)) return
  complain(`a process of the job was killed because ${memoryMib === null ? 'the memory of its VWN' : `the ${memoryMib} MiB of memory that the job asked for`} ran out`)
}

/** As a job that this signal has killed. */
function endBy({ command }: State, signal: string): void {
  if (command.deathBySignal === 'raise') die(signal)
  else process.exit(128 + (signalNumber(signal) ?? 0))
}

function refused(state: State, failure: Failure): void {
  state.phase = 'over'
  state.seen.outcome ??= { is: 'refused', failure }
  sayFailure(refusalLine(failure), state.command.failureFile)
  void import('../core/errors.ts').then(({ isHopeless }) => end(state, () => process.exit(isHopeless(failure.code) ? state.options.deniedCode : state.options.refusedCode)))
}

function lost(state: State, { code, message, hint }: Failure): void {
  state.phase = 'over'
  state.seen.outcome ??= { is: 'lost', failure: { code, message, hint } }
  sayFailure(`the job is lost: ${firstLine(message)} (${code}): ${hint}`, state.command.failureFile)
  end(state, () => process.exit(state.options.lostCode))
}

const refusalLine = ({ code, message, hint }: Failure): string => `the job did not run: ${firstLine(message)} (${code}): ${hint}`

/** Said to whoever reads the job's stderr, and to a batch system that has named a file for it. */
function sayFailure(line: string, file: string | undefined): void {
  complain(line)
  if (file === undefined) return
  try {
    writeFileSync(file, `wnod: ${line}\n`)
  } catch (error) {
    complain(`${file} could not be written: ${(error as Error).message}`)
  }
}

/** One line for the job's stderr; what follows, a guest's last words, is in the report and in `wnod show`. */
const firstLine = (message: string): string => message.split('\n', 1)[0] ?? ''

/** Whatever way we go, the terminal is left as it was. */
function end(state: State, go: () => void): void {
  state.phase = 'over'
  state.progress?.clear()
  state.terminal?.restore()
  for (const file of state.command.removes ?? []) tryUnlink(file)
  report(state)
  unlisten()
  leaveGone(Object.values(state.stdio))
  go()
}

function tryUnlink(file: string): void {
  try {
    unlinkSync(file)
  } catch {
    // the job's own script may have done it
  }
}

function report({ options, seen }: State): void {
  if (options.report === null) return
  try {
    writeFileSync(options.report, `${JSON.stringify(seen)}\n`)
  } catch (error) {
    complain(`the report could not be written: ${(error as Error).message}`)
  }
}

/** For people who look; a batch job's stderr is the job's alone. */
function whisper(state: State, line: string): void {
  if (state.options.verbose) complain(line)
}
