/** What this host can do as a bait, and what is missing, with the Debian package that mends it. Nothing is changed. */
import { constants } from 'node:fs'
import { access, readdir, stat } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { explain } from '../core/errors.ts'
import { systemClock } from '../kit/clock.ts'
import { imageStore } from '../kit/image-store.ts'
import { silentLog } from '../kit/log.ts'
import type { Home } from '../kit/paths.ts'
import type { Kit } from '../kit/service.ts'
import { openCgroups } from './cgroup.ts'
import type { BaitSettings } from './config.ts'
import { freeSpaceGib } from './disk/scratch.ts'
import type { Hypervisor } from './hypervisor/hypervisor.ts'
import { qemu } from './hypervisor/qemu.ts'
import { probeAccelerators } from './probe.ts'
import { peekTemplates } from './templates/files.ts'

/** `bad`: no VWN can run before this is mended. `poor`: it works without, with a loss that is named. */
export interface Finding {
  readonly name: string
  readonly state: 'good' | 'poor' | 'bad'
  readonly what: string
  readonly mend: string | null
}

export interface DoctorOptions {
  readonly home: Home
  readonly images: string
  readonly vm: BaitSettings['vm']
  /** As the bait's own search path. */
  readonly path: string
  readonly hypervisor?: Hypervisor
  /** Boots the probe guests whatever is known. */
  readonly fresh?: boolean
}

const commands = [
  { command: 'qemu-system-x86_64', from: 'qemu-system-x86', need: 'bad', why: 'runs the guests' },
  { command: 'mke2fs', from: 'e2fsprogs', need: 'bad', why: 'formats scratch disks' },
  { command: 'nats-server', from: 'nats-server', need: 'poor', why: 'the bus of a local farm (`wnod up`)' },
  { command: 'mmdebstrap', from: 'mmdebstrap', need: 'poor', why: 'builds images' },
  { command: 'ssh', from: 'openssh-client', need: 'poor', why: 'looks into guests by hand' },
] as const

const nodeOldest = [20, 19] as const
const spaceGibMin = 2

/** All findings, in the order in which one would mend them. */
export async function doctor(options: DoctorOptions): Promise<readonly Finding[]> {
  const searched = await Promise.all(commands.map((one) => commandFinding(one, options.path)))
  const cgroups = await openCgroups(silentLog)
  return [
    nodeFinding(process.versions.node),
    ...searched,
    await imageFinding(options.images),
    await spaceFinding(options.home),
    await templateFinding(options.home),
    finding('control groups', cgroups.place === null ? 'poor' : 'good', cgroups.place === null ? `VMs stay in the bait's own group: ${cgroups.why}` : cgroups.why),
    ...(await acceleratorFindings(options)),
  ]
}

/** True when VWNs can run here. */
export const isFit = (findings: readonly Finding[]): boolean => findings.every(({ state }) => state !== 'bad')

/** What people read. */
export function doctorText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ name }) => name.length))
  const lines = findings.map(({ name, state, what, mend }) => `${state.padEnd(4)}  ${name.padEnd(width)}  ${what}${mend === null ? '' : `\n${' '.repeat(8 + width)}▸ ${mend}`}\n`)
  return `${lines.join('')}\n${isFit(findings) ? 'this host can run VWNs' : 'this host cannot run VWNs yet'}\n`
}

const finding = (name: string, state: Finding['state'], what: string, mend: string | null = null): Finding => ({ name, state, what, mend })

export function nodeFinding(version: string): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const [oldestMajor, oldestMinor] = nodeOldest
  const enough = major > oldestMajor || (major === oldestMajor && minor >= oldestMinor)
  return finding('node', enough ? 'good' : 'bad', version, enough ? null : `install Node ${nodeOldest.join('.')} or newer`)
}

async function commandFinding({ command, from, need, why }: (typeof commands)[number], path: string): Promise<Finding> {
  for (const folder of [...path.split(delimiter), '/usr/sbin', '/sbin']) {
    const file = join(folder, command)
    if (folder !== '' && (await access(file, constants.X_OK).then(() => true, () => false))) return finding(command, 'good', file)
  }
  return finding(command, need, `not found; it ${why}`, `apt-get install ${from}`)
}

async function imageFinding(folder: string): Promise<Finding> {
  const build = 'build some: `wnod image build debian12 tiny`'
  if (!(await stat(folder).then((found) => found.isDirectory(), () => false))) return finding('images', 'bad', `no image store at ${folder}`, build)
  const { images, broken } = await imageStore(folder).list()
  const named = images.map((image) => image.names[0] ?? image.digest.slice(0, 12)).join(', ')
  if (broken.length > 0) return finding('images', images.length > 0 ? 'poor' : 'bad', `${broken.length} damaged: ${broken.map(({ why }) => explain(why)).join('; ')}`, 'remove them: `wnod image rm DIGEST`')
  return images.length > 0 ? finding('images', 'good', `${named} in ${folder}`) : finding('images', 'bad', `none in ${folder}`, build)
}

async function spaceFinding({ hosts }: Home): Promise<Finding> {
  const freeGib = Math.floor(await freeSpaceGib(hosts))
  const enough = freeGib >= spaceGibMin
  return finding('disk', enough ? 'good' : 'bad', `${freeGib} GiB free for scratch disks below ${hosts}`, enough ? null : 'free some space, or choose another home')
}

/** None is no fault: the first VWN of a kind is booted, and its template made behind it. */
async function templateFinding({ hosts, host }: Home): Promise<Finding> {
  const known = await readdir(hosts).catch(() => [])
  const kept = (await Promise.all(known.map((name) => peekTemplates(host(name).templates)))).flat()
  const sizeMib = Math.ceil(kept.reduce((sum, { bytes }) => sum + bytes, 0) / 1024 ** 2)
  return finding('templates', 'good', kept.length === 0 ? 'none saved yet; VWNs are booted until one is' : `${kept.length} saved machines to clone, ${sizeMib} MiB below ${hosts}`)
}

async function acceleratorFindings({ home, images, vm, hypervisor, fresh = true }: DoctorOptions): Promise<readonly Finding[]> {
  const kit: Kit = { clock: systemClock, log: silentLog, signal: new AbortController().signal }
  const facts = await probeAccelerators({
    kit, fresh, hypervisor: hypervisor ?? qemu({ clock: systemClock, program: vm.qemu, spawnMs: vm.spawn_ms }), images: imageStore(images),
    cache: join(images, 'probes.json'), withinMs: { kvm: vm.probe_kvm_ms, tcg: vm.probe_tcg_ms }, namePrefix: `wnod.${home.hash}.doctor.`,
  })
  const any = facts.some(({ works }) => works)
  return facts.map(({ name, works, why }) => finding(name, works ? 'good' : any ? 'poor' : 'bad', why))
}
