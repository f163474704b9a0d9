import { readFileSync } from 'node:fs'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { scratchDisks } from '../../bait/disk/scratch.ts'
import { fake, type FakeVm } from '../../bait/hypervisor/fake.ts'
import type { Vm } from '../../bait/hypervisor/hypervisor.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { connectWhenUp } from '../../bait/ssh/session.ts'
import { newKeyPair } from '../../bait/vwns/keys.ts'
import { seedTar } from '../../bait/vwns/seed.ts'
import { systemClock } from '../../kit/clock.ts'
import { kernelCommandLine } from '../../kit/image-store.ts'
import { freePort, listenTcp } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from '../harness/temp.ts'
import { testImages } from '../harness/images.ts'
import { hypervisorContract } from './hypervisor.ts'

/** /dev/shm of the guest is memory of its own; / lies on the scratch disk. */
const wordFiles = { memory: '/dev/shm/word', scratch: '/word' } as const

const scripted = fake({ clock: systemClock, bootMs: 1 })
const played = (vm: Pick<Vm, 'handle'>): FakeVm => {
  const found = scripted.vms.find(({ handle }) => handle.pid === vm.handle.pid)
  if (found === undefined) throw new Error('no such vm')
  return found
}
const nothing = { accelerator: 'tcg', cpus: 1, memoryMib: 128, kernel: '/none', initrd: '/none', cmdline: '', disks: [], network: 'none', sshPort: null } as const
hypervisorContract({
  name: 'fake',
  hypervisor: scripted,
  lacks: null,
  slowMs: 10_000,
  spec: (base) => Promise.resolve({ ...base, ...nothing }),
  crash: (vm) => scripted.crash(vm.handle.name),
  usedMs: (vm) => played(vm).ranMs(),
  guestMemoryKib: () => 0,
  guests: {
    spec: (base, scratch) => Promise.resolve({ ...base, ...nothing, memoryMib: 1, disks: [{ serial: 'scratch', path: scratch, format: 'qcow2', readOnly: false }] }),
    makeScratch: (path) => writeFile(path, ''),
    cloneScratch: (backing, path) => copyFile(backing, path),
    async meet(spec) {
      const vm = await until(() => scripted.vms.findLast(({ handle, state }) => handle.name === spec.name && state === 'running'), { withinMs: 5_000, what: 'guest runs' })
      return { put: async (where, word) => void (vm.words[where] = word), get: (where) => Promise.resolve(vm.words[where]), close: () => undefined }
    },
  },
})

const real = qemu({ clock: systemClock })
const image = await testImages().any()
const found = await real.fingerprint()
const [hostKey, clientKey] = [newKeyPair(), newKeyPair()]
hypervisorContract({
  name: 'qemu',
  hypervisor: real,
  lacks: !found.healthy ? found.why : image === null ? 'no image to boot: WNOD_IMAGES names no store with one' : null,
  slowMs: 180_000,
  spec: (base) => Promise.resolve({ ...base, accelerator: 'tcg', cpus: 1, memoryMib: 256, kernel: image?.kernel ?? '', initrd: image?.initrd ?? '', cmdline: 'console=ttyS0', disks: [], network: 'isolated', sshPort: null }),
  crash: async (vm) => void process.kill(vm.handle.pid, 'SIGABRT'),
  usedMs: (vm) => usedMs(vm.handle.pid),
  guestMemoryKib: (vm, memoryFile) => mappedKib(vm.handle.pid, memoryFile),
  guests: {
    async spec(base, scratch, common) {
      if (image?.manifest.contact !== 'ssh') throw new Error('the contract looks into the tiny image: `npm run setup` builds it')
      const { manifest, kernel, initrd, os } = image
      const seed = join(common, 'seed.tar')
      await writeFile(seed, seedTar({ hostname: 'template', hostKeyFormat: manifest.hostKeyFormat, host: hostKey, client: clientKey }), { mode: 0o600 })
      const cmdline = kernelCommandLine(manifest, { accelerator: 'tcg', cpuinfo: await readFile('/proc/cpuinfo', 'utf8') })
      return {
        ...base, accelerator: 'tcg', cpus: 1, memoryMib: 256, kernel, initrd, cmdline, network: 'isolated', sshPort: await freePort(),
        disks: [
          { serial: 'os', path: os, format: 'raw', readOnly: true },
          { serial: 'scratch', path: scratch, format: 'qcow2', readOnly: false },
          { serial: 'seed', path: seed, format: 'raw', readOnly: true },
        ],
      }
    },
    makeScratch: (path) => scratchDisks(join(dirname(path), 'pristine')).overlay(path, 1),
    cloneScratch: (backing, path) => scratchDisks(join(dirname(path), 'pristine')).clone(backing, path),
    async meet(spec) {
      const address = { host: '127.0.0.1', port: spec.sshPort ?? 0, hostKey: hostKey.shared, clientKey: clientKey.secret }
      const session = await connectWhenUp(address, AbortSignal.timeout(150_000))
      const said = async (command: string): Promise<string> => text(await session.exec(command))
      return {
        put: async (where, word) => void (await said(`echo -n ${word} > ${wordFiles[where]}; sync`)),
        // What is read of the scratch disk comes from the disk.
        get: (where) => said(`echo 3 > /proc/sys/vm/drop_caches; cat ${wordFiles[where]}`),
        close: () => session.close(),
      }
    },
  },
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

/** utime and stime of all threads, in whole ticks of a hundredth of a second. */
function usedMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

/** What a process has in use of its mapping of this file. */
function mappedKib(pid: number, file: string): number {
  const maps = readFileSync(`/proc/${pid}/smaps`, 'utf8')
  const mapping = maps.slice(maps.indexOf(` ${file}\n`))
  if (mapping === maps) throw new Error(`${file} is not mapped`)
  return Number(/^Rss: +(\d+) kB$/m.exec(mapping)?.[1])
}
