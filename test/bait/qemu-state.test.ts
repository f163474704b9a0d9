/** A QEMU that fails at every step of saving and restoring, one after the other: test/bait/played-qemu.mjs is told where. */
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { FileMemorySpec, Vm } from '../../bait/hypervisor/hypervisor.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { makeMemoryFile, readState, writeState } from '../../bait/hypervisor/template-files.ts'
import { systemClock } from '../../kit/clock.ts'
import { isAlive } from '../../kit/process.ts'
import { tempFolder } from '../harness/temp.ts'

const never = new AbortController().signal
const program = join(import.meta.dirname, 'played-qemu.mjs')
const devices = Buffer.alloc(100_000, 'state of devices ')

async function place(fate: string) {
  const folder = await tempFolder()
  const at = (name: string): string => join(folder.path, 'vm', name)
  await mkdir(at(''))
  const spec: FileMemorySpec = {
    name: `wnod.played.h1.${fate}`, sockets: { control: at('qmp.sock'), port: at('agent.sock'), console: at('serial.sock') }, output: at('output.log'), stateSocket: at('state.sock'),
    memoryFile: at('memory'), accelerator: 'tcg', cpus: 1, memoryMib: 1, kernel: '/none', initrd: '/none', cmdline: '', disks: [], network: 'none', sshPort: null,
  }
  const played = qemu({ clock: systemClock, program, stateMs: fate === 'falls-silent' ? 700 : 60_000 })
  const vms: Pick<Vm, 'kill'>[] = []
  return {
    spec,
    state: at('state'),
    left: () => readdir(at('')),
    async template() {
      const vm = await played.bootTemplate(spec, never)
      vms.push(vm)
      return vm
    },
    async blank() {
      await makeMemoryFile(spec)
      await writeState(at('state'), spec, devices)
      const vm = await played.blank(spec, never)
      vms.push(vm)
      return vm
    },
    async [Symbol.asyncDispose]() {
      for (const vm of vms) await vm.kill()
      await folder[Symbol.asyncDispose]()
    },
  }
}

describe('a template', () => {
  test.each(['all-is-well', 'dies-after-its-word'])('is whole when its QEMU has said so: %s', async (fate) => {
    await using here = await place(fate)
    const vm = await here.template()
    await vm.saveState(here.state, never)
    expect(isAlive(vm.handle)).toBe(false)
    expect(Buffer.from(await readState(here.state, here.spec)).equals(devices)).toBe(true)
    expect((await here.left()).sort()).toEqual(['memory', 'output.log', 'state'])
  })

  test.each([
    ['dies-at-stop', 'VWN_DIED'],
    ['dies-at-migrate-set-capabilities', 'VWN_DIED'],
    ['dies-at-migrate', 'VWN_DIED'],
    ['dies-half-way', 'VWN_DIED'],
    ['dies-before-its-word', 'VWN_DIED'],
    ['fails', 'TEMPLATE_NOT_SAVED'],
    ['floods', 'TEMPLATE_NOT_SAVED'],
    ['falls-silent', 'HYPERVISOR_SILENT'],
  ])('is nothing when its QEMU %s', async (fate, code) => {
    await using here = await place(fate)
    const vm = await here.template()
    await expect(vm.saveState(here.state, never)).rejects.toMatchObject({ code })
    expect(isAlive(vm.handle)).toBe(false)
    expect(await here.left()).toEqual(['output.log'])
  })

  test('is nothing when its QEMU does not start', async () => {
    await using here = await place('all-is-well')
    const missing = qemu({ clock: systemClock, program: '/nowhere/qemu-system-x86_64' })
    await expect(missing.bootTemplate(here.spec, never)).rejects.toMatchObject({ code: 'HYPERVISOR_MISSING' })
    expect(await here.left()).toEqual(['output.log'])
  })
})

describe('a clone', () => {
  test('is there when its QEMU has said so', async () => {
    await using here = await place('all-is-well')
    const vm = await (await here.blank()).restore(here.state, never)
    await vm.start()
    expect(await here.left()).not.toContain('state.sock')
    await vm.kill()
  })

  test.each([
    ['dies-at-migrate-set-capabilities', { code: 'VWN_DIED' }],
    ['dies-at-migrate-incoming', { code: 'VWN_DIED' }],
    ['dies-half-way', { code: 'VWN_DIED' }],
    ['fails', { code: 'TEMPLATE_REFUSED', facts: { said: 'as told' } }],
    ['refuses', { code: 'TEMPLATE_REFUSED', facts: { said: expect.stringContaining('load of migration failed') as string } }],
    ['falls-silent', { code: 'HYPERVISOR_SILENT' }],
  ])('is nothing when its QEMU %s, and its template stays', async (fate, failure) => {
    await using here = await place(fate)
    const vm = await here.blank()
    await expect(vm.restore(here.state, never)).rejects.toMatchObject(failure)
    expect(isAlive(vm.handle)).toBe(false)
    expect((await here.left()).sort()).toEqual(['memory', 'output.log', 'state'])
  })
})
