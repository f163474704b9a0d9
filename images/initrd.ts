/** Our own first root: the few drivers that a microvm needs, what a guest with the agent mounts file systems with, and one program. */
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { VwnError } from '../core/errors.ts'
import type { Contact } from '../core/reuse.ts'
import { cpio, type CpioEntry } from './cpio.ts'

/** What our program and the image need; what these depend on comes along. */
const machineModules = ['virtio_mmio', 'virtio_blk', 'virtio_net', 'virtio_console', 'virtio_rng', 'overlay']
/** Loaded at boot, so that templates have them, and so that the agent finds nothing new in the kernel after a job that has used them. */
const shareModules = ['nfs', 'nfsv4']

/** The modules to start with in a guest with or without the agent. */
export const modulesFor = (contact: Contact): readonly string[] => (contact === 'agent' ? [...machineModules, ...shareModules] : machineModules)

/** A kernel module's file. */
export interface Module {
  readonly file: string
  readonly depends: readonly string[]
  readonly bytes: Uint8Array
}

/** The archive, not packed: unpacking it would take an emulated guest longer than QEMU takes to load it. */
export function initrd(init: Uint8Array, modules: readonly Module[]): Uint8Array {
  const folder = (path: string): CpioEntry => ({ kind: 'folder', path })
  const file = (path: string, bytes: Uint8Array, mode = 0o644): CpioEntry => ({ kind: 'file', path, mode, bytes })
  return cpio([
    ...['dev', 'modules', 'os', 'root', 'scratch', 'sys'].map(folder),
    { kind: 'device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    file('init', init, 0o755),
    file('modules/order', Buffer.from(modules.map((module) => `${module.file}\n`).join(''))),
    ...modules.map((module) => file(`modules/${module.file}`, module.bytes)),
  ])
}

/** The wanted modules of the kernel whose package was unpacked to `folder`, with all they depend on; built-in ones aside. */
export async function findModules(folder: string, wantedModules: readonly string[]): Promise<readonly Module[]> {
  const files = (await readdir(join(folder, 'lib/modules'), { recursive: true })).map((file) => join(folder, 'lib/modules', file))
  const byName = new Map(files.filter((file) => file.endsWith('.ko')).map((file) => [nameOf(file), file]))
  const listed = files.find((file) => basename(file) === 'modules.builtin')
  const builtIn = new Set(listed === undefined ? [] : (await readFile(listed, 'utf8')).split('\n').map(nameOf))
  const modules = new Map<string, Module>()
  for (const name of [...byName.keys()]) {
    if (modules.has(name) || !wantedModules.includes(name)) continue
    await readWith(name, byName, builtIn, modules)
  }
  const missing = wantedModules.find((name) => !modules.has(name) && !builtIn.has(name))
  if (missing !== undefined) throw new VwnError('IMAGE_BUILD_FAILED', { step: 'modules', missing })
  return [...modules.values()]
}

/** The modules in this folder, each after those it depends on. */
export async function readModules(folder: string): Promise<readonly Module[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ko'))
  const modules = await Promise.all(files.map(async (file) => [nameOf(file), moduleOf(file, await readFile(join(folder, file)))] as const))
  return inOrder(new Map(modules))
}

const moduleOf = (file: string, bytes: Buffer): Module => ({ file, depends: dependsOn(bytes), bytes })

async function readWith(name: string, byName: ReadonlyMap<string, string>, builtIn: ReadonlySet<string>, into: Map<string, Module>): Promise<void> {
  const path = byName.get(name)
  if (path === undefined || builtIn.has(name) || into.has(name)) return
  const module = moduleOf(basename(path), await readFile(path))
  into.set(name, module)
  for (const other of module.depends) await readWith(other, byName, builtIn, into)
}

/** A module says what it depends on in its own file, as `depends=a,b` between zero bytes. */
export function dependsOn(module: Buffer): readonly string[] {
  const list = /\0depends=([^\0]*)\0/.exec(module.toString('latin1'))?.[1] ?? ''
  return list.split(',').filter((name) => name !== '').map(nameOf)
}

/** Each module after those it depends on, otherwise by name: the same set gives the same order. */
export function inOrder(modules: ReadonlyMap<string, Module>): readonly Module[] {
  const done = new Set<string>()
  const order: Module[] = []
  const visit = (name: string): void => {
    const module = modules.get(name)
    if (module === undefined || done.has(name)) return
    done.add(name)
    module.depends.forEach(visit)
    order.push(module)
  }
  ;[...modules.keys()].sort().forEach(visit)
  return order
}

/** `virtio-rng.ko` is the module virtio_rng. */
const nameOf = (file: string): string => basename(file).replace(/\.ko$/, '').replaceAll('-', '_')
