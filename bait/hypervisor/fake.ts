/**
 * The scripted hypervisor: no process, but real sockets where a VM's would be, and behind them a guest that says what it is told
 * to. Its VMs live in the object, so that they outlive a bait that is stopped and started in one test.
 */
import { unlinkSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { VwnError } from '../../core/errors.ts'
import type { Clock, Timer } from '../../kit/clock.ts'
import { listenUnix } from '../../kit/socket.ts'
import { guestVersion, toPortSchema, type FromPort } from '../../wire/guest.ts'
import { LineCutter } from '../lines.ts'
import type { Fingerprint, Hypervisor, Vm, VmExit, VmHandle, VmSpec } from './hypervisor.ts'

export interface FakeScript {
  readonly clock: Clock
  /** From start to the guest's hello. */
  readonly bootMs?: number
  /** What goes wrong, with every VM or with the first `failTimes` of them. */
  readonly failAt?: 'fingerprint' | 'spawn' | 'port taken' | 'hello' | 'ready' | null
  readonly failTimes?: number
  /** How long a guest lives before it ends by itself; null: until it is ended. */
  readonly exit?: { readonly afterMs: number; readonly code: number } | null
  /** Sent on the port once the guest runs, before anything else. */
  readonly noise?: Buffer
  /** What the guest's console says. */
  readonly console?: string
}

export interface FakeVm {
  readonly spec: VmSpec
  readonly handle: VmHandle
  state: 'paused' | 'running' | 'ended'
}

export interface FakeHypervisor extends Hypervisor {
  /** Every VM there ever was, in order. */
  readonly vms: readonly FakeVm[]
  /** The VM of this name ends by itself, as after a panic of its guest. */
  crash(name: string): Promise<void>
}

interface Life extends FakeVm {
  readonly exit: Promise<VmExit>
  end(exit: VmExit): Promise<void>
  run(): void
}

/** Above the largest pid of Linux: never mistaken for a process. */
const firstPid = 5_000_000

/** A hypervisor that does as the script says. */
export function fake(script: FakeScript): FakeHypervisor {
  const lives: Life[] = []
  let failuresLeft = script.failTimes ?? Number.POSITIVE_INFINITY
  const failsAt = (step: NonNullable<FakeScript['failAt']>): boolean => script.failAt === step && failuresLeft-- > 0
  const find = (handle: VmHandle): Life | undefined =>
    lives.find((life) => life.state !== 'ended' && life.handle.pid === handle.pid && life.handle.startTicks === handle.startTicks && life.handle.name === handle.name)

  return {
    name: 'fake',
    vms: lives,
    fingerprint: () => Promise.resolve(fingerprint(script)),
    async boot(spec, signal) {
      if (signal.aborted) throw new VwnError('CANCELLED', { vm: spec.name }, { cause: signal.reason })
      if (failsAt('spawn')) throw new VwnError('HYPERVISOR_FAILED', { vm: spec.name, said: 'as scripted' })
      if (failsAt('port taken')) throw new VwnError('PORT_IN_USE', { port: spec.sshPort })
      const pid = firstPid + lives.length
      const handle: VmHandle = { driver: 'fake', name: spec.name, pid, startTicks: lives.length + 1, control: spec.sockets.control }
      const life = await begin(spec, handle, script, { mute: failsAt('hello'), neverReady: failsAt('ready') })
      lives.push(life)
      if (!signal.aborted) return vmOf(life)
      await life.end({ code: null, signal: 'SIGKILL', said: '' })
      throw new VwnError('CANCELLED', { vm: spec.name }, { cause: signal.reason })
    },
    recover(handle) {
      const life = find(handle)
      return Promise.resolve(life === undefined ? null : vmOf(life))
    },
    find: (prefix) => Promise.resolve(lives.filter((life) => life.state !== 'ended' && life.handle.name.startsWith(prefix)).map(({ handle }) => handle)),
    destroy: async (handle) => find(handle)?.end({ code: null, signal: 'SIGKILL', said: '' }),
    crash: async (name) => lives.findLast((life) => life.handle.name === name)?.end({ code: 1, signal: null, said: 'crashed as told' }),
  }
}

const fingerprint = (script: FakeScript): Fingerprint => {
  const healthy = script.failAt !== 'fingerprint'
  return { healthy, version: healthy ? '1.0' : null, why: healthy ? 'scripted' : 'scripted to be missing', can: { pause: true } }
}

function vmOf(life: Life): Vm {
  return {
    handle: life.handle,
    exit: life.exit,
    start: () => Promise.resolve(life.run()),
    pause: () => Promise.resolve(),
    resume: () => Promise.resolve(life.run()),
    shutdown: () => life.end({ code: 0, signal: null, said: '' }),
    kill: () => life.end({ code: null, signal: 'SIGKILL', said: '' }),
    release: () => undefined,
  }
}

async function begin(spec: VmSpec, handle: VmHandle, script: FakeScript, flaws: { mute: boolean; neverReady: boolean }): Promise<Life> {
  const sockets = new Set<Socket>()
  const timers: Timer[] = []
  let ended: (exit: VmExit) => void = () => undefined
  let closing: Promise<void> | null = null
  const exit = new Promise<VmExit>((resolve) => (ended = resolve))
  const agent = scriptedAgent(flaws)
  const servers = await Promise.all([
    serve(spec.sockets.control, sockets, () => undefined),
    serve(spec.sockets.port, sockets, agent.talk),
    serve(spec.sockets.console, sockets, (socket) => socket.write(script.console ?? 'fake guest boots\r\n')),
  ])
  const life: Life = {
    spec,
    handle,
    state: 'paused',
    exit,
    run() {
      if (life.state !== 'paused') return
      life.state = 'running'
      if (script.noise !== undefined) agent.say(script.noise)
      timers.push(script.clock.after(script.bootMs ?? 5, () => agent.hello()))
      if (script.exit) timers.push(script.clock.after(script.exit.afterMs, () => void life.end({ code: script.exit?.code ?? 0, signal: null, said: '' })))
    },
    end(how) {
      closing ??= (async () => {
        life.state = 'ended'
        for (const timer of timers) timer.cancel()
        for (const socket of sockets) socket.destroy()
        await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
        for (const path of Object.values(spec.sockets)) tryRemove(path)
        ended(how)
      })()
      return closing
    },
  }
  return life
}

/** An agent as the protocol wants it, except for its flaws. */
function scriptedAgent(flaws: { mute: boolean; neverReady: boolean }) {
  let socket: Socket | null = null
  let greets = false
  const say = (bytes: Buffer): void => void socket?.write(bytes)
  const send = (message: FromPort): void => say(Buffer.from(`${JSON.stringify(message)}\n`))
  const hello = (): void => {
    greets = true
    if (!flaws.mute) send({ kind: 'hello', v: guestVersion, agent: 'fake', upMs: 1 })
  }
  const take = (line: Buffer): void => {
    const message = toPortSchema.parse(JSON.parse(line.toString()))
    if (message.kind === 'ping') send({ kind: 'pong', n: message.n, memoryBytes: 0, jobs: 0 })
    else if (!flaws.neverReady) {
      greets = false
      send({ kind: 'ready', vwn: message.vwn, token: message.token, tookMs: 1 })
    }
  }
  return {
    say,
    hello,
    talk(connection: Socket): void {
      const cutter = new LineCutter(64 * 1024)
      socket = connection
      if (greets) hello()
      connection.on('data', (chunk) => cutter.push(chunk, take))
    },
  }
}

async function serve(path: string, sockets: Set<Socket>, talk: (socket: Socket) => void): Promise<Server> {
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
    talk(socket)
  })
  await listenUnix(server, path, 0o600)
  server.unref()
  return server
}

function tryRemove(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // its folder may be gone already
  }
}
