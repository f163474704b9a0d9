import { createServer } from 'node:net'
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { fake } from '../../bait/hypervisor/fake.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { systemClock } from '../../kit/clock.ts'
import { listenTcp } from '../../kit/socket.ts'
import { tempFolder } from '../harness/temp.ts'
import { testImages } from '../harness/images.ts'
import { hypervisorContract } from './hypervisor.ts'
import { join } from 'node:path'

const scripted = fake({ clock: systemClock, bootMs: 1 })
hypervisorContract({
  name: 'fake',
  hypervisor: scripted,
  lacks: null,
  slowMs: 10_000,
  spec: (base) => Promise.resolve({ ...base, accelerator: 'tcg', cpus: 1, memoryMib: 128, kernel: '/none', initrd: '/none', cmdline: '', disks: [], network: 'none', sshPort: null }),
  crash: (vm) => scripted.crash(vm.handle.name),
})

const real = qemu({ clock: systemClock })
const image = await testImages().any()
const found = await real.fingerprint()
hypervisorContract({
  name: 'qemu',
  hypervisor: real,
  lacks: !found.healthy ? found.why : image === null ? 'no image to boot: WNOD_IMAGES names no store with one' : null,
  slowMs: 60_000,
  spec: (base) => Promise.resolve({ ...base, accelerator: 'tcg', cpus: 1, memoryMib: 256, kernel: image?.kernel ?? '', initrd: image?.initrd ?? '', cmdline: 'console=ttyS0', disks: [], network: 'isolated', sshPort: null }),
  crash: async (vm) => void process.kill(vm.handle.pid, 'SIGABRT'),
})

test('a hypervisor that is not installed is an answer, and a boot that says so', async () => {
  const missing = qemu({ clock: systemClock, program: '/nowhere/qemu-system-x86_64' })
  expect(await missing.fingerprint()).toMatchObject({ healthy: false, version: null, why: expect.stringContaining('qemu-system-x86') as string })
  await using folder = await tempFolder()
  const at = (name: string): string => join(folder.path, name)
  const boot = missing.boot({
    name: 'wnod.none.h1.v1', sockets: { control: at('a'), port: at('b'), console: at('c') }, output: at('out'), accelerator: 'tcg', cpus: 1, memoryMib: 128,
    kernel: '/none', initrd: '/none', cmdline: '', disks: [], network: 'none', sshPort: null,
  }, new AbortController().signal)
  await expect(boot).rejects.toMatchObject({ code: 'HYPERVISOR_MISSING' })
})

test.skipIf(!found.healthy)('a port that somebody has is told apart from all else that keeps QEMU from starting', { timeout: 30_000 }, async () => {
  await using folder = await tempFolder()
  const at = (name: string): string => join(folder.path, name)
  const server = createServer()
  const sshPort = await listenTcp(server, 0)
  const base = { sockets: { control: at('a'), port: at('b'), console: at('c') }, output: at('out'), accelerator: 'tcg', cpus: 1, memoryMib: 128, kernel: '/none', initrd: '/none', cmdline: '', network: 'isolated' } as const
  const taken = real.boot({ ...base, name: 'wnod.none.h1.v2', disks: [], sshPort }, new AbortController().signal)
  await expect(taken).rejects.toMatchObject({ code: 'PORT_IN_USE' })
  server.close()
  const broken = real.boot({ ...base, name: 'wnod.none.h1.v3', disks: [{ serial: 'os', path: '/none', format: 'raw', readOnly: true }], sshPort: null }, new AbortController().signal)
  await expect(broken).rejects.toMatchObject({ code: 'HYPERVISOR_FAILED', facts: { said: expect.stringContaining('/none') as string } })
  expect(await readFile(at('out'), 'utf8')).toContain('/none')
})
