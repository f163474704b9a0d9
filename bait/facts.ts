/** What the controller hears of a host: its capacity, accelerators and images, looked at again every few seconds. */
import { join } from 'node:path'
import type { ImageStore } from '../kit/image-store.ts'
import { loop, type Kit, type Service } from '../kit/service.ts'
import { version } from '../kit/version.ts'
import type { HostFacts } from '../wire/bait.ts'
import { capacityOf, type BaitSettings } from './config.ts'
import type { AcceleratorName, Hypervisor } from './hypervisor/hypervisor.ts'
import { chosen, probeAccelerators, type AcceleratorFact } from './probe.ts'

/** All but what is known of templates. */
export type OwnFacts = Omit<HostFacts, 'templates' | 'templatesMibMax'>

export interface HostFactsKeeper extends Service {
  /** What is known now. */
  facts(): OwnFacts
  /** What guests run by; `unknown` until the probe guests have answered, null where none started. */
  accelerator(): AcceleratorName | 'unknown' | null
}

export interface FactsOptions {
  readonly settings: BaitSettings
  readonly hypervisor: Hypervisor
  readonly images: ImageStore
  /** Where disks will be. */
  readonly stateFolder: string
  /** Start of the names of this host's VMs. */
  readonly namePrefix: string
  /** Known already: no probe guest is asked. */
  readonly accelerators?: readonly AcceleratorFact[] | undefined
  readonly onChange: () => void
}

const everyMs = 5_000

/** Keeps the facts. */
export function hostFacts(kit: Kit, options: FactsOptions): HostFactsKeeper {
  const { settings, hypervisor, images, stateFolder, namePrefix, onChange } = options
  const { accelerator, probe_kvm_ms: kvm, probe_tcg_ms: tcg } = settings.vm
  const told = options.accelerators ?? (accelerator === 'auto' ? null : trusted(accelerator))
  let accelerators = told
  let facts: OwnFacts = { capacity: { cpus: 0, memoryMib: 0, scratchGib: 0 }, hypervisor: hypervisor.name, accelerators: [...(told ?? untried)], broken: null, images: [], version }

  /** To ask the hypervisor costs next to nothing while its program is the same file. */
  const brokenBecause = async (): Promise<string | null> => {
    const { healthy, why } = await hypervisor.fingerprint()
    if (!healthy) return why.slice(0, 1024)
    if (accelerators === null || chosen(accelerators) !== null) return null
    return accelerators.map((one) => `${one.name}: ${one.why}`).join('; ').slice(0, 1024)
  }
  const look = async (): Promise<void> => {
    const { images: found } = await images.list()
    facts = {
      ...facts,
      capacity: facts.capacity.cpus > 0 ? facts.capacity : await capacityOf(settings.capacity, stateFolder),
      accelerators: [...(accelerators ?? untried)],
      broken: await brokenBecause(),
      // An image that no name stands for any more can still be asked for by its digest, never by the name it had.
      images: found.flatMap(({ digest, names, manifest: { contact } }) => (names.length === 0 ? [digest] : names).map((name) => ({ digest, name, contact }))),
    }
  }
  const turns = loop(kit, { name: 'facts', everyMs }, async () => {
    const before = JSON.stringify(facts)
    if (told === null && chosen(accelerators ?? untried) === null) {
      accelerators = await probeAccelerators({ kit, hypervisor, images, cache: join(images.folder, 'probes.json'), namePrefix, withinMs: { kvm, tcg } })
    }
    await look()
    if (JSON.stringify(facts) !== before) onChange()
  })
  return {
    ...turns,
    async start() {
      await look()
      await turns.start()
    },
    facts: () => facts,
    accelerator: () => (accelerators === null ? 'unknown' : chosen(accelerators)),
  }
}

const untried: readonly AcceleratorFact[] = (['kvm', 'tcg'] as const).map((name) => ({ name, works: false, why: 'not tried yet' }))

/** An accelerator that the settings name is trusted. */
const trusted = (told: AcceleratorName): readonly AcceleratorFact[] =>
  (['kvm', 'tcg'] as const).map((name) => ({ name, works: name === told, why: name === told ? 'the settings say so' : 'the settings name another one' }))
