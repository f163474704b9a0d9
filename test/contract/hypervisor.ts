/**
 * What every hypervisor driver must do. Run by test/contract/hypervisor.test.ts against the scripted fake and against QEMU; a driver
 * that lacks what it needs on this machine is skipped with its own fingerprint's reason.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { FileMemorySpec, Hypervisor, Vm, VmHandle, VmSpec } from '../../bait/hypervisor/hypervisor.ts'
import { someoneAnswers } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from '../harness/temp.ts'
import { templateContract } from './templates.ts'

export interface Candidate {
  readonly name: string
  readonly hypervisor: Hypervisor
  /** Null, or why this driver cannot be tried here. */
  readonly lacks: string | null
  /** What is special to this driver: something to boot. */
  spec(base: Pick<VmSpec, 'name' | 'sockets' | 'output'>): Promise<VmSpec>
  /** The VM ends by itself, as its guest would make it. */
  crash(vm: Pick<Vm, 'handle'>): Promise<void>
  /** Processor time of the host that the VM has taken so far. */
  usedMs(vm: Pick<Vm, 'handle'>): number
  /** Pages of the template's memory that a VM has in use, in KiB. */
  guestMemoryKib(vm: Pick<Vm, 'handle'>, memoryFile: string): number
  readonly guests: Guests
  readonly slowMs: number
}

/** Guests that can be looked into. */
export interface Guests {
  /** A machine with such a guest; `common` is a folder for what a template and its clones share. */
  spec(base: Pick<FileMemorySpec, 'name' | 'sockets' | 'output' | 'memoryFile' | 'stateSocket'>, scratch: string, common: string): Promise<FileMemorySpec>
  makeScratch(path: string): Promise<void>
  cloneScratch(backing: string, path: string): Promise<void>
  /** Waits for a guest that was started. */
  meet(spec: VmSpec): Promise<Words>
}

/** One word in the guest's memory, one on its scratch disk. */
export interface Words {
  put(where: 'memory' | 'scratch', word: string): Promise<void>
  get(where: 'memory' | 'scratch'): Promise<string>
  close(): void
}

/** Work of our own, for which a guest that ran meanwhile would have needed a processor too. */
export function workFor(ms: number): void {
  const before = process.cpuUsage()
  const spent = (): number => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1_000
  }
  while (spent() < ms) createHash('sha256').update(Buffer.alloc(64 * 1024)).digest()
}

export function hypervisorContract(candidate: Candidate): void {
  const { name, hypervisor, lacks, spec, crash, slowMs } = candidate
  const never = new AbortController().signal
  let serial = 0

  /** A VM of the test's own; leaving the scope proves that nothing is left of it. */
  async function lab() {
    const folder = await tempFolder()
    const vmName = `wnod.c0ffee${process.pid}.h1.v${++serial}`
    const dir = join(folder.path, 'v1')
    await mkdir(dir)
    const sockets = { control: join(dir, 'qmp.sock'), port: join(dir, 'agent.sock'), console: join(dir, 'serial.sock') }
    return {
      sockets,
      dir,
      vmName,
      spec: await spec({ name: vmName, sockets, output: join(dir, 'output.log') }),
      async [Symbol.asyncDispose]() {
        for (const left of await hypervisor.find(vmName)) await hypervisor.destroy(left)
        expect(await hypervisor.find(vmName)).toEqual([])
        await folder[Symbol.asyncDispose]()
      },
    }
  }

  describe.skipIf(lacks !== null)(`${name}${lacks === null ? '' : `: ${lacks}`}`, { timeout: slowMs }, () => {
    test('the fingerprint says what there is', async () => {
      const found = await hypervisor.fingerprint()
      expect(found).toMatchObject({ healthy: true, version: expect.stringMatching(/^\d+\.\d+/) as string })
    })

    test('a booted VM listens on its sockets, and ends when killed, as often as one likes', async () => {
      await using place = await lab()
      const vm = await hypervisor.boot(place.spec, never)
      expect(await someoneAnswers(place.sockets.port)).toBe(true)
      expect(await someoneAnswers(place.sockets.console)).toBe(true)
      await vm.start()
      await Promise.all([vm.kill(), vm.kill()])
      await vm.kill()
      const exit = await vm.exit
      expect(exit).toMatchObject({ signal: 'SIGKILL' })
      expect(await vm.exit).toBe(exit)
    })

    test('the guest does not run before start', async () => {
      await using place = await lab()
      const vm = await hypervisor.boot(place.spec, never)
      expect(await hypervisor.find(place.vmName)).toEqual([vm.handle])
      await vm.start()
      await vm.start()
      await vm.kill()
    })

    test('shutdown asks, and is safe on a dead VM', async () => {
      await using place = await lab()
      const vm = await hypervisor.boot(place.spec, never)
      await vm.start()
      await vm.shutdown()
      expect(await vm.exit).toMatchObject({ code: 0 })
      await vm.shutdown()
      await vm.kill()
    })

    test('a VM that ends by itself is seen', async () => {
      await using place = await lab()
      const vm = await hypervisor.boot(place.spec, never)
      await vm.start()
      await crash(vm)
      await vm.exit
      expect(await hypervisor.recover(vm.handle)).toBeNull()
    })

    test('a forgotten VM is found again by its handle, and its end is seen', async () => {
      await using place = await lab()
      const before = await hypervisor.boot(place.spec, never)
      await before.start()
      before.release()
      const handle = JSON.parse(JSON.stringify(before.handle)) as VmHandle
      const vm = await hypervisor.recover(handle)
      expect(vm?.handle).toEqual(handle)
      await vm?.kill()
      await vm?.exit
      expect(await hypervisor.recover(handle)).toBeNull()
    })

    test('a handle whose pid is another process now is nobody, and nobody is hurt', async () => {
      await using place = await lab()
      const vm = await hypervisor.boot(place.spec, never)
      const stale = { ...vm.handle, startTicks: vm.handle.startTicks - 1 }
      expect(await hypervisor.recover(stale)).toBeNull()
      await hypervisor.destroy(stale)
      const ours = { ...vm.handle, pid: process.pid }
      expect(await hypervisor.recover(ours)).toBeNull()
      await hypervisor.destroy(ours)
      expect(await hypervisor.find(place.vmName)).toEqual([vm.handle])
      await vm.kill()
    })

    test('a cancelled boot leaves nothing', async () => {
      await using place = await lab()
      const told = new AbortController()
      told.abort()
      await expect(hypervisor.boot(place.spec, told.signal)).rejects.toMatchObject({ code: 'CANCELLED' })
      const later = new AbortController()
      const booting = hypervisor.boot(place.spec, later.signal)
      later.abort()
      await expect(booting).rejects.toMatchObject({ code: 'CANCELLED' })
      expect(await hypervisor.find(place.vmName)).toEqual([])
      expect((await readdir(place.dir)).filter((file) => file.endsWith('.sock'))).toEqual([])
    })

    test('a paused guest uses no time of the host, and a resumed one goes on', async ({ skip }) => {
      const { can } = await hypervisor.fingerprint()
      if (!can.pause) skip('this driver cannot pause')
      await using place = await lab()
      const vm = await hypervisor.boot(place.spec, never)
      const uses = async (moreMs: number): Promise<void> => {
        const before = candidate.usedMs(vm)
        await until(() => candidate.usedMs(vm) - before >= moreMs, { withinMs: slowMs / 3, what: 'guest works' })
      }
      await vm.start()
      await uses(200)
      expect(await vm.used()).toMatchObject({ cpuMs: expect.toSatisfy((ms: number) => ms >= 200), memoryBytes: expect.toSatisfy((bytes: number) => bytes > 1024 ** 2), readBytes: expect.any(Number) })
      await vm.pause()
      await vm.pause()
      expect((await vm.used())?.readBytes).toBe((await vm.used())?.readBytes)
      const before = candidate.usedMs(vm)
      workFor(500)
      expect(candidate.usedMs(vm) - before).toBeLessThanOrEqual(10) // one tick: the hypervisor's own housekeeping
      await vm.resume()
      await vm.resume()
      await uses(200)
      await vm.kill()
      expect(await vm.used()).toBeNull()
    })

    test('destroy ends a VM that nobody holds', async () => {
      await using place = await lab()
      const vm = await hypervisor.boot(place.spec, never)
      const [found] = await hypervisor.find(place.vmName)
      if (found === undefined) throw new Error('not found')
      await hypervisor.destroy(found)
      await vm.exit
      await until(async () => (await hypervisor.find(place.vmName)).length === 0, { withinMs: 5_000, what: 'process is gone' })
    })

    templateContract(candidate)
  })
}
