/**
 * Makes a template: a guest that has booted and is nobody.
 *
 *   with agent      scratch ─▶ boot ─▶ hello ─▶ rehearsal of how a clone begins ─┐
 *   without agent   scratch, empty seed ─▶ boot ─▶ it says that it waits ────────┴▶ [idle] ─▶ save ─▶ manifest ─▶ rename
 *
 * The bait stays connected to the guest's port until it is saved. So the agent stands in the middle of a read, and in a clone whose
 * port is connected before it wakes, that very read brings the identity.
 */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import type { HostId } from '../../core/ids.ts'
import { writeJson } from '../../kit/atomic-file.ts'
import type { Kit } from '../../kit/service.ts'
import { Undo } from '../../kit/undo.ts'
import { until } from '../../kit/until.ts'
import type { Cgroups } from '../cgroup.ts'
import type { ScratchDisks } from '../disk/scratch.ts'
import type { FileMemorySpec, Hypervisor, TemplateVm } from '../hypervisor/hypervisor.ts'
import { keepSerialLog, serialTail } from '../serial-log.ts'
import { diedBefore } from '../vwns/died.ts'
import { onFreePort } from '../vwns/free-port.ts'
import { meetNameless, type Connect } from '../vwns/guest.ts'
import { vmSpec, type Machine } from '../vwns/machine.ts'
import { noSeed } from '../vwns/seed.ts'
import { abandonTemplate, beginTemplate, keepTemplate, manifestOf, templateFiles, templateId, templateVmName, type TemplateKey } from './files.ts'

/** Effects of making a template, in their order; tests stop the bait right after each. */
export const templateEffects = ['begun', 'booting', 'idle', 'saved', 'kept'] as const
export type TemplateEffect = (typeof templateEffects)[number]

export interface BuildMeans {
  readonly kit: Kit
  /** Where this host's templates are. */
  readonly folder: string
  /** Names of VMs start so. */
  readonly namePrefix: string
  readonly hypervisor: Hypervisor
  readonly disks: ScratchDisks
  readonly host: HostId
  readonly connectGuest: Connect
  readonly cgroups: Pick<Cgroups, 'enter' | 'leave'>
  readonly after: (effect: TemplateEffect) => void | Promise<void>
}

/** The template of this key is in its place, or nothing of it is left. Calls must not overlap. */
export async function buildTemplate(means: BuildMeans, key: TemplateKey, machine: Machine, signal: AbortSignal): Promise<void> {
  const { kit, folder } = means
  const startedMs = kit.clock.monotonicMs()
  await using undo = new Undo((step, error) => kit.log.warn({ step, err: error }, 'undo of a template failed'))
  const at = templateFiles(await beginTemplate(folder))
  undo.push('folder', () => abandonTemplate(folder))
  await means.after('begun')
  await means.disks.overlay(at.scratch, machine.spec.shape.scratchGib, signal)
  if (machine.spec.contact === 'ssh') await writeFile(join(at.folder, seedName), noSeed(), { mode: 0o600 })
  const { spec, vm } = await onFreePort(async (sshPort) => {
    const wanted = { ...specIn(at.folder, machine, means.namePrefix), sshPort }
    return { spec: wanted, vm: await means.hypervisor.bootTemplate(wanted, signal) }
  })
  undo.push('control group', () => means.cgroups.leave(spec.name))
  undo.push('vm', () => vm.kill())
  await Promise.all([means.cgroups.enter(spec.name, vm.handle.pid), tryEndFirst(vm.handle.pid)])
  await means.after('booting')
  await saveIdle(means, { vm, spec, wanted: machine.spec, file: at.state }, signal)
  await means.cgroups.leave(spec.name)
  await writeJson(at.manifest, manifestOf(key, kit.clock.nowMs(), Math.round(kit.clock.monotonicMs() - startedMs)))
  await keepTemplate(folder, templateId(key))
  undo.release()
  await means.after('kept')
}

interface Idle {
  readonly vm: TemplateVm
  readonly spec: FileMemorySpec & { readonly sshPort: number }
  readonly wanted: Machine['spec']
  readonly file: string
}

const seedName = 'seed.tar'
/** What late-seed.c says on the console when all is there but its seed. */
const waitsForSeed = 'late-seed: waits for its seed'

/** Where memory runs out, the kernel ends this VM before any that has a job: proc(5), oom_score_adj. */
const tryEndFirst = (pid: number): Promise<void> => writeFile(`/proc/${pid}/oom_score_adj`, '1000').catch(() => undefined)

/** Waits until the guest is idle and saves it; a failure has its console's last words. */
async function saveIdle(means: BuildMeans, { vm, spec, wanted: { contact, bootMs }, file }: Idle, signal: AbortSignal): Promise<void> {
  const { kit, host, connectGuest } = means
  const log = join(spec.output, '../serial.log')
  const dead = diedBefore(vm, signal)
  const serial = await keepSerialLog(kit, { socket: spec.sockets.console, file: log })
  try {
    const port = contact === 'agent'
      ? await dead.first(meetNameless(kit, { host, portSocket: spec.sockets.port, sshPort: spec.sshPort }, connectGuest, () => vm.start(), dead.signal))
      : await dead.first(seedless(kit, { console: log, bootMs }, () => vm.start(), dead.signal))
    dead.cancel()
    try {
      await means.after('idle')
      await vm.saveState(file, signal)
    } finally {
      port?.close()
    }
    await means.after('saved')
  } catch (cause) {
    throw new VwnError('TEMPLATE_NOT_MADE', { console: (await serialTail(log, 500)) || undefined }, { cause })
  } finally {
    dead.cancel()
    await vm.kill()
    await serial.close()
  }
}

/** A guest without agent that has booted, and now reads its seed disk again and again. */
async function seedless({ clock }: Kit, { console, bootMs }: { console: string; bootMs: number }, start: () => Promise<void>, signal: AbortSignal): Promise<null> {
  await start()
  await until(async () => (await serialTail(console)).includes(waitsForSeed), { withinMs: bootMs, clock, signal, what: 'a template that waits for its seed' })
  return null
}

/** The paths of the sockets are no longer than a VWN's, which were checked with the home. */
function specIn(folder: string, machine: Machine, namePrefix: string): Omit<FileMemorySpec, 'sshPort'> {
  const at = (name: string): string => join(folder, name)
  const place = {
    name: `${namePrefix}${templateVmName}`,
    sockets: { control: at('qmp.sock'), port: at('agent.sock'), console: at('tty.sock') },
    output: at('hypervisor.log'),
    scratch: templateFiles(folder).scratch,
    seed: at(seedName),
  }
  return { ...vmSpec(machine, place), memoryFile: templateFiles(folder).memory, stateSocket: at('state.sock') }
}
