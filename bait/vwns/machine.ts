/** The VM that a VWN is, from what was asked for and its image. A template's is made here too: only so is it its clones' machine. */
import type { VwnSpec } from '../../wire/bait.ts'
import type { AcceleratorName, VmSpec } from '../hypervisor/hypervisor.ts'

/** What a boot needs of an OS image; its digest was verified. */
export interface BootImage {
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
  readonly disk: string
  readonly hostKeyFormat: 'openssh' | 'dropbear'
  /** For guests without agent: whether their keys may come when they have booted. */
  readonly seed: 'boot' | 'late'
  /** For guests without agent: succeeds when the guest can take a job. */
  readonly probe: string | null
}

/** All that counts for what a VM is. */
export interface Machine {
  readonly spec: VwnSpec
  readonly accelerator: AcceleratorName
  readonly image: BootImage
}

/** What belongs to one VM alone. */
export interface Place {
  readonly name: string
  readonly sockets: VmSpec['sockets']
  readonly output: string
  readonly scratch: string
  /** For guests without agent. */
  readonly seed: string
}

/** The VM of this machine in this place. */
export function vmSpec({ spec, accelerator, image }: Machine, { scratch, seed, ...own }: Place): Omit<VmSpec, 'sshPort'> {
  return {
    ...own,
    accelerator,
    cpus: spec.shape.cpus,
    memoryMib: spec.shape.memoryMib,
    kernel: image.kernel,
    initrd: image.initrd,
    cmdline: image.cmdline,
    network: spec.network,
    disks: [
      { serial: 'os', path: image.disk, format: 'raw', readOnly: true },
      { serial: 'scratch', path: scratch, format: 'qcow2', readOnly: false },
      ...(spec.contact === 'ssh' ? [{ serial: 'seed', path: seed, format: 'raw', readOnly: true } as const] : []),
    ],
  }
}
