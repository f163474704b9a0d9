/**
 * The agent's side of serve.c, the C program that forks, listens and moves bytes for it. Every command has one answer, in order, but
 * for those about a connection, which have none; between answers come news of processes and connections.
 *
 * Read and written with node's file calls: its sockets take a fifth of a second to load where the processor is emulated, and cannot be
 * in a snapshot of the heap.
 */
import { read, write, writeSync } from 'node:fs'
import { lineCutter } from './lines.ts'

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
}

/** What a process finds as one of its first three files: a stream of the connection, nothing, what stdout is, or a file by its path. */
export type File = number | 'null' | 'none' | 'out' | { readonly path: string }

export interface StartOptions {
  readonly spec: Uint8Array
  readonly tty: boolean
  readonly stdin: File
  readonly stdout: File
  readonly stderr: File
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

/** One connection to the socket for tasks. Its bytes never come here; every call after its end is without effect. */
export interface Connection {
  /** Sends a control message. */
  say(message: object): void
  /** Starts a process whose streams may be this connection's. */
  start(options: StartOptions): Promise<Started>
  /** Takes no more of an incoming stream. */
  stop(stream: number): void
  /** Ends an outgoing stream with what has come so far; safe to repeat. */
  cut(stream: number): void
  /** Ends an outgoing stream that nobody writes. */
  end(stream: number): void
  /** Resolves when an outgoing stream was taken to its end, or nobody wants it; when the last byte of an incoming one is in its pipe. */
  done(stream: number): Promise<void>
  /** Closes when everything is sent. */
  close(): void
  /** Closes at once, and its pipes too. */
  forget(): void
}

/** Whoever serves a connection. */
export interface Task {
  /** A control message, as it came. */
  take(text: string): void
  /** The other side is gone; `forget` is still due. */
  lost(): void
}

/** Where the port is, and where what makes an identity goes; null is nowhere. */
export interface PortPlaces {
  readonly path: string
  readonly etc: string
  readonly ssh: string
  readonly kernel: string | null
  readonly sshd: string
  readonly sshPort: number | null
}

/** News from the port. */
export interface PortNews {
  /** A line that is no identity. */
  line(text: string): void
  /** This guest is somebody, or somebody else, since a while; these files say who. */
  became(files: readonly string[]): void
}

export interface Helper {
  /** Takes connections at this path from now on. */
  serve(path: string, open: (connection: Connection) => Task): Promise<void>
  resize(pid: number, rows: number, cols: number): Promise<void>
  /** Serves the virtio-serial port, and makes this guest who the bait says it is, without asking. */
  port(at: PortPlaces, on: PortNews): Promise<void>
  /** What the port says again and again until an identity has come. */
  hello(message: object): void
  /** Queues a line for the port; of several that wait for a host that does not read, the newest are kept. */
  tell(message: object): void
  /** The wall clock is the monotonic clock plus this. */
  setClock(offsetMs: number): Promise<void>
  /** Wall clock less monotonic clock, as it was set last; null before that. */
  readonly clockOffsetMs: number | null
  /** Processes that a job has left, `PID:NAME`; with `kill` they were killed just now. */
  strangers(sshd: string, kill: boolean): Promise<readonly string[]>
  removeIpc(): Promise<void>
  unmount(path: string): Promise<void>
  /** Removes all that is in the folders, however deep and whatever its name; those after one that cannot be emptied are emptied too. */
  empty(folders: readonly Buffer[]): Promise<void>
  /**
   * What is in these folders and below, by latin1 path: each folder of the list itself with its rights; files, links and devices with a state
   * that changes with content or rights; folders that are empty, with a `/` at the end. Of those in `skipped` nothing is said.
   */
  walk(folders: readonly string[], skipped: readonly string[]): Promise<ReadonlyMap<string, string>>
  /** Puts the user's keyrings out of use, with the keys in them. */
  dropKeys(uid: number): Promise<void>
}

type Answer = (words: readonly string[]) => void

type Send = (...parts: readonly (string | Uint8Array)[]) => void

/** The helper at the other end of this descriptor. Without it the agent can do nothing, and ends. */
export function connectHelper(fd: number): Helper {
  const { helper, hear } = speak(writer(fd))
  receive(fd, hear)
  return helper
}

/** The protocol alone: what is sent, and what becomes of each line that is heard. */
export function speak(send: Send): { readonly helper: Helper; hear(line: string): void } {
  const answers: Answer[] = []
  const exits = new Map<number, (exit: Exit) => void>()
  const early = new Map<number, Exit>()
  const open = new Map<number, { readonly task: Task; readonly done: Done }>()
  let serveTask: ((connection: Connection) => Task) | null = null
  let clockOffsetMs: number | null = null
  let news: PortNews | null = null

  const ended = (pid: number, exit: Exit): void => {
    const tell = exits.get(pid)
    exits.delete(pid)
    if (tell === undefined) early.set(pid, exit)
    else tell(exit)
  }
  const exitOf = (pid: number): Promise<Exit> =>
    new Promise((resolve) => {
      const over = early.get(pid)
      early.delete(pid)
      if (over === undefined) exits.set(pid, resolve)
      else resolve(over)
    })
  const control = (id: number, text: string): void => {
    if (!open.has(id) && serveTask !== null) {
      const done = streamEnds()
      open.set(id, { task: serveTask(connection(id, done)), done })
    }
    open.get(id)?.task.take(text)
  }
  const lost = (id: number): void => {
    const known = open.get(id)
    if (known === undefined) send(`forget ${id}\n`)
    else known.task.lost()
  }
  const became = ([offset, ...files]: readonly string[]): void => {
    clockOffsetMs = offset === '-' ? null : Number(offset)
    news?.became(files)
  }
  const hear = (line: string): void => {
    const words = line.split(' ', 4)
    const [kind, first, second, third] = words
    if (kind === 'port') news?.line(line.slice(5))
    else if (kind === 'became') became(line.split(' ').slice(1))
    else if (kind === 'control') control(Number(first), line.slice(line.indexOf(' ', 8) + 1))
    else if (kind === 'lost') lost(Number(first))
    else if (kind === 'done' && second !== undefined) open.get(Number(first))?.done.tell(Number(second))
    else if (kind === 'exited') ended(Number(first), { code: orNull(second), signal: orNull(third) })
    else answers.shift()?.(line.split(' '))
  }
  const ask = (...command: readonly (string | Uint8Array)[]): Promise<readonly string[]> =>
    new Promise((resolve, reject) => {
      answers.push((words) => {
        if (words[0] === 'failed') reject(new StartError(words[1] ?? '?', errnoText(Number(words[2]))))
        else resolve(words)
      })
      send(...command)
    })
  const connection = (id: number, done: Done): Connection => {
    const gone = (verb: string): void => {
      open.delete(id)
      done.tellAll()
      send(`${verb} ${id}\n`)
    }
    return {
      say: (message) => send(`say ${id} ${JSON.stringify(message)}\n`),
      async start({ spec, tty, stdin, stdout, stderr }) {
        const files = [stdin, stdout, stderr].map((file) => (typeof file === 'object' ? file.path : file)).join(' ')
        const [, process_, job, directory] = await ask(`start ${tty ? 'tty' : 'exec'} ${id} ${files} ${spec.length}\n`, spec)
        const pid = Number(process_)
        return { pid, job: Number(job), directory: Number(directory), exit: exitOf(pid) }
      },
      stop: (stream) => send(`stop ${id} ${stream}\n`),
      cut: (stream) => send(`cut ${id} ${stream}\n`),
      end: (stream) => send(`end ${id} ${stream}\n`),
      done: (stream) => done.of(stream),
      close: () => gone('close'),
      forget: () => gone('forget'),
    }
  }
  const helper: Helper = {
    async serve(path, task) {
      serveTask = task
      await ask(`tasks ${path}\n`)
    },
    resize: async (of, rows, cols) => void (await ask(`resize ${of} ${rows} ${cols}\n`)),
    get clockOffsetMs() {
      return clockOffsetMs
    },
    async port({ path, etc, ssh, kernel, sshd, sshPort }, on) {
      news = on
      await ask(`port ${path} ${etc} ${ssh} ${kernel ?? '-'} ${sshd} ${sshPort ?? 0}\n`)
    },
    hello: (message) => send(`hello ${JSON.stringify(message)}\n`),
    tell: (message) => send(`tell ${JSON.stringify(message)}\n`),
    async setClock(offsetMs) {
      await ask(`clock ${Math.round(offsetMs)}\n`)
      clockOffsetMs = offsetMs
    },
    strangers: async (sshd, kill) => (await ask(`${kill ? 'kill' : 'strangers'} ${sshd}\n`)).slice(1),
    removeIpc: async () => void (await ask('ipc\n')),
    unmount: async (path) => void (await ask(`unmount ${path}\n`)),
    empty: async (folders) => void (await ask(`empty ${folders.map((folder) => folder.toString('hex')).join(' ')}\n`)),
    walk: async (folders, skipped) => pairsOf((await ask(`walk ${[...folders.map(hexOf), '-', ...skipped.map(hexOf)].join(' ')}\n`))[1] ?? ''),
    dropKeys: async (uid) => void (await ask(`dropkeys ${uid}\n`)),
  }
  return { helper, hear }
}

interface Done {
  of(stream: number): Promise<void>
  tell(stream: number): void
  /** The connection is closed: nothing is left to wait for. */
  tellAll(): void
}

/** The ends of a connection's streams, whether they are asked for before or after they come. */
function streamEnds(): Done {
  const told = new Set<number>()
  const waiting = new Map<number, () => void>()
  let closed = false
  return {
    of: (stream) => (closed || told.has(stream) ? Promise.resolve() : new Promise((resolve) => void waiting.set(stream, resolve))),
    tell(stream) {
      told.add(stream)
      waiting.get(stream)?.()
    },
    tellAll() {
      closed = true
      for (const resolve of waiting.values()) resolve()
    },
  }
}

/** Lines as they come. */
function receive(fd: number, onLine: (line: string) => void): void {
  const cutter = lineCutter((line) => (onLine(line), true), Number.POSITIVE_INFINITY)
  const buffer = Buffer.allocUnsafeSlow(64 * 1024)
  const more = (): void =>
    read(fd, buffer, 0, buffer.length, null, (error, got) => {
      if (error?.code === 'EINTR') return more()
      if (error !== null || got === 0) process.exit(1)
      cutter.push(buffer.subarray(0, got))
      more()
    })
  more()
}

/** What surely fits into the socket is written at once; the rest in a thread, since the helper may be writing to us just then. */
const atOnceBytesMax = 8 * 1024

function writer(fd: number): Send {
  const waiting: Buffer[] = []
  const next = (): void => {
    const first = waiting[0]
    if (first === undefined) return
    write(fd, first, 0, first.length, null, (error, wrote) => {
      if (error !== null && error.code !== 'EINTR') process.exit(1)
      if (wrote >= first.length) waiting.shift()
      else waiting[0] = first.subarray(wrote)
      next()
    })
  }
  return (...parts) => {
    const bytes = Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
    const wrote = waiting.length === 0 && bytes.length <= atOnceBytesMax ? writeSync(fd, bytes) : 0
    if (wrote < bytes.length) waiting.push(bytes.subarray(wrote))
    if (wrote < bytes.length && waiting.length === 1) next()
  }
}

const hexOf = (path: string): string => Buffer.from(path, 'latin1').toString('hex')

/** Paths and their states, each with a zero byte behind it. */
function pairsOf(hex: string): ReadonlyMap<string, string> {
  const words = Buffer.from(hex, 'hex').toString('latin1').split('\0')
  return new Map(words.flatMap((path, at) => (at % 2 === 0 && at + 1 < words.length ? [[path, words[at + 1] ?? '']] : [])))
}

const orNull = (value: string | undefined): number | null => (value === undefined || Number(value) < 0 ? null : Number(value))

/** Errors by number, as far as a start can meet them; the number says the rest. */
function errnoText(errno: number): string {
  const known: Record<number, string> = {
    1: 'operation not permitted', 2: 'no such file or directory', 11: 'resource temporarily unavailable', 12: 'out of memory',
    13: 'permission denied', 20: 'not a directory', 22: 'invalid argument', 24: 'too many open files', 74: 'malformed description',
  }
  return known[errno] ?? `error ${errno}`
}
