/**
 * Stands in for a guest: an ssh server in this process whose `direct-streamlocal` channels end at an agent that runs each job as a
 * plain child of ours. Everything between the starter and that agent is real: processes, sockets, ssh.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Readable, type Duplex } from 'node:stream'
import { Server, utils, type Connection, type ServerChannel } from 'ssh2'
import type { GuestAddress } from '../../bait/contracts.ts'
import { newKeyPair } from '../../bait/vwns/keys.ts'
import { stream } from '../../wire/frames.ts'
import type { FromAgent, RunTask, ToAgent } from '../../wire/guest.ts'
import type { Run } from '../../wire/hook.ts'
import { JobStream, sendAll } from '../../wire/job-stream.ts'

export interface FakeGuest extends AsyncDisposable {
  readonly address: GuestAddress
  /** Every task that has come, in order. */
  readonly tasks: readonly ToAgent[]
  /** The tars of working directories, one after the other. */
  staged(): Buffer
  /** Processes that are alive now. */
  readonly alive: () => readonly number[]
  /** Connects to a port of the guest's own that the bait listens on, from this one. */
  dial(port: number, fromPort: number): Promise<Duplex>
  /** Breaks every connection, as a guest does that dies. */
  die(): void
}

export interface FakeGuestOptions {
  /** Says this instead of starting the job. */
  readonly fails?: { readonly step: string; readonly message: string }
  /** Says of every job that its memory ran out. */
  readonly outOfMemory?: true
  /** Says nothing to `run`, ever. */
  readonly silent?: boolean
  /** A host key that is not the one in `address`. */
  readonly impostor?: boolean
}

/** What the guest was told to run first. */
export function toldTo({ tasks: [task] }: Pick<FakeGuest, 'tasks'>): Run {
  if (task?.kind !== 'run') throw new Error('it was told to run nothing')
  return task.run
}

/** A guest that is up. */
export async function fakeGuest(options: FakeGuestOptions = {}): Promise<FakeGuest> {
  const hostKey = newKeyPair()
  const clientKey = newKeyPair()
  const shownKey = options.impostor === true ? newKeyPair() : hostKey
  const tasks: ToAgent[] = []
  const staged: Buffer[] = []
  const children = new Set<ChildProcess>()
  const connections = new Set<Connection>()
  let forwards = 40_000
  const allowed = utils.parseKey(clientKey.shared)
  if (allowed instanceof Error) throw allowed
  const server = new Server({ hostKeys: [shownKey.secret] }, (client) => {
    connections.add(client)
    client.on('error', () => {})
    client.on('close', () => connections.delete(client))
    client.on('authentication', (attempt) => {
      const mine = attempt.method === 'publickey' && attempt.key.data.equals(allowed.getPublicSSH())
      if (mine) attempt.accept()
      else attempt.reject(['publickey'])
    })
    client.on('request', (accept, _refuse, name) => {
      if (name === 'tcpip-forward') accept?.((forwards += 1))
      else accept?.()
    })
    client.on('openssh.streamlocal' as 'request', ((accept: () => ServerChannel) => serve(accept())) as never)
  })
  const serve = (channel: Duplex): void => runAgent(channel, { ...options, staged }, tasks, children)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const killAll = (): void => children.forEach((child) => child.kill('SIGKILL'))
  return {
    address: { host: '127.0.0.1', port, hostKey: hostKey.shared, clientKey: clientKey.secret },
    tasks,
    staged: () => Buffer.concat(staged),
    alive: () => [...children].flatMap((child) => child.pid ?? []),
    dial: (to, fromPort) => new Promise((resolve, reject) => {
      const [client] = connections
      client?.forwardOut('127.0.0.1', to, '127.0.0.1', fromPort, (error, channel) => (error === undefined || error === null ? resolve(channel) : reject(error)))
    }),
    die: () => connections.forEach((client) => (client as unknown as { _sock: Duplex })._sock.destroy()),
    async [Symbol.asyncDispose]() {
      killAll()
      for (const client of connections) client.end()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

function runAgent(channel: Duplex, options: FakeGuestOptions & { readonly staged: Buffer[] }, tasks: ToAgent[], children: Set<ChildProcess>): void {
  let child: ChildProcess | null = null
  const via = new JobStream(channel, {
    onControl: (raw) => {
      const message = raw as ToAgent
      tasks.push(message)
      if (message.kind === 'run' && message.run.stage) stageIn(message)
      else if (message.kind === 'run') child = start(message)
      else if (message.kind === 'signal' && child?.pid !== undefined) kill(child.pid, message.signal)
    },
    onClose: () => {
      if (child?.pid !== undefined) kill(child.pid, 'SIGKILL')
    },
  })
  const say = (message: FromAgent): void => via.control(message)
  /** Keeps what comes, and has nothing to send back. */
  const stageIn = (task: RunTask): void => {
    via.incoming(stream.stage, {
      write: (chunk, done) => {
        options.staged.push(Buffer.from(chunk))
        done()
      },
      end: () => {
        say({ kind: 'staged' })
        sendAll(via, stream.collect, Readable.from([]))
        child = start(task)
      },
    })
  }
  const start = (task: RunTask): ChildProcess | null => {
    if (options.fails !== undefined) say({ kind: 'failed', ...options.fails })
    if (options.fails !== undefined || options.silent === true) return null
    const [file = '', ...args] = task.run.argv.map(text)
    const env = Object.fromEntries(task.run.env.map(text).map((entry) => [entry.slice(0, entry.indexOf('=')), entry.slice(entry.indexOf('=') + 1)]))
    const mode = (of: string): 'pipe' | 'ignore' => (of === 'stream' ? 'pipe' : 'ignore')
    const { stdin, stdout, stderr } = task.run
    const job = spawn(file, args, { env, detached: true, stdio: [mode(stdin), mode(stdout), stderr === 'stdout' ? mode(stdout) : mode(stderr)] })
    children.add(job)
    job.on('error', (error) => say({ kind: 'failed', step: 'exec', message: error.message }))
    job.on('spawn', () => {
      say({ kind: 'started', pid: job.pid ?? 1 })
      if (job.stdout !== null) sendAll(via, stream.stdout, job.stdout)
      if (job.stderr !== null && stderr === 'stream') sendAll(via, stream.stderr, job.stderr)
    })
    const { stdin: input } = job
    if (input !== null) {
      input.on('error', () => receiver.stop())
      const receiver = via.incoming(stream.stdin, {
        write: (chunk, done) => void input.write(chunk, (error) => (error === null || error === undefined ? done() : undefined)),
        end: () => void input.end(),
      })
    }
    job.on('exit', (code, signal) => {
      children.delete(job)
      say({ kind: 'exited', code, signal, outOfMemory: options.outOfMemory === true, usage: { cpuUserMs: 1, cpuSystemMs: 1, memoryPeakBytes: null, readBytes: null, writtenBytes: null } })
    })
    return job
  }
}

const text = (base64: string): string => Buffer.from(base64, 'base64').toString('latin1')

function kill(pid: number, signal: string): void {
  try {
    process.kill(-pid, signal as NodeJS.Signals)
  } catch {
    // it is gone
  }
}
