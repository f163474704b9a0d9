/**
 * Which accelerators really start a guest here. That `/dev/kvm` opens proves nothing: on some hosts stock kernels hang in it. So a
 * small guest is booted with each, from an image's own kernel, and what worked is kept for as long as nothing that matters changes.
 */
import { constants } from 'node:fs'
import { access, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { explain } from '../core/errors.ts'
import { errnoOf, tryReadJson, writeJson } from '../kit/atomic-file.ts'
import { kernelCommandLine, type ImageStore, type StoredImage } from '../kit/image-store.ts'
import { bootId } from '../kit/process.ts'
import type { Kit } from '../kit/service.ts'
import { until } from '../kit/until.ts'
import { acceleratorSchema } from '../wire/bait.ts'
import type { AcceleratorName, Hypervisor, Vm } from './hypervisor/hypervisor.ts'
import { keepSerialLog, serialTail } from './serial-log.ts'

export type AcceleratorFact = z.output<typeof acceleratorSchema>

export interface ProbeOptions {
  readonly kit: Kit
  readonly hypervisor: Hypervisor
  readonly images: ImageStore
  /** Where results are kept; a place that cannot be written is done without. */
  readonly cache: string
  readonly withinMs: Readonly<Record<AcceleratorName, number>>
  /** Start of the names of probe VMs. */
  readonly namePrefix: string
  /** Asks the guests again, whatever is known. */
  readonly fresh?: boolean
}

const cacheSchema = z.record(z.string(), z.array(acceleratorSchema))
const probeMemoryMib = 256
/** What our initramfs says, or the kernel when it starts it: the guest's own programs run. */
const alive = /wnod|Run \/init as init process/

/** One fact per accelerator, the preferred one first; nothing is thrown, what is missing is a fact too. */
export async function probeAccelerators(options: ProbeOptions): Promise<readonly AcceleratorFact[]> {
  const { hypervisor, cache, fresh = false } = options
  const { healthy, version, why } = await hypervisor.fingerprint()
  if (!healthy) return bothFail(why)
  const image = await smallest(options.images)
  if (image === null) return bothFail('there is no image whose kernel could be tried: build one with `wnod image build`')
  const key = `${bootId()} ${hypervisor.name} ${version} ${image.digest}`
  const known = (await tryReadJson(cache, cacheSchema).catch(() => null))?.content ?? {}
  const before = known[key]
  if (before !== undefined && !fresh) return before
  const kvm = await probeKvm(options, image)
  const tcg = kvm.works && !fresh ? { name: 'tcg' as const, works: true, why: 'not tried, for kvm works' } : await probeGuest(options, 'tcg', image)
  const facts = [kvm, tcg]
  // A host that was merely too busy is asked again; what works is remembered.
  if (chosen(facts) !== null) await writeJson(cache, { [key]: facts }, { mode: 0o644 }).catch(() => undefined)
  return facts
}

/** The accelerator to use, or null where no guest can run. */
export const chosen = (facts: readonly AcceleratorFact[]): AcceleratorName | null => facts.find(({ works }) => works)?.name ?? null

const bothFail = (why: string): readonly AcceleratorFact[] => [{ name: 'kvm', works: false, why }, { name: 'tcg', works: false, why }]

async function smallest(store: ImageStore): Promise<StoredImage | null> {
  const { images } = await store.list().catch(() => ({ images: [] }))
  return [...images].sort((a, b) => a.manifest.parts.initrd.bytes - b.manifest.parts.initrd.bytes)[0] ?? null
}

async function probeKvm(options: ProbeOptions, image: StoredImage): Promise<AcceleratorFact> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK)
  } catch (error) {
    const why = errnoOf(error) === 'ENOENT' ? '/dev/kvm is not there' : `/dev/kvm cannot be opened (${errnoOf(error)}): is this user in the group kvm?`
    return { name: 'kvm', works: false, why }
  }
  return probeGuest(options, 'kvm', image)
}

/** Boots kernel and initramfs, with no disk and no network, until the guest's first own word. */
async function probeGuest(options: ProbeOptions, name: AcceleratorName, image: StoredImage): Promise<AcceleratorFact> {
  const { kit, hypervisor } = options
  const withinMs = options.withinMs[name]
  const folder = await mkdtemp(join(tmpdir(), 'wnod-'))
  const sockets = { control: join(folder, 'qmp.sock'), port: join(folder, 'agent.sock'), console: join(folder, 'serial.sock') }
  const log = join(folder, 'serial.log')
  const startedMs = kit.clock.monotonicMs()
  let vm: Vm | null = null
  try {
    const cpuinfo = await readFile('/proc/cpuinfo', 'utf8')
    vm = await hypervisor.boot({
      name: `${options.namePrefix}probe-${name}`, sockets, output: join(folder, 'output.log'), accelerator: name, cpus: 1, memoryMib: Math.max(probeMemoryMib, image.manifest.minMemoryMib),
      kernel: image.kernel, initrd: image.initrd, cmdline: kernelCommandLine(image.manifest, { accelerator: name, cpuinfo }), disks: [], network: 'none', sshPort: null,
    }, kit.signal)
    const serial = await keepSerialLog(kit, { socket: sockets.console, file: log })
    await vm.start()
    const spoke = await until(async () => alive.test(await serialTail(log, 64 * 1024)), { withinMs, clock: kit.clock, signal: kit.signal, what: 'first word of a probe guest' }).catch(() => false)
    await vm.kill()
    await serial.close()
    const tookMs = Math.round(kit.clock.monotonicMs() - startedMs)
    if (spoke) return { name, works: true, why: `a probe guest started in ${tookMs} ms` }
    const opens = name === 'kvm' ? 'opens, but a' : 'a'
    return { name, works: false, why: `${opens} probe guest did not start in ${withinMs / 1000} s` }
  } catch (error) {
    await vm?.kill()
    return { name, works: false, why: explain(error).slice(0, 1024) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
