/**
 * What the bait needs of a hypervisor; one conformance suite (test/contract/hypervisor.ts) holds every driver to it.
 *
 *   fingerprint ─▶ boot ─▶ [the caller writes the VM's handle] ─▶ start ─▶ exit
 *                   │            a VM that nobody recorded has not run an instruction of its guest
 *                   └─ recover(handle): the same VM after a restart of the bait, or null when it is provably gone
 *
 * Where it can, a driver also makes a VM out of another one that has booted already:
 *
 *   bootTemplate ─▶ start ─▶ [the guest has booted and is idle] ─▶ saveState ─▶ exit      memory file + state file + scratch disk
 *   blank ─▶ [waits, at no guest memory] ─▶ restore ─▶ start ─▶ exit                      as often as one likes, also side by side
 *
 * A VM is nobody's child in spirit: own session, own files, found again by its name, its pid and the tick at which that began.
 */
import { z } from 'zod'
import type { HostFacts } from '../../wire/bait.ts'

export type AcceleratorName = HostFacts['accelerators'][number]['name']

/** What there is on this host; never throws, a missing hypervisor is an answer. */
export interface Fingerprint {
  readonly healthy: boolean
  readonly version: string | null
  /** Why it is not healthy, or what was found. */
  readonly why: string
  /** Powers that not every driver has; asking for one that is false is a bug. */
  readonly can: { readonly pause: boolean; readonly clone: boolean }
}

/** A disk of the guest. It finds it by `serial`, never by position. */
export interface VmDisk {
  readonly serial: 'os' | 'scratch' | 'seed'
  readonly path: string
  readonly format: 'raw' | 'qcow2'
  readonly readOnly: boolean
}

/** Everything that makes a VM. Paths are absolute. */
export interface VmSpec {
  /** Unique on the host; the VM's process carries it in its command line. */
  readonly name: string
  /** Where the hypervisor listens: its control, the agent's port, the serial console. Their folder exists. */
  readonly sockets: { readonly control: string; readonly port: string; readonly console: string }
  /** Takes what the hypervisor itself says. */
  readonly output: string
  readonly accelerator: AcceleratorName
  readonly cpus: number
  readonly memoryMib: number
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
  readonly disks: readonly VmDisk[]
  readonly network: 'isolated' | 'outbound' | 'none'
  /** Loopback port of the host that leads to the guest's ssh server; null for none. */
  readonly sshPort: number | null
}

/**
 * A VM whose guest's memory is a file, so that others can begin where it stood. A template and its clones are one machine: their
 * specs differ in name, sockets, output, ssh port and in the paths of all disks but the system's, and in nothing else.
 */
export interface FileMemorySpec extends VmSpec {
  /** Of exactly `memoryMib`. A template makes it; clones never write to it. */
  readonly memoryFile: string
  /** Where the state passes while it is saved or restored; nothing is there before and after. */
  readonly stateSocket: string
}

/** What a driver needs to find its VM again; part of the VWN's durable record. */
export const vmHandleSchema = z.strictObject({
  driver: z.string().max(32),
  name: z.string().max(128),
  pid: z.int().positive(),
  /** The kernel's start time of that pid, in clock ticks since boot: pids are reused, this pair is not. */
  startTicks: z.int().nonnegative(),
  control: z.string().max(108),
})
export type VmHandle = z.output<typeof vmHandleSchema>

/** How a VM ended; code and signal are null when it was not our child any more. */
export interface VmExit {
  readonly code: number | null
  readonly signal: string | null
  /** The hypervisor's own last words, one line; empty when it said nothing. */
  readonly said: string
}

/** What a VM has used of its host since it was started, as its host sees it. */
export interface VmUsage {
  readonly cpuMs: number
  /** Of the host's memory, without what it shares with others. */
  readonly memoryBytes: number
  /** Of its disks, by its guest; null where the hypervisor does not say at present. */
  readonly readBytes: number | null
  readonly writtenBytes: number | null
}

export interface Vm {
  readonly handle: VmHandle
  /** Resolves once, never rejects. */
  readonly exit: Promise<VmExit>
  /** Lets the guest run; repeated calls do nothing. */
  start(): Promise<void>
  /** Asks; resolves when asked. Safe to repeat and on a dead VM. */
  shutdown(): Promise<void>
  /** Insists; resolves when the process is gone. Safe to repeat. */
  kill(): Promise<void>
  /** Stops the guest's processors: when it resolves the guest uses no time of the host. Only where the fingerprint says so. */
  pause(): Promise<void>
  /** Lets them run again, from where they stood; the guest's clock is the caller's to repair. */
  resume(): Promise<void>
  /** Null when it is gone. A VM that stands still is not disturbed. */
  used(): Promise<VmUsage | null>
  /** Lets go of a VM that runs on: no connection, no timer is left of it here, and `exit` may never be known. */
  release(): void
}

/** A VM that can be saved: booted once, never given to anybody. */
export interface TemplateVm extends Vm {
  /**
   * Stops the guest and ends the VM, with its state in `file`, written last and atomically: where that file is, memory file and
   * disks are complete, also after a power failure. Fails with TEMPLATE_NOT_SAVED, VWN_DIED, HYPERVISOR_SILENT, CANCELLED, DISK_FULL
   * or FILE_UNWRITABLE, and then neither VM, state nor memory file is left.
   */
  saveState(file: string, signal: AbortSignal): Promise<void>
}

/** A VM without a guest, until it is given the state of one. A bait that restarts does not recover it, but destroys it. */
export interface BlankVm extends Pick<Vm, 'handle' | 'exit' | 'kill' | 'release'> {
  /**
   * The guest as it was saved, waiting for `start`; called once. Fails with FILE_UNREADABLE, TEMPLATE_STATE_DAMAGED,
   * TEMPLATE_OTHER_MACHINE, TEMPLATE_MEMORY_WRONG, TEMPLATE_REFUSED, VWN_DIED, HYPERVISOR_SILENT or CANCELLED, and then nothing is left of the VM.
   */
  restore(stateFile: string, signal: AbortSignal): Promise<Vm>
}

export interface Hypervisor {
  readonly name: string
  fingerprint(): Promise<Fingerprint>
  /**
   * A VM whose guest waits for `start`. Fails with HYPERVISOR_FAILED, PORT_IN_USE or CANCELLED, and then nothing is left
   * of it; the caller's folder and disks are the caller's.
   */
  boot(spec: VmSpec, signal: AbortSignal): Promise<Vm>
  /** As `boot`, of a VM that can be saved; fails also with FILE_UNWRITABLE or DISK_FULL, and leaves no memory file then. */
  bootTemplate(spec: FileMemorySpec, signal: AbortSignal): Promise<TemplateVm>
  /** As `boot`, of a VM that waits for a template's state; fails also with FILE_UNREADABLE or TEMPLATE_MEMORY_WRONG. */
  blank(spec: FileMemorySpec, signal: AbortSignal): Promise<BlankVm>
  /** Null means that it is provably gone; HYPERVISOR_REFUSED when it has no guest yet, or half of one. */
  recover(handle: VmHandle): Promise<Vm | null>
  /** Every process of this driver on this host whose VM's name starts so, recorded or not. */
  find(namePrefix: string): Promise<readonly VmHandle[]>
  /** That very VM is gone, whoever it was; never another one with its pid. */
  destroy(handle: VmHandle): Promise<void>
}
