/**
 * One attempt to make a VWN, from its record of intent to a guest that is available, or to nothing at all. By a clone where a template
 * is ready; otherwise, and when the clone fails for whatever reason, by a boot:
 *
 *   boot    scratch · seed ─▶ spawn, paused ─▶ record ─▶ console, port ─▶ run ─▶ meet the guest: hello, identity, ready
 *   clone   scratch over the template's ─▶ spawn, blank ─▶ record ─▶ console, port ─▶ restore, run ─▶ meet the guest: identity, ready
 *
 * Each step that makes something says first how it is taken back.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { explain } from '../../core/errors.ts'
import type { HostId, ImageDigest } from '../../core/ids.ts'
import { randomId } from '../../kit/clock.ts'
import type { HostPaths } from '../../kit/paths.ts'
import type { Kit } from '../../kit/service.ts'
import { Undo } from '../../kit/undo.ts'
import type { Cgroups } from '../cgroup.ts'
import type { ScratchDisks } from '../disk/scratch.ts'
import type { AcceleratorName, Hypervisor, Vm, VmSpec } from '../hypervisor/hypervisor.ts'
import { keepSerialLog, type SerialLog } from '../serial-log.ts'
import type { Template } from '../templates/files.ts'
import type { Templates } from '../templates/templates.ts'
import { diedBefore } from './died.ts'
import { onFreePort } from './free-port.ts'
import { meetAgent, meetSsh, type Connect, type Guest, type Meeting } from './guest.ts'
import type { Handle, Handles } from './handles.ts'
import { inTime } from './in-time.ts'
import type { KeyPair } from './keys.ts'
import { vmSpec, type BootImage } from './machine.ts'
import { lateSeed, noSeed, seedTar } from './seed.ts'

/** Effects of a VWN's life, in their order; tests stop the bait right after each. */
export const effects = ['intent', 'disks', 'spawned', 'recorded', 'running', 'available', 'ready', 'paused', 'assigned', 'woken', 'released', 'cleaned', 'stopped', 'removed', 'gone'] as const
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
  readonly templates: Templates
  readonly handles: Handles
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

/** One VWN that is being made. */
interface Making {
  readonly means: Means
  readonly handle: Handle
  readonly keys: VwnKeys
  readonly image: BootImage
  /** Makes new facts durable. */
  readonly record: (facts: Partial<Handle>) => Promise<Handle>
  readonly startedMs: number
}

/** What a clone may take of the time for the attempt, so that enough is left for a boot. */
const cloneShare = 1 / 3

/**
 * Makes it once. `record` makes the new facts durable; `signal` bounds it all. When it fails nothing is left but the record, and
 * the console's file.
 */
export async function makeOnce(means: Means, handle: Handle, keys: VwnKeys, record: Making['record'], signal: AbortSignal): Promise<Running> {
  using _waiting = means.templates.waiting()
  const startedMs = means.kit.clock.monotonicMs()
  const image = await means.image(handle.spec.image, handle.accelerator)
  const making: Making = { means, handle, keys, image, record, startedMs }
  const choice = await means.templates.choose({ ...handle, image })
  if ('why' in choice) return boot(making, choice.why, signal)
  try {
    return await cloneInTime(making, choice.template, signal)
  } catch (error) {
    if (signal.aborted) throw error
    means.kit.log.warn({ vwn: handle.vwn, template: choice.template.id, err: error }, 'clone failed, the vwn is booted')
    await means.templates.failed(choice.template, error)
    await record({ stage: 'intent', vm: null, sshPort: null })
    await means.handles.removeFiles(handle.vwn)
    return boot(making, `a clone failed: ${explain(error)}`, signal)
  }
}

async function cloneInTime(making: Making, template: Template, signal: AbortSignal): Promise<Running> {
  const { means: { kit, templates }, handle: { spec } } = making
  const withinMs = spec.bootMs * cloneShare
  const running = await inTime(kit.clock, withinMs, { what: 'clone', withinMs: Math.round(withinMs) }, signal, (soon) => clone(making, template, soon))
  templates.worked(template)
  return running
}

/** A VM that waits for its first instruction. */
interface Begun {
  readonly vm: Pick<Vm, 'handle' | 'exit' | 'kill'>
  readonly sshPort: number
  /** Lets its guest run. */
  start(): Promise<Vm>
}

async function boot(making: Making, why: string, signal: AbortSignal): Promise<Running> {
  const { means: { hypervisor, disks, paths }, handle: { vwn, spec }, record } = making
  const { scratch } = paths.vm(vwn)
  await record({ made: 'boot', template: null, bootedBecause: why.slice(0, 1024), overlay: randomId() })
  await disks.overlay(scratch, spec.shape.scratchGib, signal)
  if (spec.contact === 'ssh') await writeSeed(making)
  return bringUp(making, async () => {
    const { vm, sshPort } = await onFreePort(async (port) => ({ vm: await hypervisor.boot({ ...specOf(making), sshPort: port }, signal), sshPort: port }))
    return { vm, sshPort, start: () => vm.start().then(() => vm) }
  }, signal)
}

/** What a guest without agent will be; one whose seed may come late takes its time from it too. */
async function writeSeed({ means: { kit, host, paths }, handle: { vwn }, keys, image }: Making): Promise<void> {
  const who = { hostname: `${host}-${vwn}`, hostKeyFormat: image.hostKeyFormat, ...keys }
  await writeFile(paths.vm(vwn).seed, image.seed === 'late' ? lateSeed(who, kit.clock.nowMs()) : seedTar(who), { mode: 0o600 })
}

async function clone(making: Making, { id, files }: Template, signal: AbortSignal): Promise<Running> {
  const { means: { hypervisor, disks, paths }, handle: { vwn, spec }, record } = making
  const { scratch, stateSocket, seed } = paths.vm(vwn)
  const noted = record({ made: 'clone', template: id, bootedBecause: null, overlay: randomId() }) // the record of intent explains what is made meanwhile
  noted.catch(() => undefined)
  await disks.clone(files.scratch, scratch, signal)
  if (spec.contact === 'ssh') await writeFile(seed, noSeed(), { mode: 0o600 })
  return bringUp(making, () => onFreePort(async (sshPort) => {
    const blank = await hypervisor.blank({ ...specOf(making), sshPort, memoryFile: files.memory, stateSocket }, signal)
    return {
      vm: blank,
      sshPort,
      async start() {
        const vm = await blank.restore(files.state, signal)
        if (spec.contact === 'ssh') await writeSeed(making) // as late as can be, for its clock
        await vm.start()
        return vm
      },
    }
  }), signal)
}

/** From disks that are there to a guest that is available. */
async function bringUp(making: Making, begin: () => Promise<Begun>, signal: AbortSignal): Promise<Running> {
  const { means, handle, keys, image, record, startedMs } = making
  const { kit } = means
  const paths = means.paths.vm(handle.vwn)
  await using undo = new Undo((step, error) => kit.log.warn({ vwn: handle.vwn, step, err: error }, 'undo of a boot failed'))
  const tookMs = (): number => Math.round(kit.clock.monotonicMs() - startedMs)

  await means.after('disks', handle)
  const begun = await begin()
  undo.push('vm', () => begun.vm.kill())
  await means.after('spawned', handle)
  const { made } = await record({ stage: 'spawned', vm: begun.vm.handle, sshPort: begun.sshPort })
  await means.cgroups.enter(begun.vm.handle.name, begun.vm.handle.pid)
  await means.after('recorded', handle)

  const dead = diedBefore(begun.vm, signal)
  undo.push('watch', () => dead.cancel())
  const serial = await keepSerialLog(kit, { socket: paths.serialSocket, file: paths.serialLog })
  undo.push('console', () => serial.close())
  const phases: { boot?: number; contact?: number } = {}
  const started: { vm: Vm | null } = { vm: null }
  const way = {
    async start() {
      started.vm = await begun.start()
      await means.after('running', handle)
    },
    hello: () => void (phases.boot ??= tookMs()),
  }
  const meeting: Meeting = {
    ...handle, host: means.host, portSocket: paths.agentSocket, sshPort: begun.sshPort, hostKey: keys.host, clientKey: keys.client, probe: image.probe, booted: made === 'clone',
  }
  const meet = handle.spec.contact === 'agent' ? meetAgent : meetSsh
  const guest = await dead.first(meet(kit, meeting, means.connectGuest, way, dead.signal))
  undo.push('guest', () => closeGuest(guest))
  phases.contact = tookMs() - (phases.boot ?? 0)
  await means.after('available', handle)
  const { template, bootedBecause } = await record({ stage: 'ready', phases: { ...handle.phases, ...phases } })
  kit.log.info({ vwn: handle.vwn, made, template, bootedBecause, phases }, 'vwn made')
  dead.cancel()
  if (started.vm === null) throw new Error('a guest was met that was not started')
  undo.release()
  return { vm: started.vm, serial, guest }
}

/** Ends the connections to a guest. */
export function closeGuest(guest: Guest): void {
  guest.session.close()
  guest.port?.close()
}

function specOf({ means, handle, image }: Making): Omit<VmSpec, 'sshPort'> {
  const paths = means.paths.vm(handle.vwn)
  return vmSpec({ ...handle, image }, {
    name: `${means.namePrefix}${handle.vwn}`,
    sockets: { control: paths.qmpSocket, port: paths.agentSocket, console: paths.serialSocket },
    output: join(paths.folder, 'hypervisor.log'),
    scratch: paths.scratch,
    seed: paths.seed,
  })
}
