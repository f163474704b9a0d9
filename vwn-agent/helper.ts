/**
 * The agent's side of serve.c, the C program that forks, listens and makes pipes for it. Every command has one answer, in order;
 * between answers come news of processes that have ended.
 */
import { closeSync, openSync } from 'node:fs'
import { Socket } from 'node:net'

/** How a process ended; one of the two is null. */
export interface Exit {
  readonly code: number | null
  readonly signal: number | null
}

export interface Started {
  /** What will exit. */
  readonly pid: number
  /** The job's own process: another one where a terminal is relayed. */
  readonly job: number
  /** Which of the spec's directories it has started in. */
  readonly directory: number
  readonly exit: Promise<Exit>
  /** Our ends of its streams, which the caller closes; null where it has none. */
  readonly ends: { readonly stdin: number | null; readonly stdout: number | null; readonly stderr: number | null }
}

export interface StartOptions {
  readonly spec: Uint8Array
  readonly tty: boolean
  readonly stdin: 'pipe' | 'null'
  readonly stdout: 'pipe' | 'null'
  readonly stderr: 'pipe' | 'null' | 'out'
}

/** A process that could not be started, and at which step. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly step: string

  constructor(step: string, message: string) {
    super(message)
    this.step = step
  }
}

export interface Helper {
  start(options: StartOptions): Promise<Started>
  resize(pid: number, rows: number, cols: number): Promise<void>
  become(clockOffsetMs: number, entropy: Buffer): Promise<void>
  listen(port: number, sshd: string, config: string): Promise<void>
  /** Processes that a job has left, `PID:NAME`; with `kill` they were killed just now. */
  strangers(sshd: string, kill: boolean): Promise<readonly string[]>
  removeIpc(): Promise<void>
  unmount(path: string): Promise<void>
}

type Answer = (words: readonly string[]) => void

/** The helper at the other end of this descriptor; `pid` is its process. Without it the agent can do nothing, and ends. */
export function connectHelper(fd: number, pid: number): Helper {
  const socket = new Socket({ fd, readable: true, writable: true })
  const answers: Answer[] = []
  const ends = new Map<number, (exit: Exit) => void>()
  const early = new Map<number, Exit>()
  let pipes: readonly number[] | null = null
  let pipesCome: (() => void) | null = null
  let last: Promise<unknown> = Promise.resolve()
  let rest = ''

  const ended = (pidOf: number, exit: Exit): void => {
    const tell = ends.get(pidOf)
    ends.delete(pidOf)
    if (tell === undefined) early.set(pidOf, exit)
    else tell(exit)
  }
  const take = (line: string): void => {
    const words = line.split(' ')
    const [kind, ...values] = words
    const numbers = values.map(Number)
    if (kind === 'pipes') {
      pipes = numbers
      pipesCome?.()
    } else if (kind === 'exited') ended(numbers[0] ?? 0, { code: orNull(numbers[1]), signal: orNull(numbers[2]) })
    else answers.shift()?.(words)
  }
  socket.setEncoding('latin1').on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    lines.forEach(take)
  })
  socket.on('close', () => process.exit(1)).on('error', () => process.exit(1))

  const ask = (command: string | Uint8Array): Promise<readonly string[]> =>
    new Promise((resolve, reject) => {
      answers.push((words) => {
        if (words[0] === 'failed') reject(new StartError(words[1] ?? '?', errnoText(Number(words[2]))))
        else resolve(words)
      })
      socket.write(command)
    })

  const startNow = async (options: StartOptions): Promise<Started> => {
    while (pipes === null) await new Promise<void>((resolve) => (pipesCome = resolve))
    const [stdinEnd, stdoutEnd, stderrEnd] = [pipes[1], pipes[2], pipes[4]]
    pipes = null // the next process gets others
    const open = (wanted: string, end: number | undefined, flags: 'r' | 'w'): number | null =>
      wanted === 'pipe' ? openSync(`/proc/${pid}/fd/${end}`, flags) : null
    const own = { stdin: open(options.stdin, stdinEnd, 'w'), stdout: open(options.stdout, stdoutEnd, 'r'), stderr: open(options.stderr, stderrEnd, 'r') }
    const { spec, tty, stdin, stdout, stderr } = options
    try {
      const head = Buffer.from(`start ${tty ? 'tty' : 'exec'} ${stdin} ${stdout} ${stderr} ${spec.length}\n`)
      const [, process_, job, directory] = await ask(Buffer.concat([head, spec]))
      const started = Number(process_)
      return { pid: started, job: Number(job), directory: Number(directory), ends: own, exit: exitOf(started) }
    } catch (error) {
      for (const end of Object.values(own)) if (end !== null) closeSync(end)
      throw error
    }
  }
  const exitOf = (started: number): Promise<Exit> =>
    new Promise((resolve) => {
      const over = early.get(started)
      early.delete(started)
      if (over === undefined) ends.set(started, resolve)
      else resolve(over)
    })

  return {
    start(options) {
      const started = last.then(() => startNow(options)) // one at a time: they share the next pipes
      last = started.catch(() => undefined)
      return started
    },
    resize: async (of, rows, cols) => void (await ask(`resize ${of} ${rows} ${cols}\n`)),
    become: async (offsetMs, entropy) => void (await ask(`become ${Math.round(offsetMs)} ${entropy.toString('hex')}\n`)),
    listen: async (port, sshd, config) => void (await ask(`listen ${port} ${sshd} ${config}\n`)),
    strangers: async (sshd, kill) => (await ask(`${kill ? 'kill' : 'strangers'} ${sshd}\n`)).slice(1),
    removeIpc: async () => void (await ask('ipc\n')),
    unmount: async (path) => void (await ask(`unmount ${path}\n`)),
  }
}

const orNull = (value: number | undefined): number | null => (value === undefined || value < 0 ? null : value)

/** Errors by number, as far as a start can meet them; the number says the rest. */
function errnoText(errno: number): string {
  const known: Record<number, string> = {
    1: 'operation not permitted', 2: 'no such file or directory', 11: 'resource temporarily unavailable', 12: 'out of memory',
    13: 'permission denied', 20: 'not a directory', 22: 'invalid argument', 24: 'too many open files', 74: 'malformed description',
  }
  return known[errno] ?? `error ${errno}`
}
