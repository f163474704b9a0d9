/**
 * The scripted hypervisor: no process, but real sockets where a VM's would be, and behind them a guest that says what it is told
 * to. Its VMs live in the object, so that they outlive a bait that is stopped and started in one test. A guest's memory and scratch
 * disk are one word each, which a template's files keep as a real driver's would.
 */
import { unlinkSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { z } from 'zod'
import { VwnError } from '../../core/errors.ts'
import type { Clock, Timer } from '../../kit/clock.ts'
import { listenUnix } from '../../kit/socket.ts'
import { guestVersion, toPortSchema, type FromPort } from '../../wire/guest.ts'
import { LineCutter } from '../lines.ts'
import type { FileMemorySpec, Fingerprint, Hypervisor, Vm, VmExit, VmHandle, VmSpec } from './hypervisor.ts'
import { checkMemoryFile, makeMemoryFile, readState, syncTemplate, writeState } from './template-files.ts'

export interface FakeScript {
  readonly clock: Clock
  /** From start to the guest's hello. */
  readonly bootMs?: number
  /** What goes wrong, with every VM or with the first `failTimes` of them. */
  readonly failAt?: 'fingerprint' | 'spawn' | 'port taken' | 'hello' | 'ready' | 'save' | 'restore' | null
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
  state: 'blank' | 'paused' | 'running' | 'ended'
  /** What is in its guest, to be written and read by a test. */
  readonly words: Words
  /** How long its guest has run. */
  ranMs(): number
  /** How far its guest's clock is behind: as long as it stood still since somebody set it. */
  lateMs(): number
  /** It was asked to end, rather than ended. */
  asked: boolean
}

export interface Words {
  memory: string
  scratch: string
}

export interface FakeHypervisor extends Hypervisor {
  /** Every VM there ever was, in order. */
  readonly vms: readonly FakeVm[]
  /** The VM of this name ends by itself, as after a panic of its guest. */
  crash(name: string): Promise<void>
  /** From now on nobody in the VM of this name answers, as if its process were stopped; it can be killed. */
  freeze(name: string): void
}

interface Life extends FakeVm {
  readonly exit: Promise<VmExit>
  end(exit: VmExit): Promise<void>
  run(): void
  pause(): void
  frozen: boolean
}

/** Above the largest pid of Linux: never mistaken for a process. */
const firstPid = 5_000_000

const stateSchema = z.strictObject({ scratch: z.string() })
const killed: VmExit = { code: null, signal: 'SIGKILL', said: '' }

/** A hypervisor that does as the script says. */
export function fake(script: FakeScript): FakeHypervisor {
  const lives: Life[] = []
  let failuresLeft = script.failTimes ?? Number.POSITIVE_INFINITY
  const failsAt = (step: NonNullable<FakeScript['failAt']>): boolean => script.failAt === step && failuresLeft-- > 0
  const find = (handle: VmHandle): Life | undefined =>
    lives.find((life) => life.state !== 'ended' && life.handle.pid === handle.pid && life.handle.startTicks === handle.startTicks && life.handle.name === handle.name)
  const boot = async (spec: VmSpec, signal: AbortSignal, state: 'paused' | 'blank'): Promise<Life> => {
    if (signal.aborted) throw new VwnError('CANCELLED', { vm: spec.name }, { cause: signal.reason })
    if (failsAt('spawn')) throw new VwnError('HYPERVISOR_FAILED', { vm: spec.name, said: 'as scripted' })
    if (failsAt('port taken')) throw new VwnError('PORT_IN_USE', { port: spec.sshPort })
    const pid = firstPid + lives.length
    const handle: VmHandle = { driver: 'fake', name: spec.name, pid, startTicks: lives.length + 1, control: spec.sockets.control }
    const life = await begin(spec, handle, script, { mute: failsAt('hello'), neverReady: failsAt('ready'), state })
    lives.push(life)
    if (!signal.aborted) return life
    await life.end(killed)
    throw new VwnError('CANCELLED', { vm: spec.name }, { cause: signal.reason })
  }

  return {
    name: 'fake',
    vms: lives,
    fingerprint: () => Promise.resolve(fingerprint(script)),
    boot: async (spec, signal) => vmOf(await boot(spec, signal, 'paused')),
    async bootTemplate(spec, signal) {
      await makeMemoryFile(spec)
      try {
        const life = await boot(spec, signal, 'paused')
        return { ...vmOf(life), saveState: (file, stop) => saveState({ spec, life, fails: failsAt('save') }, file, stop) }
      } catch (error) {
        await rm(spec.memoryFile, { force: true })
        throw error
      }
    },
    async blank(spec, signal) {
      await checkMemoryFile(spec)
      const life = await boot(spec, signal, 'blank')
      const { handle, exit, kill, release } = vmOf(life)
      return { handle, exit, kill, release, restore: (file, stop) => restore({ spec, life, fails: failsAt('restore') }, file, stop) }
    },
    async recover(handle) {
      const life = find(handle)
      if (life?.state === 'blank') throw new VwnError('HYPERVISOR_REFUSED', { vm: handle.name, why: 'it has no whole guest' })
      return Promise.resolve(life === undefined ? null : vmOf(life))
    },
    find: (prefix) => Promise.resolve(lives.filter((life) => life.state !== 'ended' && life.handle.name.startsWith(prefix)).map(({ handle }) => handle)),
    destroy: async (handle) => find(handle)?.end(killed),
    crash: async (name) => lives.findLast((life) => life.handle.name === name)?.end({ code: 1, signal: null, said: 'crashed as told' }),
    freeze(name) {
      const life = lives.findLast(({ handle }) => handle.name === name)
      if (life !== undefined) life.frozen = true
    },
  }
}

const fingerprint = (script: FakeScript): Fingerprint => {
  const healthy = script.failAt !== 'fingerprint'
  return { healthy, version: healthy ? '1.0' : null, why: healthy ? 'scripted' : 'scripted to be missing', can: { pause: true, clone: true } }
}

function vmOf(life: Life): Vm {
  return {
    handle: life.handle,
    exit: life.exit,
    start: () => told(life, () => life.run()),
    pause: () => told(life, () => life.pause()),
    resume: () => told(life, () => life.run()),
    shutdown: () => told(life, () => {
      life.asked = true
      return life.end({ code: 0, signal: null, said: '' })
    }),
    kill: () => life.end(killed),
    used: () => Promise.resolve(life.state === 'ended' ? null : { cpuMs: Math.round(life.ranMs()), memoryBytes: life.spec.memoryMib * 1024 ** 2, readBytes: life.words.scratch.length, writtenBytes: null }),
    release: () => undefined,
  }
}

const told = async (life: Life, act: () => void | Promise<void>): Promise<void> => (life.frozen ? new Promise(() => undefined) : act())

interface Passing {
  readonly spec: FileMemorySpec
  readonly life: Life
  readonly fails: boolean
}

/** Memory in its file, the rest in the state's, as real ones do it. */
async function saveState({ spec, life, fails }: Passing, file: string, signal: AbortSignal): Promise<void> {
  try {
    life.pause()
    await writeMemory(spec.memoryFile, life.words.memory)
    checkPassage(life, signal)
    if (fails) throw new VwnError('TEMPLATE_NOT_SAVED', { vm: spec.name, why: 'as scripted' })
    await life.end(killed)
    await syncTemplate(spec)
    await writeState(file, spec, Buffer.from(JSON.stringify({ scratch: life.words.scratch })))
  } catch (error) {
    await life.end(killed)
    await rm(spec.memoryFile, { force: true })
    throw error
  }
}

async function restore({ spec, life, fails }: Passing, file: string, signal: AbortSignal): Promise<Vm> {
  try {
    const state = await readState(file, spec)
    await checkMemoryFile(spec)
    const memory = await readMemory(spec.memoryFile)
    checkPassage(life, signal)
    const scratch = fails ? null : readScratch(state)
    if (scratch === null) throw new VwnError('TEMPLATE_REFUSED', { vm: spec.name, said: fails ? 'as scripted' : 'this is no state' })
    Object.assign(life.words, { memory, scratch })
    life.state = 'paused'
    return vmOf(life)
  } catch (error) {
    await life.end(killed)
    throw error
  }
}

function checkPassage(life: Life, signal: AbortSignal): void {
  if (life.state === 'ended') throw new VwnError('VWN_DIED', { vm: life.handle.name })
  if (signal.aborted) throw new VwnError('CANCELLED', { vm: life.handle.name }, { cause: signal.reason })
}

function readScratch(state: Uint8Array): string | null {
  try {
    return stateSchema.parse(JSON.parse(Buffer.from(state).toString())).scratch
  } catch {
    return null
  }
}

/** A word, then as much of nothing as before. */
async function writeMemory(path: string, word: string): Promise<void> {
  const file = await open(path, 'r+')
  const bytes = Buffer.from(`${word}\0`)
  await file.write(bytes, 0, bytes.length, 0).finally(() => file.close())
}

async function readMemory(path: string): Promise<string> {
  const file = await open(path, 'r')
  const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(4096), position: 0 }).finally(() => file.close())
  return buffer.toString('utf8', 0, bytesRead).split('\0')[0] ?? ''
}

interface Begin {
  readonly mute: boolean
  readonly neverReady: boolean
  readonly state: 'paused' | 'blank'
}

async function begin(spec: VmSpec, handle: VmHandle, script: FakeScript, { state, ...flaws }: Begin): Promise<Life> {
  const sockets = new Set<Socket>()
  const timers: Timer[] = []
  let ended: (exit: VmExit) => void = () => undefined
  let closing: Promise<void> | null = null
  const exit = new Promise<VmExit>((resolve) => (ended = resolve))
  let lateMs = 0
  let stoodSinceMs: number | null = null
  const agent = scriptedAgent(flaws, () => (lateMs = 0))
  const servers = await Promise.all([
    serve(spec.sockets.control, sockets, () => undefined),
    serve(spec.sockets.port, sockets, agent.talk),
    serve(spec.sockets.console, sockets, (socket) => socket.write(script.console ?? 'fake guest boots\r\n')),
  ])
  const bootMs = state === 'blank' ? 0 : (script.bootMs ?? 5) // a clone's guest has booted already
  let ranMs = 0
  let runsSinceMs: number | null = null
  let begun = false
  const stand = (): void => {
    if (runsSinceMs !== null) ranMs += script.clock.monotonicMs() - runsSinceMs
    runsSinceMs = null
    stoodSinceMs = script.clock.monotonicMs()
    agent.stand()
  }
  const life: Life = {
    spec,
    handle,
    state,
    exit,
    words: { memory: '', scratch: '' },
    frozen: false,
    asked: false,
    lateMs: () => lateMs + (stoodSinceMs === null ? 0 : script.clock.monotonicMs() - stoodSinceMs),
    ranMs: () => ranMs + (runsSinceMs === null ? 0 : script.clock.monotonicMs() - runsSinceMs),
    run() {
      if (life.state !== 'paused') return
      life.state = 'running'
      runsSinceMs = script.clock.monotonicMs()
      lateMs += stoodSinceMs === null ? 0 : runsSinceMs - stoodSinceMs
      stoodSinceMs = null
      agent.go()
      if (begun) return
      begun = true
      if (script.noise !== undefined) agent.say(script.noise)
      timers.push(script.clock.after(bootMs, () => agent.hello()))
      if (script.exit) timers.push(script.clock.after(script.exit.afterMs, () => void life.end({ code: script.exit?.code ?? 0, signal: null, said: '' })))
    },
    pause() {
      if (life.state !== 'running') return
      life.state = 'paused'
      stand()
    },
    end(how) {
      closing ??= (async () => {
        life.state = 'ended'
        stand()
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
function scriptedAgent(flaws: { mute: boolean; neverReady: boolean }, clockSet: () => void) {
  let socket: Socket | null = null
  let greets = false
  let runs = false
  const unsaid: Buffer[] = []
  const say = (bytes: Buffer): void => void (runs ? socket?.write(bytes) : unsaid.push(bytes))
  const send = (message: FromPort): void => say(Buffer.from(`${JSON.stringify(message)}\n`))
  const hello = (): void => {
    greets = true
    if (!flaws.mute) send({ kind: 'hello', v: guestVersion, agent: 'fake', upMs: 1 })
  }
  const take = (line: Buffer): void => {
    const message = toPortSchema.parse(JSON.parse(line.toString()))
    if (message.kind === 'identity' || message.kind === 'wake') clockSet()
    if (message.kind === 'ping' || message.kind === 'wake') send({ kind: 'pong', n: message.n, memoryBytes: 0, jobs: 0 })
    else if (message.kind === 'forget') hello()
    else if (!flaws.neverReady) {
      greets = false
      send({ kind: 'ready', vwn: message.vwn, token: message.token, tookMs: 1 })
    }
  }
  return {
    say,
    hello,
    /** While the guest's processors stand, it neither hears nor says anything. */
    stand(): void {
      runs = false
      socket?.pause()
    },
    go(): void {
      runs = true
      socket?.resume()
      for (const bytes of unsaid.splice(0)) say(bytes)
    },
    talk(connection: Socket): void {
      const cutter = new LineCutter(64 * 1024)
      socket = connection
      if (greets) hello()
      connection.on('data', (chunk) => cutter.push(chunk, take))
      if (!runs) connection.pause()
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
