/** QEMU's command line, as a pure function of what is wanted; golden-tested in test/bait/qemu-args.test.ts. */
import type { VmDisk, VmSpec } from './hypervisor.ts'
import { agentPortName } from '../../wire/guest.ts'

/**
 * What emulation does slowly is better not offered to the guest: with erms every memcpy becomes a loop over bytes (five times
 * slower), AVX doubles the work of each translation, la57 lengthens every page walk.
 */
const cpuModels = { kvm: 'host', tcg: 'max,-avx,-avx2,-erms,-fsrm,-la57' } as const

/**
 * What QEMU may keep of translated code; by itself it would take a gigabyte for each VM. A Debian 12 guest had 121 MiB of it when it had
 * booted, a clone 60 MiB when it had run a first command. When it is full it is emptied, and all code translated anew.
 */
const translatedMib = 256

/** QEMU splits options at commas; a doubled one stands for itself. */
const literal = (text: string): string => text.replaceAll(',', ',,')

const listening = (id: string, path: string): string[] => ['-chardev', `socket,id=${id},path=${literal(path)},server=on,wait=off`]

/** Guest memory in a file: a template's own, or the same mapped copy on write for a VM that waits for its state. */
export interface FileMemory {
  readonly file: string
  readonly of: 'template' | 'clone'
}

/**
 * A microvm with virtio devices only, that waits (`-S`) until it is told to run. Nothing is there unless it is named here.
 * The scratch disk dies with its VM, so a guest's flushes need not reach the host's disk. QEMU gives addresses in the order of its
 * arguments: a clone's are its template's, one by one, and what only a clone has comes last.
 */
export function qemuArgs(spec: VmSpec, memory: FileMemory | null = null): readonly string[] {
  return [
    ['-name', `${literal(spec.name)},process=${literal(shortName(spec.name))}`],
    ['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-S'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ['-machine', 'microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,x-option-roms=off,memory-backend=memory'],
    ['-object', memoryBackend(spec.memoryMib, memory)],
    ['-accel', spec.accelerator === 'kvm' ? 'kvm' : `tcg,thread=multi,tb-size=${translatedMib}`],
    ['-cpu', cpuModels[spec.accelerator], '-smp', String(spec.cpus), '-m', `${spec.memoryMib}M`],
    ['-kernel', spec.kernel, '-initrd', spec.initrd, '-append', spec.cmdline],
    ...spec.disks.map(disk),
    network(spec),
    ['-object', 'rng-random,id=rng,filename=/dev/urandom', '-device', 'virtio-rng-device,rng=rng'],
    [...listening('port', spec.sockets.port), '-device', 'virtio-serial-device', '-device', `virtserialport,chardev=port,name=${agentPortName}`],
    [...listening('console', spec.sockets.console), '-serial', 'chardev:console'],
    [...listening('control', spec.sockets.control), '-mon', 'chardev=control,mode=control'],
    memory?.of === 'clone' ? ['-incoming', 'defer'] : [],
  ].flat()
}

function memoryBackend(memoryMib: number, memory: FileMemory | null): string {
  if (memory === null) return `memory-backend-ram,id=memory,size=${memoryMib}M`
  return `memory-backend-file,id=memory,size=${memoryMib}M,mem-path=${literal(memory.file)},share=${memory.of === 'template' ? 'on' : 'off'}`
}

function disk({ serial, path, format, readOnly }: VmDisk): string[] {
  // Read-only images are shared by many VMs and never change: there is nothing to lock against.
  const file = `file.driver=file,file.filename=${literal(path)}${readOnly ? ',file.locking=off' : ''}`
  const mode = readOnly ? 'read-only=on' : 'read-only=off,discard=unmap,cache.no-flush=on'
  return ['-blockdev', `driver=${format},node-name=${serial},${mode},${file}`, '-device', `virtio-blk-device,drive=${serial},serial=${serial}`]
}

/** A clone need not announce itself to a network of its own, and would before anything else. */
function network({ network: kind, sshPort }: VmSpec): string[] {
  if (kind === 'none') return []
  const restrict = kind === 'isolated' ? ',restrict=on' : ''
  const forward = sshPort === null ? '' : `,hostfwd=tcp:127.0.0.1:${sshPort}-:22`
  return ['-netdev', `user,id=net,ipv6=off${restrict}${forward}`, '-device', 'virtio-net-device,netdev=net,guest_announce=off']
}

/** What `ps` shows: the kernel keeps 15 characters. */
const shortName = (name: string): string => `wnod-${name.slice(name.lastIndexOf('.') + 1)}`.slice(0, 15)

/** The VM's name as a running QEMU's command line carries it, or null when this is no QEMU of ours. */
export function nameInArgs(args: readonly string[]): string | null {
  if (!/(^|\/)qemu-system-[^/]*$/.test(args[0] ?? '')) return null
  const value = args[args.indexOf('-name') + 1]
  if (!args.includes('-name') || value === undefined) return null
  const name = /^(?:guest=)?((?:[^,]|,,)*)/.exec(value)?.[1]?.replaceAll(',,', ',')
  return name?.startsWith('wnod.') === true ? name : null
}

/** The VM's control socket as a running QEMU's command line carries it, or null. */
export function controlInArgs(args: readonly string[]): string | null {
  for (const arg of args) {
    const path = /^socket,id=control,path=((?:[^,]|,,)*)/.exec(arg)?.[1]
    if (path !== undefined) return path.replaceAll(',,', ',')
  }
  return null
}
