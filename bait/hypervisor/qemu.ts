/**
 * The QEMU driver. A VM is a detached process: it outlives the bait, which after a restart finds it by pid, start ticks and the
 * name in its command line, and talks to it again over QMP.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { VwnError, isVwnError } from '../../core/errors.ts'
import type { Clock } from '../../kit/clock.ts'
import { tail, run } from '../../kit/command.ts'
import { commandLine, findProcesses, isAlive, killAndWait, processOf, signalProcess, type ProcessRef } from '../../kit/process.ts'
import { tryUnlink } from '../../kit/atomic-file.ts'
import { until } from '../../kit/until.ts'
import type { Fingerprint, Hypervisor, Vm, VmExit, VmHandle, VmSpec } from './hypervisor.ts'
import { controlInArgs, nameInArgs, qemuArgs } from './qemu-args.ts'
import { openQmp, type Qmp } from './qmp.ts'

export interface QemuOptions {
  readonly clock: Clock
  /** The program; looked up in PATH unless it is a path. */
  readonly program?: string
  /** How long QEMU itself may take until it answers on its control socket. */
  readonly spawnMs?: number
}

const driver = 'qemu'
/** How often a process that is not our child is looked at, where its control connection did not tell. */
const watchMs = 500

/** The driver for this machine's own architecture. */
export function qemu(options: QemuOptions): Hypervisor {
  const { clock, program = 'qemu-system-x86_64', spawnMs = 20_000 } = options
  return {
    name: driver,
    fingerprint: () => fingerprint(program),
    boot: (spec, signal) => boot(spec, { clock, program, spawnMs }, signal),
    recover: (handle) => recover(handle, clock),
    find: (namePrefix) => Promise.resolve(find(namePrefix)),
    async destroy(handle) {
      if (isOurs(handle)) await insist(handle, clock)
    },
  }
}

async function fingerprint(program: string): Promise<Fingerprint> {
  const can = { pause: true }
  try {
    const { stdout } = await run(program, ['--version'], { timeoutMs: 10_000 })
    const version = /version (\d+\.\d+(?:\.\d+)?)/.exec(stdout)?.[1] ?? null
    return { healthy: version !== null, version, why: stdout.split('\n')[0] ?? '', can }
  } catch (error) {
    const missing = isVwnError(error, 'COMMAND_MISSING')
    return { healthy: false, version: null, why: missing ? `${program} is not installed (package qemu-system-x86)` : `${program} --version failed`, can }
  }
}

async function boot(spec: VmSpec, how: Required<QemuOptions>, signal: AbortSignal): Promise<Vm> {
  const { clock, program, spawnMs } = how
  if (signal.aborted) throw new VwnError('CANCELLED', { vm: spec.name }, { cause: signal.reason })
  const { child, ended } = await spawnDetached(program, qemuArgs(spec), spec.output)
  let over = false
  void ended.then(() => (over = true))
  try {
    const ref = child.pid === undefined ? null : processOf(child.pid)
    const { qmp } = await until(async () => (over ? { qmp: null } : { qmp: await openQmp(spec.sockets.control, { clock }) }), {
      withinMs: spawnMs, everyMs: 10, clock, signal, what: 'control socket of the hypervisor',
    })
    if (ref === null || qmp === null) throw startFailure(spec, await ended)
    const parts = { qmp, exit: ended, clock, release: () => qmp.close(), awaited: () => child.ref() }
    return vmOf({ driver, name: spec.name, ...ref, control: spec.sockets.control }, parts)
  } catch (error) {
    child.ref()
    child.kill('SIGKILL')
    await ended
    await removeSockets(spec)
    throw isVwnError(error, 'DEADLINE_PASSED') ? new VwnError('HYPERVISOR_SILENT', { vm: spec.name, spawnMs }, { cause: error }) : error
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
  const qmp = await openQmp(handle.control, { clock }).catch((cause: unknown) => {
    if (!isOurs(handle)) return null
    throw new VwnError('HYPERVISOR_SILENT', { vm: handle.name, pid: handle.pid }, { cause })
  })
  if (qmp === null) return null
  const released = new AbortController()
  const release = (): void => {
    released.abort()
    qmp.close()
  }
  return vmOf(handle, { qmp, exit: strangerExit(handle, qmp, clock, released.signal), clock, release, awaited: () => undefined })
}

const isOurs = (handle: VmHandle): boolean => isAlive(handle) && nameInArgs(commandLine(handle.pid) ?? []) === handle.name

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

interface Parts {
  readonly qmp: Qmp
  readonly exit: Promise<VmExit>
  readonly clock: Clock
  readonly release: () => void
  /** From now on this program does not end before the VM has. */
  readonly awaited: () => void
}

function vmOf(handle: VmHandle, { qmp, exit, clock, release, awaited }: Parts): Vm {
  void exit.then(() => qmp.close())
  const command = async (name: string): Promise<void> => void (await qmp.execute(name))
  return {
    handle,
    exit,
    release,
    start: () => command('cont'),
    pause: () => command('stop'),
    resume: () => command('cont'),
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

/** No TERM first: it would let the guest's disks be flushed, which are thrown away. */
async function insist(handle: ProcessRef, clock: Clock): Promise<void> {
  signalProcess(handle, 'SIGKILL')
  await killAndWait(handle, { termMs: 0, clock })
}

const removeSockets = async ({ sockets }: VmSpec): Promise<void> => {
  for (const path of Object.values(sockets)) await tryUnlink(path)
}
