/**
 * The real agent with the real helper, on this host instead of in a guest: namespaces of its own for processes, mounts, names, IPC and
 * network, and every path moved to a temporary folder. The virtio port is a socket pair.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { rmdirSync, existsSync, readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe } from 'vitest'
import { run } from '../../kit/command.ts'
import { Undo } from '../../kit/undo.ts'
import { until } from '../../kit/until.ts'
import { fromAgentSchema, fromPortSchema, runTaskSchema, type FromAgent, type FromPort, type RunTask } from '../../wire/guest.ts'
import { stream } from '../../wire/frames.ts'
import { JobStream, type Receiver, type Sender } from '../../wire/job-stream.ts'
import { folderOfRun } from '../harness/temp.ts'
import type { Settings } from '../../vwn-agent/settings.ts'

const root = join(import.meta.dirname, '../..')
/** A cgroup2 file system that this machine lets us use. */
const cgroupRoot = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'].find((path) => existsSync(join(path, 'cgroup.procs')))

/** Why the agent cannot be tried here; null where it can. */
export const missingPower: string | null =
  process.getuid?.() !== 0 ? 'needs root' : cgroupRoot === undefined ? 'needs a cgroup2 file system' : null

/** The two programs under test, built from source. */
export interface Programs extends AsyncDisposable {
  readonly helper: string
  readonly agent: string
}

export async function buildPrograms(): Promise<Programs> {
  const folder = await mkdtemp(folderOfRun('programs'))
  const programs = { helper: join(folder, 'wnod-guest'), agent: join(folder, 'agent.cjs') }
  await run('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-static', '-o', programs.helper, join(root, 'vwn-agent/guest.c')], { timeoutMs: 60_000 })
  await build({ entryPoints: [join(root, 'vwn-agent/main.ts')], outfile: programs.agent, bundle: true, platform: 'node', format: 'cjs', target: 'node18' })
  await run('chmod', ['755', folder], { timeoutMs: 10_000 })
  return { ...programs, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) }
}

export interface Ended {
  readonly started: boolean
  readonly failed: Extract<FromAgent, { kind: 'failed' }> | null
  readonly exited: Extract<FromAgent, { kind: 'exited' }> | null
  readonly stdout: Buffer
  readonly stderr: Buffer
  readonly collect: Buffer
}

/** One task on its own connection. */
export interface Task {
  readonly via: JobStream
  readonly said: readonly FromAgent[]
  /** Bytes of output so far. */
  readonly received: number
  readonly stdin: Sender
  readonly stage: Sender
  text(id: keyof typeof stream): string
  bytes(id: keyof typeof stream): Buffer
  signal(name: string): void
  receiver(id: 'stdout' | 'stderr'): Receiver
  heard<K extends FromAgent['kind']>(kind: K): Promise<Extract<FromAgent, { kind: K }>>
  /** Resolves when the agent has nothing more to say. */
  readonly over: Promise<Ended>
}

export type Wish = Partial<Omit<RunTask['run'], 'argv' | 'env' | 'cwd'>> & {
  readonly argv: readonly (string | Buffer)[]
  readonly env?: readonly (string | Buffer)[]
  readonly cwd?: string | null
  readonly uid?: number
  readonly user?: string
  readonly groups?: readonly { readonly gid: number; readonly name: string }[]
  readonly memoryBytes?: number
  readonly mounts?: RunTask['mounts']
  /** Streams that nobody opens: the agent may not send. */
  readonly closed?: readonly (keyof typeof stream)[]
  /** There is room for more of stdin. */
  readonly onRoom?: () => void
  /** Count the output, and forget it. */
  readonly forget?: boolean
}

export interface AgentUnderTest extends AsyncDisposable {
  readonly folder: string
  readonly settings: Settings
  readonly process: ChildProcess
  readonly port: Duplex
  readonly heard: readonly FromPort[]
  send(message: object | string): void
  identify(epoch?: number): Promise<void>
  task(message: object): Promise<Task>
  run(wish: Wish): Promise<Task>
  clean(): Promise<Extract<FromAgent, { kind: 'cleaned' }>>
}

/** What the tests of a suite share. */
export interface AgentSuite {
  readonly programs: Programs
  readonly agent: AgentUnderTest
}

/** A suite with one agent that knows who it is; where none can be tried it is skipped, and its name says why. */
export function describeAgent(name: string, timeout: number, tests: (suite: AgentSuite) => void): void {
  describe.skipIf(missingPower !== null)(`${name}${missingPower === null ? '' : ` (${missingPower})`}`, { timeout }, () => {
    const undo = new Undo()
    let suite: AgentSuite | null = null
    const made = (): AgentSuite => {
      if (suite === null) throw new Error('the agent is started before the first test')
      return suite
    }
    beforeAll(async () => {
      const programs = await buildPrograms()
      undo.push('programs', () => programs[Symbol.asyncDispose]())
      const agent = await startAgent(programs)
      undo.push('agent', () => agent[Symbol.asyncDispose]())
      await agent.identify()
      suite = { programs, agent }
    }, timeout)
    afterAll(() => undo[Symbol.asyncDispose](), timeout)
    tests({
      get programs() {
        return made().programs
      },
      get agent() {
        return made().agent
      },
    })
  })
}

let jobs = 0

export async function startAgent(programs: Programs, changes: Partial<Settings> = {}): Promise<AgentUnderTest> {
  const folder = await mkdtemp(folderOfRun('agent'))
  const cgroups = join(cgroupRoot ?? '', folder.slice(folder.lastIndexOf('/') + 1))
  const settings: Settings = {
    port: 'fd:4', socket: join(folder, 'run/agent.sock'), etc: join(folder, 'etc'), kernel: null, cgroups,
    homes: join(folder, 'home'), scratch: ['tmp', 'home'].map((name) => join(folder, name)).concat('/var/tmp', '/dev/shm'),
    upper: join(folder, 'upper'), bare: [join(folder, 'run')], scriptRoots: ['/var/spool', join(folder, 'srv')], sshPort: null, sshd: '/usr/sbin/sshd', ...changes,
  }
  for (const name of ['etc', 'home', 'tmp', 'upper', 'srv']) await mkdir(join(folder, name))
  await run('chmod', ['755', folder], { timeoutMs: 10_000 })
  await mkdir(cgroups)
  await writeFile(join(folder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\ngames:x:5:60:games:/usr/games:/usr/sbin/nologin\n')
  await writeFile(join(folder, 'etc/group'), 'root:x:0:\nusers:x:100:\n')
  const script = 'mount -t tmpfs tmp /var/tmp && mount -t tmpfs shm /dev/shm && mount -t tmpfs spool /var/spool && mount -t tmpfs scratch "$1/tmp" && chmod 1777 "$1/tmp" && shift && exec "$@"'
  const child = spawn('unshare', ['-m', '-p', '-f', '--mount-proc', '-u', '-i', '-n', 'sh', '-c', script, 'sh', folder, programs.helper, 'serve', process.execPath, programs.agent], {
    stdio: ['ignore', 'inherit', 'pipe', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], WNOD_AGENT: JSON.stringify(settings) },
  })
  // unshare has words of its own about being killed
  child.stderr?.on('data', (words: Buffer) => /^(unshare: |sigprocmask)/.test(words.toString()) || process.stderr.write(words))
  const port = child.stdio[4] as Duplex
  const heard: FromPort[] = []
  let rest = ''
  port.on('error', () => {}) // the agent is killed at the end
  port.on('data', (chunk: Buffer) => {
    const lines = (rest + chunk.toString('utf8')).split('\n')
    rest = lines.pop() ?? ''
    heard.push(...lines.map((line) => fromPortSchema.parse(JSON.parse(line))))
  })
  const send = (message: object | string): void => void port.write(typeof message === 'string' ? message : `${JSON.stringify(message)}\n`)
  const identify = async (epoch = 1): Promise<void> => {
    send(identity(epoch))
    await until(() => heard.some((message) => message.kind === 'ready' && message.token.epoch === epoch), { withinMs: 20_000, what: 'ready' })
  }
  const task = async (message: object, wish: Pick<Wish, 'closed' | 'onRoom' | 'forget'> = {}): Promise<Task> => {
    const duplex = connect(settings.socket)
    await once(duplex, 'connect')
    return taskOver(duplex, message, wish)
  }
  return {
    folder, settings, process: child, port, heard, send, identify, task,
    run: (wish) => task(runMessage(wish), wish),
    clean: async () => (await task({ kind: 'clean', v: 1 })).heard('cleaned'),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) {
        const exit = once(child, 'exit')
        for (const pid of await childrenOf(child.pid ?? 0)) process.kill(pid, 'SIGKILL') // process 1 of the namespace, and so all of it
        await exit
      }
      await until(() => removed(cgroups), { withinMs: 10_000, what: 'cgroups of the agent gone' })
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function childrenOf(parent: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${parent}/task/${parent}/children`, 'latin1').catch(() => '')
  return text.split(' ').filter((pid) => pid !== '').map(Number)
}

function removed(path: string): boolean {
  if (!existsSync(path)) return true
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removed(join(path, entry.name))
  rmdirSync(path)
  return !existsSync(path)
}

export const identity = (epoch: number): object => ({
  kind: 'identity', v: 1, vwn: 'v1', token: { term: 1, epoch }, hostname: `h1-v${epoch}`, machineId: '0123456789abcdef'.repeat(2),
  hostKey: 'KEY\n', authorizedKey: 'ssh-ed25519 AAAA wnod', nowMs: 1_800_000_000_000, entropy: Buffer.alloc(32, 7).toString('base64'),
})

const base64 = (value: string | Buffer): string => Buffer.from(value).toString('base64')

export function runMessage(wish: Wish): RunTask {
  const { argv, env = ['PATH=/usr/local/bin:/usr/bin:/bin'], cwd = null, uid = 4242, user = 'ada', groups = [], memoryBytes, mounts = [], closed: _closed, onRoom: _onRoom, forget: _forget, ...rest } = wish
  return runTaskSchema.parse({
    kind: 'run', v: 1, job: `h1-${(jobs += 1)}`, trace: null, memoryBytes: memoryBytes ?? null, mounts,
    identity: { user, uid, gid: uid, group: user, groups },
    run: {
      argv: argv.map(base64), env: env.map(base64), cwd: cwd === null ? null : base64(cwd), umask: 0o022, limits: [], nice: 0, ignored: [],
      stdin: 'null', stdout: 'stream', stderr: 'stream', tty: null, stage: false, ...rest,
    },
  })
}

/** Gives the agent at the other end its task. */
export function taskOver(duplex: Duplex, message: object, { closed = [], forget = false, onRoom = () => {} }: Pick<Wish, 'closed' | 'onRoom' | 'forget'> = {}): Task {
  const said: FromAgent[] = []
  const pieces = new Map<number, Buffer[]>()
  let received = 0
  const receivers = new Map<string, Receiver>()
  let close: () => void = () => {}
  const gone = new Promise<void>((resolve) => (close = resolve))
  const via = new JobStream(duplex, { onControl: (raw) => void said.push(fromAgentSchema.parse(raw)), onClose: () => close() })
  for (const name of ['stdout', 'stderr', 'collect'] as const) {
    const kept: Buffer[] = []
    pieces.set(stream[name], kept)
    if (closed.includes(name)) continue
    receivers.set(name, via.incoming(stream[name], {
      write(chunk, done) {
        received += chunk.length
        if (!forget) kept.push(Buffer.from(chunk))
        done()
      },
      end: () => {},
    }))
  }
  via.control(message)
  const bytes = (id: keyof typeof stream): Buffer => Buffer.concat(pieces.get(stream[id]) ?? [])
  const find = <K extends FromAgent['kind']>(kind: K) => said.find((one): one is Extract<FromAgent, { kind: K }> => one.kind === kind)
  return {
    via, said, bytes,
    get received() {
      return received
    },
    stdin: via.outgoing(stream.stdin, { onRoom }),
    stage: via.outgoing(stream.stage),
    text: (id) => bytes(id).toString('utf8'),
    signal: (name) => via.control({ kind: 'signal', signal: name }),
    receiver(name) {
      const receiver = receivers.get(name)
      if (receiver === undefined) throw new Error(`${name} is not open`)
      return receiver
    },
    heard: (kind) => until(() => find(kind), { withinMs: 20_000, what: `${kind} of the agent` }) as Promise<never>,
    over: gone.then(() => ({
      started: find('started') !== undefined, failed: find('failed') ?? null, exited: find('exited') ?? null,
      stdout: bytes('stdout'), stderr: bytes('stderr'), collect: bytes('collect'),
    })),
  }
}
