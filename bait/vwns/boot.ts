/**
 * One attempt to boot a VWN, from its record of intent to a guest that is available, or to nothing at all:
 *
 *   image · scratch · seed (at once) ─▶ spawn, paused ─▶ record ─▶ console, port ─▶ run ─▶ meet the guest
 *
 * Each step that makes something says first how it is taken back.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isVwnError, VwnError } from '../../core/errors.ts'
import type { HostId } from '../../core/ids.ts'
import type { HostPaths } from '../../kit/paths.ts'
import type { Kit } from '../../kit/service.ts'
import { freePort } from '../../kit/socket.ts'
import { Undo } from '../../kit/undo.ts'
import type { ImageDigest } from '../../core/ids.ts'
import type { Cgroups } from '../cgroup.ts'
import type { ScratchDisks } from '../disk/scratch.ts'
import type { AcceleratorName, Hypervisor, Vm, VmSpec } from '../hypervisor/hypervisor.ts'
import { keepSerialLog, type SerialLog } from '../serial-log.ts'
import { meetAgent, meetSsh, type Connect, type Guest, type Meeting } from './guest.ts'
import type { Handle } from './handles.ts'
import type { KeyPair } from './keys.ts'
import { seedTar } from './seed.ts'

/** What a boot needs of an OS image; its digest was verified. */
export interface BootImage {
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
  readonly disk: string
  readonly hostKeyFormat: 'openssh' | 'dropbear'
  /** For guests without agent: succeeds when the guest can take a job. */
  readonly probe: string | null
}

/** Effects of a VWN's life, in their order; tests stop the bait right after each. */
export const effects = ['intent', 'disks', 'spawned', 'recorded', 'running', 'available', 'ready', 'assigned', 'released', 'cleaned', 'stopped', 'removed', 'gone'] as const
export type EffectName = (typeof effects)[number]

/** What every VWN of a bait works with. */
export interface Means {
  readonly kit: Kit
  readonly host: HostId
  readonly paths: HostPaths
  /** Names of VMs start so: the farm's home and the host are in it. */
  readonly namePrefix: string
  readonly hypervisor: Hypervisor
  readonly disks: ScratchDisks
  readonly cgroups: Cgroups
  image(digest: ImageDigest, accelerator: AcceleratorName): Promise<BootImage>
  readonly connectGuest: Connect
  /** Told after each effect; tests fail or die here. */
  readonly after: (effect: EffectName, handle: Handle) => void | Promise<void>
}

/** A VM with its guest, and all connections to them. */
export interface Running {
  readonly vm: Vm
  readonly serial: SerialLog
  readonly guest: Guest
}

/** Keys are made before, while the intent is being written. */
export interface VwnKeys {
  readonly host: KeyPair
  readonly client: KeyPair
}

const portTries = 5

/**
 * Boots once. `record` makes the new facts durable; `signal` bounds it all. When it fails nothing is left but the record, and
 * the console's file.
 */
export async function bootOnce(means: Means, handle: Handle, keys: VwnKeys, record: (facts: Partial<Handle>) => Promise<Handle>, signal: AbortSignal): Promise<Running> {
  const { kit } = means
  const paths = means.paths.vm(handle.vwn)
  await using undo = new Undo((step, error) => kit.log.warn({ vwn: handle.vwn, step, err: error }, 'undo of a boot failed'))
  const startedMs = kit.clock.monotonicMs()

  const image = await makeDisks(means, handle, keys, signal)
  await means.after('disks', handle)
  const { vm, sshPort } = await spawnVm(means, specOf(means, handle, image), signal)
  undo.push('vm', () => vm.kill())
  await means.after('spawned', handle)
  await record({ stage: 'spawned', vm: vm.handle, sshPort })
  await means.cgroups.enter(vm.handle.name, vm.handle.pid)
  await means.after('recorded', handle)

  const dead = diedBefore(vm, signal)
  undo.push('watch', () => dead.cancel())
  const serial = await keepSerialLog(kit, { socket: paths.serialSocket, file: paths.serialLog })
  undo.push('console', () => serial.close())
  const meeting: Meeting = { ...handle, host: means.host, portSocket: paths.agentSocket, sshPort, hostKey: keys.host, clientKey: keys.client }
  const phases: { boot?: number; contact?: number } = {}
  const start = async (): Promise<void> => {
    await vm.start()
    await means.after('running', handle)
  }
  const hello = (): void => void (phases.boot = Math.round(kit.clock.monotonicMs() - startedMs))
  const meet = handle.spec.contact === 'agent' ? meetAgent : meetSsh
  const guest = await dead.first(meet(kit, { ...meeting, probe: image.probe }, means.connectGuest, { start, hello }, dead.signal))
  undo.push('guest', () => closeGuest(guest))
  phases.contact = Math.round(kit.clock.monotonicMs() - startedMs) - (phases.boot ?? 0)
  await means.after('available', handle)
  await record({ stage: 'ready', phases: { ...handle.phases, ...phases } })
  dead.cancel()
  undo.release()
  return { vm, serial, guest }
}

/** Ends the connections to a guest. */
export function closeGuest(guest: Guest): void {
  guest.session.close()
  guest.port?.close()
}

/** Image and overlay at once, then the seed; all have ended when it fails, so that what they made can be removed. */
async function makeDisks(means: Means, handle: Handle, keys: VwnKeys, signal: AbortSignal): Promise<BootImage> {
  const paths = means.paths.vm(handle.vwn)
  const { spec, accelerator } = handle
  const [image, scratch] = await Promise.allSettled([means.image(spec.image, accelerator), means.disks.overlay(paths.scratch, spec.shape.scratchGib, signal)])
  if (image.status === 'rejected') throw image.reason
  if (scratch.status === 'rejected') throw scratch.reason
  const { hostKeyFormat } = image.value
  if (spec.contact === 'ssh') await writeFile(paths.seed, seedTar({ hostname: `${means.host}-${handle.vwn}`, hostKeyFormat, ...keys }), { mode: 0o600 })
  return image.value
}

function specOf(means: Means, handle: Handle, image: BootImage): Omit<VmSpec, 'sshPort'> {
  const { spec } = handle
  const paths = means.paths.vm(handle.vwn)
  return {
    name: `${means.namePrefix}${handle.vwn}`,
    sockets: { control: paths.qmpSocket, port: paths.agentSocket, console: paths.serialSocket },
    output: join(paths.folder, 'hypervisor.log'),
    accelerator: handle.accelerator,
    cpus: spec.shape.cpus,
    memoryMib: spec.shape.memoryMib,
    kernel: image.kernel,
    initrd: image.initrd,
    cmdline: image.cmdline,
    network: spec.network,
    disks: [
      { serial: 'os', path: image.disk, format: 'raw', readOnly: true },
      { serial: 'scratch', path: paths.scratch, format: 'qcow2', readOnly: false },
      ...(spec.contact === 'ssh' ? [{ serial: 'seed', path: paths.seed, format: 'raw', readOnly: true } as const] : []),
    ],
  }
}

/** A free port may be taken by somebody else before the hypervisor gets it: then another one is tried. */
async function spawnVm(means: Means, spec: Omit<VmSpec, 'sshPort'>, signal: AbortSignal): Promise<{ vm: Vm; sshPort: number }> {
  for (let tried = 1; ; tried += 1) {
    const sshPort = await freePort()
    try {
      return { vm: await means.hypervisor.boot({ ...spec, sshPort }, signal), sshPort }
    } catch (error) {
      if (!isVwnError(error, 'PORT_IN_USE') || tried === portTries) throw error
    }
  }
}

/** Turns the VM's end, while the guest is not available yet, into a failure that ends all waiting. */
function diedBefore(vm: Vm, signal: AbortSignal) {
  const died = new AbortController()
  let watching = true
  void vm.exit.then(({ code, signal: by, said }) => {
    if (watching) died.abort(new VwnError('VWN_DIED', { code, signal: by, said: said === '' ? undefined : said }))
  })
  return {
    signal: AbortSignal.any([signal, died.signal]),
    async first<T>(work: Promise<T>): Promise<T> {
      try {
        return await work
      } catch (error) {
        throw died.signal.aborted ? died.signal.reason : error
      }
    },
    cancel: () => void (watching = false),
  }
}
