/** What a driver must do that makes VMs out of a template. Part of test/contract/hypervisor.ts; one template serves all its tests. */
import { copyFile, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ErrorCode, Facts } from '../../core/errors.ts'
import type { FileMemorySpec, Vm } from '../../bait/hypervisor/hypervisor.ts'
import { readState, writeState } from '../../bait/hypervisor/template-files.ts'
import { tempFolder } from '../harness/temp.ts'
import { workFor, type Candidate } from './hypervisor.ts'

/** What is in a VM's folder when nothing but what the caller put there is left. */
const ours = ['output.log', 'pristine', 'scratch', 'seed.tar']

export function templateContract({ name, hypervisor, guests, crash, usedMs, guestMemoryKib, slowMs }: Candidate): void {
  const never = new AbortController().signal
  const prefix = `wnod.c1a0e${process.pid}.h1.`
  let folder: Awaited<ReturnType<typeof tempFolder>>
  let template: FileMemorySpec
  let serial = 0
  const at = (...names: string[]): string => join(folder.path, ...names)
  const stateFile = (): string => at('state')

  async function machine(memoryFile: string): Promise<{ spec: FileMemorySpec; scratch: string; left: () => Promise<string[]> }> {
    const vm = `v${++serial}`
    const dir = at(vm)
    await mkdir(dir)
    const sockets = { control: join(dir, 'qmp.sock'), port: join(dir, 'agent.sock'), console: join(dir, 'serial.sock') }
    const scratch = join(dir, 'scratch')
    const spec = await guests.spec({ name: prefix + vm, sockets, output: join(dir, 'output.log'), stateSocket: join(dir, 'state.sock'), memoryFile }, scratch, folder.path)
    return { spec, scratch, left: async () => (await readdir(dir)).filter((file) => !ours.includes(file)) }
  }

  /** A template of its own, for tests that spoil it before it is saved. */
  async function spoiled() {
    const place = await machine(at(`v${serial + 1}`, 'memory'))
    await guests.makeScratch(place.scratch)
    const vm = await hypervisor.bootTemplate(place.spec, never)
    await vm.start()
    return { ...place, vm, state: at(`v${serial}`, 'state') }
  }

  async function blank(changes: Partial<FileMemorySpec> = {}) {
    const place = await machine(template.memoryFile)
    const backing = template.disks.find(({ serial: disk }) => disk === 'scratch')?.path ?? ''
    await guests.cloneScratch(backing, place.scratch)
    return { ...place, vm: await hypervisor.blank({ ...place.spec, ...changes }, never) }
  }

  async function clone(): Promise<{ vm: Vm; spec: FileMemorySpec }> {
    const { vm, spec } = await blank()
    return { vm: await vm.restore(stateFile(), never), spec }
  }

  const nothingRuns = async (): Promise<void> => expect(await hypervisor.find(prefix)).toEqual([])

  describe(`templates of ${name}`, () => {
    beforeAll(async () => {
      folder = await tempFolder()
      const place = await machine(at('memory'))
      template = place.spec
      await guests.makeScratch(place.scratch)
      const vm = await hypervisor.bootTemplate(template, never)
      await vm.start()
      const words = await guests.meet(template)
      await words.put('memory', 'remembered')
      await words.put('scratch', 'written')
      words.close()
      await vm.saveState(stateFile(), never)
      await vm.exit
      expect(await place.left()).toEqual([])
      await nothingRuns()
    }, slowMs * 2)

    afterAll(async () => {
      for (const left of await hypervisor.find(prefix)) await hypervisor.destroy(left)
      await folder[Symbol.asyncDispose]()
    })

    test('two clones go on where the template stood, side by side, and do not see what the other remembers or writes', async () => {
      const memory = await readFile(template.memoryFile)
      const [one, two] = [await clone(), await clone()]
      await one.vm.start()
      const first = await guests.meet(one.spec)
      expect([await first.get('memory'), await first.get('scratch')]).toEqual(['remembered', 'written'])
      await first.put('memory', 'mine')
      await first.put('scratch', 'mine')
      await two.vm.start()
      const second = await guests.meet(two.spec)
      expect([await second.get('memory'), await second.get('scratch')]).toEqual(['remembered', 'written'])
      await second.put('memory', 'thine')
      await second.put('scratch', 'thine')
      expect([await first.get('memory'), await first.get('scratch')]).toEqual(['mine', 'mine'])
      first.close()
      second.close()
      await Promise.all([one.vm.kill(), two.vm.kill()])
      expect((await readFile(template.memoryFile)).equals(memory)).toBe(true)
      await nothingRuns()
    })

    test('a restored guest waits for start, and can be paused, resumed and found again', async () => {
      const before = await clone()
      const used = usedMs(before.vm)
      workFor(200)
      expect(usedMs(before.vm) - used).toBeLessThanOrEqual(10)
      before.vm.release()
      const vm = await hypervisor.recover(JSON.parse(JSON.stringify(before.vm.handle)) as Vm['handle'])
      if (vm === null) throw new Error('it is gone')
      await vm.start()
      await vm.pause()
      await vm.resume()
      const words = await guests.meet(before.spec)
      expect(await words.get('memory')).toBe('remembered')
      words.close()
      await vm.kill()
      await nothingRuns()
    })

    test('a blank takes no guest memory, and is not recovered', async () => {
      const { vm } = await blank()
      expect(guestMemoryKib(vm, template.memoryFile)).toBe(0)
      vm.release()
      await expect(hypervisor.recover(vm.handle)).rejects.toMatchObject({ code: 'HYPERVISOR_REFUSED' })
      await hypervisor.destroy(vm.handle)
      await vm.exit
      await nothingRuns()
    })

    describe('is refused', () => {
      /** The state as somebody left it. */
      async function refuses(code: ErrorCode, spoil: (state: string) => Promise<void>, facts: Facts = {}): Promise<void> {
        const state = at('spoiled')
        await copyFile(stateFile(), state)
        await spoil(state)
        const { vm, left } = await blank()
        await expect(vm.restore(state, never)).rejects.toMatchObject({ code, facts })
        await vm.exit
        expect(await left()).toEqual([])
        await nothingRuns()
      }

      test('a state that was cut short', async () => {
        const bytes = (await readState(stateFile(), template)).length
        await refuses('TEMPLATE_STATE_DAMAGED', async (state) => truncate(state, (await readFile(state)).length - 1), { bytes: bytes - 1, expected: bytes })
      })
      test('a state that was emptied', () => refuses('TEMPLATE_STATE_DAMAGED', (state) => truncate(state, 0)))
      test('a state of which one bit is another', () =>
        refuses('TEMPLATE_STATE_DAMAGED', async (state) => {
          const bytes = await readFile(state)
          bytes[bytes.length - 2] = (bytes[bytes.length - 2] ?? 0) ^ 1
          await writeFile(state, bytes)
        }))
      test('a state that is not there', () => refuses('FILE_UNREADABLE', (state) => rm(state)))
      test('a state of another machine', () => refuses('TEMPLATE_OTHER_MACHINE', (state) => writeState(state, { ...template, cpus: template.cpus + 1 }, Buffer.from('x'))))
      test('a whole state that the hypervisor cannot read', () => refuses('TEMPLATE_REFUSED', (state) => writeState(state, template, Buffer.from('nonsense'.repeat(100)))))

      test('a memory file of another size, before anything is started and just before it is used', async () => {
        const memoryFile = at('short')
        await writeFile(memoryFile, '')
        await truncate(memoryFile, template.memoryMib * 1024 ** 2 - 4096)
        const place = await machine(memoryFile)
        await expect(hypervisor.blank(place.spec, never)).rejects.toMatchObject({ code: 'TEMPLATE_MEMORY_WRONG' })
        await truncate(memoryFile, template.memoryMib * 1024 ** 2)
        const { vm, left } = await blank({ memoryFile })
        await truncate(memoryFile, 4096)
        await expect(vm.restore(stateFile(), never)).rejects.toMatchObject({ code: 'TEMPLATE_MEMORY_WRONG' })
        expect(await left()).toEqual([])
        await nothingRuns()
      })

      test('a memory file that is there before its template', async () => {
        const memoryFile = at('old')
        await writeFile(memoryFile, 'old')
        const place = await machine(memoryFile)
        await expect(hypervisor.bootTemplate(place.spec, never)).rejects.toMatchObject({ code: 'FILE_UNWRITABLE' })
        expect(await readFile(memoryFile, 'utf8')).toBe('old')
      })
    })

    describe('leaves nothing', () => {
      test('when the VM ends while it is saved', async () => {
        const { vm, left, state } = await spoiled()
        const saving = vm.saveState(state, never)
        const refused = expect(saving).rejects.toMatchObject({ code: 'VWN_DIED' })
        await crash(vm)
        await refused
        expect(await left()).toEqual([])
        await nothingRuns()
      })

      test('when saving is given up, before or half-way', async () => {
        const early = await spoiled()
        await expect(early.vm.saveState(early.state, AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' })
        expect(await early.left()).toEqual([])
        const late = await spoiled()
        const stop = new AbortController()
        const saving = late.vm.saveState(late.state, stop.signal)
        stop.abort()
        await expect(saving).rejects.toMatchObject({ code: 'CANCELLED' })
        expect(await late.left()).toEqual([])
        await nothingRuns()
      })

      test('when the state cannot be written', async () => {
        const { vm, left } = await spoiled()
        await expect(vm.saveState(join(template.memoryFile, 'state'), never)).rejects.toMatchObject({ code: 'FILE_UNWRITABLE' })
        expect(await left()).toEqual([])
        await nothingRuns()
      })

      test('when the VM ends while it is restored', async () => {
        const { vm, left } = await blank()
        const refused = expect(vm.restore(stateFile(), never)).rejects.toMatchObject({ code: 'VWN_DIED' })
        await crash(vm)
        await refused
        await vm.exit
        expect(await left()).toEqual([])
        await nothingRuns()
      })

      test('when restoring is given up', async () => {
        const { vm, left } = await blank()
        const stop = new AbortController()
        const restoring = vm.restore(stateFile(), stop.signal)
        stop.abort()
        await expect(restoring).rejects.toMatchObject({ code: 'CANCELLED' })
        await vm.exit
        expect(await left()).toEqual([])
        await nothingRuns()
      })
    })
  })
}
