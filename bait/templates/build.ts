/**
 * Makes a template: a guest that has booted, loaded what it will need and been told nothing.
 *
 *   scratch ─▶ boot ─▶ hello ─▶ [idle] ─▶ save ─▶ manifest ─▶ rename
 *
 * The bait stays connected to the guest's port until it is saved. So the agent stands in the middle of a read, and in a clone whose
 * port is connected before it wakes, that very read brings the identity.
 */
import { join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { writeJson } from '../../kit/atomic-file.ts'
import type { Kit } from '../../kit/service.ts'
import { Undo } from '../../kit/undo.ts'
import type { ScratchDisks } from '../disk/scratch.ts'
import type { FileMemorySpec, Hypervisor, TemplateVm } from '../hypervisor/hypervisor.ts'
import { keepSerialLog, serialTail } from '../serial-log.ts'
import { diedBefore } from '../vwns/died.ts'
import { meetNameless } from '../vwns/guest.ts'
import { vmSpec, type Machine } from '../vwns/machine.ts'
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
  /** How long a guest that has said hello is left to itself before it is asked whether it is idle. */
  readonly settleMs: number
  readonly after: (effect: TemplateEffect) => void | Promise<void>
}

/** The template of this key is in its place, or nothing of it is left. Calls must not overlap. */
export async function buildTemplate(means: BuildMeans, key: TemplateKey, machine: Machine, signal: AbortSignal): Promise<void> {
  const { kit, folder } = means
  await using undo = new Undo((step, error) => kit.log.warn({ step, err: error }, 'undo of a template failed'))
  const at = templateFiles(await beginTemplate(folder))
  undo.push('folder', () => abandonTemplate(folder))
  await means.after('begun')
  await means.disks.overlay(at.scratch, machine.spec.shape.scratchGib, signal)
  const spec = specIn(at.folder, machine, means.namePrefix)
  const vm = await means.hypervisor.bootTemplate(spec, signal)
  undo.push('vm', () => vm.kill())
  await means.after('booting')
  await saveIdle(means, { vm, spec, file: at.state }, signal)
  await writeJson(at.manifest, manifestOf(key, kit.clock.nowMs()))
  await keepTemplate(folder, templateId(key))
  undo.release()
  await means.after('kept')
}

/** Waits until the guest is idle and saves it; a failure has its console's last words. */
async function saveIdle(means: BuildMeans, { vm, spec, file }: { vm: TemplateVm; spec: FileMemorySpec; file: string }, signal: AbortSignal): Promise<void> {
  const { kit, settleMs } = means
  const log = join(spec.output, '../serial.log')
  const dead = diedBefore(vm, signal)
  const serial = await keepSerialLog(kit, { socket: spec.sockets.console, file: log })
  try {
    const port = await dead.first(meetNameless(kit, { portSocket: spec.sockets.port, settleMs }, () => vm.start(), dead.signal))
    dead.cancel()
    try {
      await means.after('idle')
      await vm.saveState(file, signal)
    } finally {
      port.close()
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

/** The paths of the sockets are no longer than a VWN's, which were checked with the home. */
function specIn(folder: string, machine: Machine, namePrefix: string): FileMemorySpec {
  const at = (name: string): string => join(folder, name)
  const place = {
    name: `${namePrefix}${templateVmName}`,
    sockets: { control: at('qmp.sock'), port: at('agent.sock'), console: at('tty.sock') },
    output: at('hypervisor.log'),
    scratch: templateFiles(folder).scratch,
    seed: at('seed.tar'),
  }
  return { ...vmSpec(machine, place), sshPort: null, memoryFile: templateFiles(folder).memory, stateSocket: at('state.sock') }
}
