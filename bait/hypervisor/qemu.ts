/**
 * The QEMU driver. A VM is a detached process: it outlives the bait, which after a restart finds it by pid, start ticks and the
 * name in its command line, and talks to it again over QMP. A template or a blank does not: what is half made is thrown away.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:fs'
import { open, readFile, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { z } from 'zod'
import { VwnError, isVwnError } from '../../core/errors.ts'
import type { Clock } from '../../kit/clock.ts'
import { tail, run } from '../../kit/command.ts'
import { commandLine, findProcesses, isAlive, killAndWait, processOf, signalProcess, usageOf, type ProcessRef } from '../../kit/process.ts'
import { tryUnlink } from '../../kit/atomic-file.ts'
import { until } from '../../kit/until.ts'
import type { BlankVm, FileMemorySpec, Fingerprint, Hypervisor, TemplateVm, Vm, VmExit, VmHandle, VmSpec, VmUsage } from './hypervisor.ts'
import { controlInArgs, nameInArgs, qemuArgs } from './qemu-args.ts'
import { giveState, orAborted, takeState } from './qemu-state.ts'
import { openQmp, type Qmp } from './qmp.ts'
import { checkMemoryFile, makeMemoryFile, readState, syncTemplate, writeState } from './template-files.ts'

export interface QemuOptions {
  readonly clock: Clock
  /** The program; looked up in PATH unless it is a path. */
  readonly program?: string
  /** How long QEMU itself may take until it answers on its control socket. */
  readonly spawnMs?: number
  /** How long it may take over saving or restoring a state. */
  readonly stateMs?: number
  /** Where a program that is no path is looked for. */
  readonly path?: string
}

const driver = 'qemu'
/** How often a process that is not our child is looked at, where its control connection did not tell. */
const watchMs = 500
/** How long a QEMU that has lost its command line may take to give back its memory and to be gone. */
const dyingMs = 10_000

/** The driver for this machine's own architecture. */
export function qemu(options: QemuOptions): Hypervisor {
  const { clock, program = 'qemu-system-x86_64', spawnMs = 20_000, stateMs = 30_000, path = process.env['PATH'] ?? '' } = options
  const how = { clock, program, spawnMs, stateMs, path }
  return {
    name: driver,
    fingerprint: askOnce(program, path),
    boot: async (spec, signal) => vmOf(await begin(spec, qemuArgs(spec), how, signal)),
    bootTemplate: (spec, signal) => bootTemplate(spec, how, signal),
    blank: (spec, signal) => blank(spec, how, signal),
    recover: (handle) => recover(handle, clock),
    find: (namePrefix) => Promise.resolve(find(namePrefix)),
    async destroy(handle) {
      if (isOurs(handle)) await insist(handle, clock)
    },
  }
}

/** To ask costs a process, so each file that is the program is asked once; an upgrade puts another file in its place. */
function askOnce(program: string, path: string): () => Promise<Fingerprint> {
  let known: { readonly file: string; readonly answer: Fingerprint } | null = null
  return async () => {
    const file = await programFile(program, path)
    if (file !== null && known?.file === file) return known.answer
    const answer = await fingerprint(program)
    known = file === null || !answer.healthy ? null : { file, answer }
    return answer
  }
}

/** Which file would be started, and how it looks now; null when there is none. */
async function programFile(program: string, path: string): Promise<string | null> {
  const places = program.includes('/') ? [program] : path.split(delimiter).map((folder) => join(folder, program))
  for (const place of places) {
    const found = await stat(place).catch(() => null)
    if (found !== null) return `${place} ${found.dev} ${found.ino} ${found.size} ${found.mtimeMs} ${found.ctimeMs}`
  }
  return null
}

async function fingerprint(program: string): Promise<Fingerprint> {
  const can = { pause: true, clone: true }
  try {
    const { stdout } = await run(program, ['--version'], { timeoutMs: 10_000 })
    const version = /version (\d+\.\d+(?:\.\d+)?)/.exec(stdout)?.[1] ?? null
    return { healthy: version !== null, version, why: stdout.split('\n')[0] ?? '', can }
  } catch (error) {
    const missing = isVwnError(error, 'COMMAND_MISSING')
    return { healthy: false, version: null, why: missing ? `${program} is not installed (package qemu-system-x86)` : `${program} --version failed`, can }
  }
}

/** A process of ours and the ways to it. */
interface Parts {
  readonly handle: VmHandle
  readonly qmp: Qmp
  readonly exit: Promise<VmExit>
  readonly clock: Clock
  readonly release: () => void
  /** From now on this program does not end before the VM has. */
  readonly awaited: () => void
}

/** A QEMU that waits for its first command; when it fails nothing is left of it. */
async function begin(spec: VmSpec, args: readonly string[], how: Required<QemuOptions>, signal: AbortSignal): Promise<Parts> {
  const { clock, program, spawnMs } = how
  if (signal.aborted) throw new VwnError('CANCELLED', { vm: spec.name }, { cause: signal.reason })
  const { child, ended } = await spawnDetached(program, args, spec.output)
  let over = false
  void ended.then(() => (over = true))
  try {
    const ref = child.pid === undefined ? null : processOf(child.pid)
    const { qmp } = await until(async () => (over ? { qmp: null } : { qmp: await openQmp(spec.sockets.control, { clock }) }), {
      withinMs: spawnMs, everyMs: 10, clock, signal, what: 'control socket of the hypervisor',
    })
    if (ref === null || qmp === null) throw startFailure(spec, await ended)
    const handle = { driver, name: spec.name, ...ref, control: spec.sockets.control }
    return { handle, qmp, exit: ended, clock, release: () => qmp.close(), awaited: () => child.ref() }
  } catch (error) {
    child.ref()
    child.kill('SIGKILL')
    await ended
    await removeSockets(spec)
    throw isVwnError(error, 'DEADLINE_PASSED') ? new VwnError('HYPERVISOR_SILENT', { vm: spec.name, spawnMs }, { cause: error }) : error
  }
}

async function bootTemplate(spec: FileMemorySpec, how: Required<QemuOptions>, signal: AbortSignal): Promise<TemplateVm> {
  await makeMemoryFile(spec)
  try {
    const parts = await begin(spec, qemuArgs(spec, { file: spec.memoryFile, of: 'template' }), how, signal)
    const vm = vmOf(parts)
    return { ...vm, saveState: (file, stop) => saveState({ spec, vm, parts, stateMs: how.stateMs }, file, stop) }
  } catch (error) {
    await tryUnlink(spec.memoryFile)
    throw error
  }
}

interface Saving {
  readonly spec: FileMemorySpec
  readonly vm: Vm
  readonly parts: Parts
  readonly stateMs: number
}

/** The state's file comes last, when nobody writes to memory and disks any more: it is what says that they are complete. */
async function saveState({ spec, vm, parts, stateMs }: Saving, file: string, signal: AbortSignal): Promise<void> {
  try {
    const state = await guarded(parts, stateMs, signal, async (stop) => {
      await vm.pause()
      return takeState(parts.qmp, spec.stateSocket, stop)
    })
    await vm.kill() // it has given its disks away and writes no more: there is nothing to wait for in a `quit`
    await syncTemplate(spec)
    await writeState(file, spec, state)
  } catch (error) {
    await vm.kill()
    await tryUnlink(spec.memoryFile)
    throw error
  } finally {
    await removeSockets(spec)
  }
}

async function blank(spec: FileMemorySpec, how: Required<QemuOptions>, signal: AbortSignal): Promise<BlankVm> {
  await checkMemoryFile(spec)
  const parts = await begin(spec, qemuArgs(spec, { file: spec.memoryFile, of: 'clone' }), how, signal)
  const vm = vmOf(parts)
  const { handle, exit, kill, release } = vm
  return { handle, exit, kill, release, restore: (stateFile, stop) => restore({ spec, vm, parts, stateMs: how.stateMs }, stateFile, stop) }
}

async function restore({ spec, vm, parts, stateMs }: Saving, stateFile: string, signal: AbortSignal): Promise<Vm> {
  try {
    const state = await readState(stateFile, spec)
    await checkMemoryFile(spec) // again: much may have happened while it waited
    await guarded(parts, stateMs, signal, (stop) => giveState(parts.qmp, spec.stateSocket, state, stop))
    return vm
  } catch (error) {
    await vm.kill()
    await removeSockets(spec)
    // QEMU ends when it cannot read what it is given.
    const { code, said } = await vm.exit
    throw isVwnError(error, 'VWN_DIED') && code !== null ? new VwnError('TEMPLATE_REFUSED', { vm: spec.name, said }, { cause: error }) : error
  }
}

/** What `work` comes to, unless the VM dies, time is over or the caller gives up before: then that, whatever `work` says of it. */
async function guarded<T>({ handle, qmp, exit, clock }: Parts, withinMs: number, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const vm = handle.name
  const over = new AbortController()
  const cancel = (): void => over.abort(new VwnError('CANCELLED', { vm }, { cause: signal.reason }))
  using _deadline = clock.after(withinMs, () => over.abort(new VwnError('HYPERVISOR_SILENT', { vm, withinMs })))
  void exit.then(({ code, signal: by, said }) => over.abort(new VwnError('VWN_DIED', { vm, code, signal: by, said })))
  let dying = false
  void qmp.closed.then(() => (dying = true))
  signal.addEventListener('abort', cancel, { once: true })
  if (signal.aborted) cancel()
  try {
    over.signal.throwIfAborted()
    return await orAborted(work(over.signal), over.signal)
  } catch (error) {
    if (dying) await orAborted(new Promise<never>(() => undefined), over.signal) // its connection ends a moment before it does
    throw over.signal.aborted ? over.signal.reason : error
  } finally {
    signal.removeEventListener('abort', cancel)
  }
}

/** Own session, no terminal, output to a file, files for its owner only. */
async function spawnDetached(program: string, args: readonly string[], path: string): Promise<{ child: ChildProcess; ended: Promise<VmExit> }> {
  const output = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600)
  const before = process.umask(0o077)
  try {
    const child = spawn(program, args, { detached: true, cwd: '/', stdio: ['ignore', output.fd, output.fd] })
    child.unref()
    return { child, ended: childExit(child, path) }
  } finally {
    process.umask(before)
    await output.close()
  }
}

function childExit(child: ChildProcess, output: string): Promise<VmExit> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, signal: null, said: error.message }))
    child.once('exit', (code, signal) => void lastWords(output).then((said) => resolve({ code, signal, said })))
  })
}

const lastWords = (output: string): Promise<string> => readFile(output, 'utf8').then(tail, () => '')

/** QEMU says in words alone why it did not start; a port that was taken meanwhile is worth another try. */
function startFailure(spec: VmSpec, { code, signal, said }: VmExit): VwnError {
  if (said.includes('ENOENT')) return new VwnError('HYPERVISOR_MISSING', { vm: spec.name, said })
  if (said.includes('Could not set up host forwarding')) return new VwnError('PORT_IN_USE', { port: spec.sshPort, vm: spec.name })
  return new VwnError('HYPERVISOR_FAILED', { vm: spec.name, code, signal, said })
}

async function recover(handle: VmHandle, clock: Clock): Promise<Vm | null> {
  if (handle.driver !== driver || !isOurs(handle)) return null
  const qmp = await openQmp(handle.control, { clock }).catch(async (cause: unknown) => {
    if (commandLine(handle.pid) === null) await until(() => !isAlive(handle), { withinMs: dyingMs, clock }).catch(() => undefined)
    if (!isOurs(handle)) return null
    throw new VwnError('HYPERVISOR_SILENT', { vm: handle.name, pid: handle.pid }, { cause })
  })
  if (qmp === null) return null
  const released = new AbortController()
  const release = (): void => {
    released.abort()
    qmp.close()
  }
  if (unfit.includes(await runState(qmp))) {
    release()
    throw new VwnError('HYPERVISOR_REFUSED', { vm: handle.name, why: 'it has no whole guest' })
  }
  return vmOf({ handle, qmp, exit: strangerExit(handle, qmp, clock, released.signal), clock, release, awaited: () => undefined })
}

/** Run states of a QEMU that waits for a state, takes one in, or has given its own away. */
const unfit: readonly string[] = ['inmigrate', 'finish-migrate', 'postmigrate']

async function runState(qmp: Qmp): Promise<string> {
  const answer = await qmp.execute('query-status')
  return typeof answer === 'object' && answer !== null && 'status' in answer ? String(answer.status) : ''
}

/** A process that dies has lost its command line already, while its threads may still hold its disks and ports. */
function isOurs(handle: VmHandle): boolean {
  if (!isAlive(handle)) return false
  const args = commandLine(handle.pid)
  return args === null || nameInArgs(args) === handle.name
}

/** QEMU closes its control connection when it ends; the process is looked at until it is really gone. */
async function strangerExit(handle: ProcessRef, qmp: Qmp, clock: Clock, released: AbortSignal): Promise<VmExit> {
  await qmp.closed
  while (isAlive(handle)) {
    await clock.sleep(watchMs, released).catch(() => undefined)
    if (released.aborted) return new Promise(() => undefined) // nobody waits any more, and it has not ended
  }
  return { code: null, signal: null, said: '' }
}

function find(namePrefix: string): readonly VmHandle[] {
  const named = (args: readonly string[]): boolean => nameInArgs(args)?.startsWith(namePrefix) === true
  return findProcesses(named).flatMap((ref) => {
    const args = commandLine(ref.pid) ?? []
    const name = nameInArgs(args)
    return name === null ? [] : [{ driver, name, ...ref, control: controlInArgs(args) ?? '' }]
  })
}

function vmOf({ handle, qmp, exit, clock, release, awaited }: Parts): Vm {
  void exit.then(() => qmp.close())
  const command = async (name: string): Promise<void> => void (await qmp.execute(name))
  let still = false
  /** While it stands still it reads and writes nothing: it is asked once. */
  let stood: Promise<DiskUsage> | null = null
  return {
    handle,
    exit,
    release,
    start: () => command('cont'),
    async pause() {
      await command('stop')
      still = true
    },
    resume() {
      still = false
      stood = null
      return command('cont')
    },
    async used() {
      const usage = usageOf(handle)
      if (usage === null) return null
      return { ...usage, ...(await (still ? (stood ??= diskUsage(qmp)) : diskUsage(qmp))) }
    },
    // The scratch disk is thrown away with the VM: there is nothing for the guest to put in order first.
    shutdown: () => command('quit').catch((error: unknown) => {
      if (isAlive(handle)) throw error
    }),
    async kill() {
      awaited()
      await insist(handle, clock)
      await exit
    },
  }
}

type DiskUsage = Pick<VmUsage, 'readBytes' | 'writtenBytes'>
const blockStatsSchema = z.array(z.object({ stats: z.object({ rd_bytes: z.number(), wr_bytes: z.number() }) }))

/** All disks together. */
async function diskUsage(qmp: Qmp): Promise<DiskUsage> {
  const answer = await qmp.execute('query-blockstats').then((said) => blockStatsSchema.safeParse(said), () => null)
  if (answer?.success !== true) return { readBytes: null, writtenBytes: null }
  const sum = (of: 'rd_bytes' | 'wr_bytes'): number => answer.data.reduce((total, { stats }) => total + stats[of], 0)
  return { readBytes: sum('rd_bytes'), writtenBytes: sum('wr_bytes') }
}

/** No TERM first: it would let the guest's disks be flushed, which are thrown away. */
async function insist(handle: ProcessRef, clock: Clock): Promise<void> {
  signalProcess(handle, 'SIGKILL')
  await killAndWait(handle, { termMs: 0, clock })
}

async function removeSockets(spec: VmSpec | FileMemorySpec): Promise<void> {
  for (const path of [...Object.values(spec.sockets), ...('stateSocket' in spec ? [spec.stateSocket] : [])]) await tryUnlink(path)
}
