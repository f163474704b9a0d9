/** The floors: the bare parts doing the same work, without any program of ours on the host. */
import { spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import type { GuestSession } from '../bait/contracts.ts'
import { giveState } from '../bait/hypervisor/qemu-state.ts'
import { openQmp } from '../bait/hypervisor/qmp.ts'
import { systemClock } from '../kit/clock.ts'
import { run } from '../kit/command.ts'
import { freePort } from '../kit/socket.ts'
import { until } from '../kit/until.ts'
import { jobId } from '../core/ids.ts'
import { stream } from '../wire/frames.ts'
import { guestVersion, type FromAgent, type RunTask } from '../wire/guest.ts'
import { JobStream } from '../wire/job-stream.ts'
import { feed } from './farm.ts'

const helloMs = 120_000
/** As bait/vwns/guest.ts: a forwarded port accepts before the guest listens, and asks the guest again only after seconds. */
const silentMs = 300

/**
 * Bare QEMU from spawn to the agent's hello: the very command line of one of the farm's own VMs, with other sockets, another port and
 * a new scratch overlay, which is made before the clock starts.
 */
export async function bareBoot(args: readonly string[], folder: string): Promise<number> {
  return bareVm(args, folder, (at) => says(join(at, 'agent.sock'), '"hello"'))
}

/** A template's folder, and how a guest of it is spoken to. */
export interface KnownTemplate {
  readonly folder: string
  readonly contact: 'agent' | 'ssh'
}

/**
 * The same of a clone: from spawn, over taking in the template's state, to the first answer to one message on the virtio port. A guest
 * without agent finds its seed already there, and answers when its ssh server sends its first byte.
 */
export async function bareRestore(args: readonly string[], folder: string, template: KnownTemplate): Promise<number> {
  const state = readFileSync(join(template.folder, 'state'))
  return bareVm(args, folder, async (at, port) => {
    const qmp = await until(() => openQmp(join(at, 'qmp.sock'), { clock: systemClock }), { withinMs: helloMs, everyMs: 2, what: 'the bare QEMU answers' })
    const ping = template.contact === 'agent' ? says(join(at, 'agent.sock'), '"pong"', `${JSON.stringify({ kind: 'ping', n: 1 })}\n`) : null
    await giveState(qmp, join(at, 'state.sock'), state.subarray(state.indexOf('\n') + 1), AbortSignal.timeout(helloMs))
    await qmp.execute('cont')
    await (ping ?? says({ host: '127.0.0.1', port }, 'SSH-'))
    qmp.close()
  })
}

/** Milliseconds from spawn until `answered` resolves; the VM gets a folder of its own for its sockets and disk. */
async function bareVm(args: readonly string[], folder: string, answered: (at: string, port: number) => Promise<unknown>): Promise<number> {
  const own = mkdtempSync(join(tmpdir(), 'wnod-floor-'))
  const info = await run('qemu-img', ['info', '-U', '--output=json', join(folder, 'scratch.qcow2')], { timeoutMs: 10_000 })
  const backing = backingSchema.parse(JSON.parse(info.stdout))
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', backing['backing-filename-format'], '-b', backing['backing-filename'], join(own, 'scratch.qcow2')], { timeoutMs: 10_000 })
  const seed = join(folder, 'seed.tar')
  if (existsSync(seed)) copyFileSync(seed, join(own, 'seed.tar'))
  const port = await freePort()
  const [file = '', ...rest] = args.filter((arg) => arg !== '-S').map((arg) => arg.replaceAll(folder, own).replace(/hostfwd=tcp:127\.0\.0\.1:\d+/, `hostfwd=tcp:127.0.0.1:${port}`))
  const startedMs = performance.now()
  const child = spawn(file, rest, { stdio: 'ignore' })
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  try {
    await answered(own, port)
    return performance.now() - startedMs
  } finally {
    child.kill('SIGKILL')
    await gone
    rmSync(own, { recursive: true, force: true })
  }
}

const backingSchema = z.object({ 'backing-filename': z.string(), 'backing-filename-format': z.string() })

/** Resolves when this word comes from there, where `asked` was said; whoever does not listen yet, or is silent, is asked again. */
function says(at: string | { host: string; port: number }, word: string, asked = ''): Promise<boolean> {
  const said = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = typeof at === 'string' ? connect(at) : connect(at).setTimeout(silentMs, () => socket.destroy())
      socket.once('connect', () => socket.write(asked))
      socket.once('error', () => resolve(false))
      socket.once('close', () => resolve(false))
      socket.on('data', (chunk: Buffer) => {
        if (!chunk.includes(word)) return
        resolve(true)
        socket.destroy()
      })
    })
  return until(said, { withinMs: helloMs, everyMs: 2, what: `the bare guest says ${word}` })
}

const bytes = (text: string): string => Buffer.from(text).toString('base64')
let tasks = 0

/** A bare stream to the agent's socket running `argv`: milliseconds to the first byte of its output. The guest is scrubbed afterwards. */
export async function bareStream(session: GuestSession, argv: readonly string[]): Promise<number> {
  tasks += 1
  const task: RunTask = {
    kind: 'run', v: guestVersion, job: jobId(`floor-${tasks}`), trace: null,
    identity: { user: 'root', uid: 0, gid: 0, group: 'root', groups: [] },
    run: {
      argv: argv.map(bytes), env: [bytes('PATH=/usr/bin:/bin')], cwd: null, umask: 0o022, limits: [], nice: 0, ignored: [],
      stdin: 'null', stdout: 'stream', stderr: 'stream', tty: null, stage: false, script: null,
    },
    memoryBytes: null, mounts: [], stays: false,
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
