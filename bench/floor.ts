/** The floors: the bare parts doing the same work, without any program of ours on the host. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { connectGuest } from '../bait/ssh/session.ts'
import type { GuestSession } from '../bait/contracts.ts'
import { run } from '../kit/command.ts'
import { commandLine } from '../kit/process.ts'
import { freePort } from '../kit/socket.ts'
import { until } from '../kit/until.ts'
import type { Home } from '../kit/paths.ts'
import { jobId } from '../core/ids.ts'
import { stream } from '../wire/frames.ts'
import { guestVersion, type FromAgent, type RunTask } from '../wire/guest.ts'
import { JobStream } from '../wire/job-stream.ts'
import { feed } from './farm.ts'

const helloMs = 120_000

/**
 * Bare QEMU from spawn to the agent's hello: the very command line of one of the farm's own VMs, with other sockets, another port and
 * a new scratch overlay, which is made before the clock starts.
 */
export async function bareBoot(args: readonly string[], folder: string): Promise<number> {
  const own = mkdtempSync(join(tmpdir(), 'wnod-floor-'))
  const backing = z.object({ 'backing-filename': z.string() }).parse(JSON.parse((await run('qemu-img', ['info', '-U', '--output=json', join(folder, 'scratch.qcow2')], { timeoutMs: 10_000 })).stdout))
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', backing['backing-filename'], join(own, 'scratch.qcow2')], { timeoutMs: 10_000 })
  const port = await freePort()
  const [file = '', ...rest] = args.filter((arg) => arg !== '-S').map((arg) => arg.replaceAll(folder, own).replace(/hostfwd=tcp:127\.0\.0\.1:\d+/, `hostfwd=tcp:127.0.0.1:${port}`))
  const startedMs = performance.now()
  const child = spawn(file, rest, { stdio: 'ignore' })
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  try {
    await hello(join(own, 'agent.sock'))
    return performance.now() - startedMs
  } finally {
    child.kill('SIGKILL')
    await gone
    rmSync(own, { recursive: true, force: true })
  }
}

/** Resolves at the agent's first word; QEMU makes its socket a moment after it was spawned. */
function hello(socketPath: string): Promise<boolean> {
  const said = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(socketPath)
      socket.once('error', () => resolve(false))
      socket.once('close', () => resolve(false))
      socket.on('data', (chunk: Buffer) => {
        if (!chunk.includes('"hello"')) return
        resolve(true)
        socket.destroy()
      })
    })
  return until(said, { withinMs: helloMs, everyMs: 2, what: 'the bare guest says hello' })
}

const handleSchema = z.object({
  stage: z.string(), sshPort: z.number().nullable(), spec: z.object({ type: z.string() }),
  hostKey: z.object({ shared: z.string() }).nullable(), clientKey: z.object({ secret: z.string() }).nullable(),
  vm: z.object({ pid: z.number() }).nullable(),
})

/** A VM of the farm, as its record describes it. */
export interface KnownVm {
  readonly folder: string
  readonly args: readonly string[]
  /** Logs in with the VWN's own keys: a second connection, beside the bait's. */
  connect(): Promise<GuestSession>
}

/** The farm's VM behind this VWN. */
export function knownVm(home: Home, vwn: string): KnownVm {
  const paths = home.host('h1').vm(vwn)
  const handle = handleSchema.parse(JSON.parse(readFileSync(paths.handle, 'utf8')))
  return {
    folder: paths.folder,
    args: commandLine(handle.vm?.pid ?? 0) ?? [],
    connect: () =>
      connectGuest(
        { host: '127.0.0.1', port: handle.sshPort ?? 0, hostKey: handle.hostKey?.shared ?? '', clientKey: handle.clientKey?.secret ?? '' },
        AbortSignal.timeout(helloMs),
      ),
  }
}

const bytes = (text: string): string => Buffer.from(text).toString('base64')
let tasks = 0

/** A bare stream to the agent's socket running `argv`: milliseconds to the first byte of its output. The guest is scrubbed afterwards. */
export async function bareStream(session: GuestSession, argv: readonly string[]): Promise<number> {
  tasks += 1
  const task: RunTask = {
    kind: 'run', v: guestVersion, job: jobId(`floor-${tasks}`),
    identity: { user: 'root', uid: 0, gid: 0, group: 'root', groups: [] },
    run: {
      argv: argv.map(bytes), env: [bytes('PATH=/usr/bin:/bin')], cwd: null, umask: 0o022, limits: [], nice: 0, ignored: [],
      stdin: 'null', stdout: 'stream', stderr: 'stream', tty: null, stage: false,
    },
    memoryBytes: null,
  }
  const startedMs = performance.now()
  const firstMs = await converse(session, task, startedMs)
  await converse(session, { kind: 'clean', v: guestVersion }, startedMs)
  return firstMs
}

async function converse(session: GuestSession, task: RunTask | { kind: 'clean'; v: typeof guestVersion }, startedMs: number): Promise<number> {
  const duplex = await session.openAgent()
  return new Promise((resolve, reject) => {
    let firstMs = Number.NaN
    let open = 2
    let over = task.kind === 'clean'
    const settle = (): void => {
      if (!over || (task.kind === 'run' && open > 0)) return
      resolve(firstMs)
      connection.end()
    }
    const connection = new JobStream(duplex, {
      onControl(message) {
        const { kind } = message as FromAgent
        if (kind === 'failed') reject(new Error(JSON.stringify(message)))
        if (kind !== 'exited' && kind !== 'cleaned') return
        over = true
        settle()
      },
      onClose: (error) => reject(error ?? new Error('the agent closed the stream')),
    })
    connection.control(task)
    if (task.kind === 'clean') return
    for (const id of [stream.stdout, stream.stderr]) {
      connection.incoming(id, {
        write(_chunk, done) {
          if (Number.isNaN(firstMs)) firstMs = performance.now() - startedMs
          done()
        },
        end() {
          open -= 1
          settle()
        },
      })
    }
  })
}

/** Bytes through a bare `exec` channel: milliseconds until the last of them. */
export async function bareChannel(session: GuestSession, command: string, feedBytes: number): Promise<number> {
  const startedMs = performance.now()
  const channel = await session.exec(command)
  channel.resume()
  channel.stderr.resume()
  feed(channel, feedBytes)
  await new Promise<void>((resolve) => channel.once('close', () => resolve()))
  return performance.now() - startedMs
}
