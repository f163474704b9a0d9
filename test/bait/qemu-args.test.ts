import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { VmSpec } from '../../bait/hypervisor/hypervisor.ts'
import { controlInArgs, nameInArgs, qemuArgs } from '../../bait/hypervisor/qemu-args.ts'
import { machineOf } from '../../bait/hypervisor/template-files.ts'

const spec: VmSpec = {
  name: 'wnod.0123456789ab.h1.v17',
  sockets: { control: '/h/qmp.sock', port: '/h/agent.sock', console: '/h/serial.sock' },
  output: '/h/hypervisor.log',
  accelerator: 'tcg',
  cpus: 2,
  memoryMib: 512,
  kernel: '/i/kernel',
  initrd: '/i/initrd',
  cmdline: 'console=ttyS0 quiet',
  network: 'isolated',
  sshPort: 40_022,
  disks: [
    { serial: 'os', path: '/i/os.ext4', format: 'raw', readOnly: true },
    { serial: 'scratch', path: '/h/scratch.qcow2', format: 'qcow2', readOnly: false },
    { serial: 'seed', path: '/h/seed.tar', format: 'raw', readOnly: true },
  ],
}

test('the whole command line, as it is', () => {
  expect(qemuArgs(spec).join(' ').replaceAll(' -', '\n-').split('\n')).toMatchInlineSnapshot(`
    [
      "-name wnod.0123456789ab.h1.v17,process=wnod-v17",
      "-nodefaults",
      "-no-user-config",
      "-no-reboot",
      "-display none",
      "-S",
      "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
      "-machine microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,x-option-roms=off,memory-backend=memory",
      "-object memory-backend-ram,id=memory,size=512M",
      "-accel tcg,thread=multi,tb-size=256",
      "-cpu max,-avx,-avx2,-erms,-fsrm,-la57",
      "-smp 2",
      "-m 512M",
      "-kernel /i/kernel",
      "-initrd /i/initrd",
      "-append console=ttyS0 quiet",
      "-blockdev driver=raw,node-name=os,read-only=on,file.driver=file,file.filename=/i/os.ext4,file.locking=off",
      "-device virtio-blk-device,drive=os,serial=os",
      "-blockdev driver=qcow2,node-name=scratch,read-only=off,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/h/scratch.qcow2",
      "-device virtio-blk-device,drive=scratch,serial=scratch",
      "-blockdev driver=raw,node-name=seed,read-only=on,file.driver=file,file.filename=/h/seed.tar,file.locking=off",
      "-device virtio-blk-device,drive=seed,serial=seed",
      "-netdev user,id=net,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:40022-:22",
      "-device virtio-net-device,netdev=net,guest_announce=off",
      "-object rng-random,id=rng,filename=/dev/urandom",
      "-device virtio-rng-device,rng=rng",
      "-chardev socket,id=port,path=/h/agent.sock,server=on,wait=off",
      "-device virtio-serial-device",
      "-device virtserialport,chardev=port,name=org.wnod.agent",
      "-chardev socket,id=console,path=/h/serial.sock,server=on,wait=off",
      "-serial chardev:console",
      "-chardev socket,id=control,path=/h/qmp.sock,server=on,wait=off",
      "-mon chardev=control,mode=control",
    ]
  `)
})

test('kvm takes the processor as it is, and trusts no emulated one', () => {
  const args = qemuArgs({ ...spec, accelerator: 'kvm' }).join(' ')
  expect(args).toContain('-accel kvm -cpu host')
  expect(args).not.toContain('tcg')
})

test('an outbound network is not restricted, and none is none', () => {
  expect(qemuArgs({ ...spec, network: 'outbound' }).join(' ')).toContain('user,id=net,ipv6=off,hostfwd=')
  const none = qemuArgs({ ...spec, network: 'none' }).join(' ')
  expect(none).not.toContain('netdev')
  expect(none).not.toContain('virtio-net')
})

test('every disk that is read-only is so for QEMU too, and nothing else is writable', () => {
  const drives = qemuArgs(spec).filter((arg) => arg.includes('node-name='))
  expect(drives.filter((drive) => drive.includes('read-only=on')).map((drive) => /node-name=(\w+)/.exec(drive)?.[1])).toEqual(['os', 'seed'])
  expect(drives.filter((drive) => drive.includes('read-only=off')).map((drive) => /node-name=(\w+)/.exec(drive)?.[1])).toEqual(['scratch'])
})

test('the name and the socket of a running QEMU are found again, whatever is in them', () => {
  const odd: VmSpec = { ...spec, name: 'wnod.ab,c.h1.v1', sockets: { ...spec.sockets, control: '/a,b/qmp.sock' } }
  const running = ['/usr/bin/qemu-system-x86_64', ...qemuArgs(odd)]
  expect(nameInArgs(running)).toBe(odd.name)
  expect(controlInArgs(running)).toBe('/a,b/qmp.sock')
})

test.each([
  [['qemu-system-x86_64', '-name', 'guest=wnod.x.h1.v1,process=p'], 'wnod.x.h1.v1'],
  [['qemu-system-x86_64', '-name', 'somebody-elses'], null],
  [['qemu-system-x86_64'], null],
  [['vi', '-name', 'wnod.x.h1.v1'], null],
  [[], null],
])('%j is %s', (args, name) => {
  expect(nameInArgs(args)).toBe(name)
})

/** What a template and its clone may differ in, blanked; all else stays where it is. */
const blanked = (args: readonly string[]): readonly string[] => {
  const movable: readonly (readonly [RegExp, string])[] = [
    [/^wnod\.((?:[^,]|,,)*),process=.*$/, 'NAME'],
    [/(?<=^socket,id=(?:port|console|control),path=)((?:[^,]|,,)*)/, 'PATH'],
    [/(?<=,share=)(?:on|off)$/, 'SHARE'],
    [/,hostfwd=.*$/, ''],
    [/(?<=^driver=qcow2,node-name=scratch,read-only=off,.*file\.filename=)((?:[^,]|,,)*)$/, 'PATH'],
  ]
  return args.map((arg) => movable.reduce((text, [what, by]) => text.replace(what, by), arg))
}

const clonePaths = (folder: string): Partial<VmSpec> => ({
  name: `wnod.0123456789ab.h1.${folder}`,
  sockets: { control: `/${folder}/qmp.sock`, port: `/${folder}/agent.sock`, console: `/${folder}/serial.sock` },
  output: `/${folder}/hypervisor.log`,
  disks: spec.disks.map((disk) => (disk.readOnly ? disk : { ...disk, path: `/${folder}/scratch.qcow2` })),
})

test('a template keeps its memory in a shared file, a clone maps it privately and waits for its state', () => {
  const own = qemuArgs(spec)
  const template = qemuArgs(spec, { file: '/t/mem,ory', of: 'template' })
  const clone = qemuArgs(spec, { file: '/t/mem,ory', of: 'clone' })
  const at = own.indexOf('memory-backend-ram,id=memory,size=512M')
  expect(template).toEqual(own.with(at, 'memory-backend-file,id=memory,size=512M,mem-path=/t/mem,,ory,share=on'))
  expect(clone).toEqual([...own.with(at, 'memory-backend-file,id=memory,size=512M,mem-path=/t/mem,,ory,share=off'), '-incoming', 'defer'])
})

test('a clone is its template, argument by argument, but for its names and paths', () => {
  const shapes = fc.record({ cpus: fc.integer({ min: 1, max: 8 }), memoryMib: fc.integer({ min: 64, max: 4096 }), network: fc.constantFrom('isolated', 'outbound', 'none'), accelerator: fc.constantFrom('tcg', 'kvm') })
  fc.assert(fc.property(shapes, fc.option(fc.integer({ min: 1, max: 65_535 })), fc.stringMatching(/^[a-z,]{1,20}$/), (shape, sshPort, folder) => {
    const template = { ...spec, ...shape }
    const clone = { ...template, ...clonePaths(folder), sshPort }
    const args = qemuArgs(clone, { file: '/t/memory', of: 'clone' })
    expect(args.slice(-2)).toEqual(['-incoming', 'defer'])
    expect(blanked(args.slice(0, -2))).toEqual(blanked(qemuArgs(template, { file: '/t/memory', of: 'template' })))
    expect(machineOf(clone)).toBe(machineOf(template))
  }))
})

test('what changes the machine makes it another one', () => {
  const others: readonly Partial<VmSpec>[] = [
    { accelerator: 'kvm' }, { cpus: 3 }, { memoryMib: 513 }, { kernel: '/i/other' }, { initrd: '/i/other' }, { cmdline: 'quiet' }, { network: 'none' },
    { disks: spec.disks.slice(0, 2) },
    { disks: [...spec.disks].reverse() },
    { disks: spec.disks.map((disk) => (disk.serial === 'os' ? { ...disk, path: '/i/other.ext4' } : disk)) },
  ]
  const machines = [{}, ...others].map((other) => machineOf({ ...spec, ...other }))
  expect(new Set(machines).size).toBe(machines.length)
})
