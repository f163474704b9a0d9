/**
 * A real bait in this process with a scripted hypervisor, on a real bus, opposite a controller that says what the test wants. Leaving
 * the scope proves that nothing of the bait is left.
 */
import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createBait, type Bait, type BaitDeps } from '../../bait/bait.ts'
import { baitSchema } from '../../bait/config.ts'
import { fake, type FakeHypervisor, type FakeScript } from '../../bait/hypervisor/fake.ts'
import type { Hypervisor } from '../../bait/hypervisor/hypervisor.ts'
import { audit, type AuditFinding } from '../../bait/audit.ts'
import { hostId, imageDigest, jobId, typeName, vwnId, type ImageDigest } from '../../core/ids.ts'
import { connectBus } from '../../kit/bus.ts'
import { systemClock, type Clock } from '../../kit/clock.ts'
import { imageStore, partFiles, sealManifest, type ImageStore } from '../../kit/image-store.ts'
import { captureLog, type LogLine } from '../../kit/log.ts'
import { homePaths, type Home } from '../../kit/paths.ts'
import type { Kit } from '../../kit/service.ts'
import { until } from '../../kit/until.ts'
import { baitVersion, reportSchema, type Orders, type Report, type VwnSpec, type WantedVwn } from '../../wire/bait.ts'
import { subjects } from '../../wire/subjects.ts'
import { startNats } from '../harness/nats.ts'
import { tempFolder } from '../harness/temp.ts'
import { playedDoor } from './played-door.ts'
import { playedJobs, type PlayedJobs } from './played-jobs.ts'

export const host = hostId('h1')

/** An image store with one image of nothing much, as the scripted hypervisor needs no kernel. */
export async function emptyImage(folder: string, contact: 'agent' | 'ssh' = 'agent'): Promise<ImageDigest> {
  const content = Buffer.from('not a kernel')
  const part = { sha256: createHash('sha256').update(content).digest('hex'), bytes: content.length }
  const { bytes, digest } = sealManifest({
    v: 1, name: 'empty', contact, arch: 'x86_64', hostKeyFormat: 'openssh', seed: 'boot', probe: null, parts: { os: part, kernel: part, initrd: part },
    recipe: 'a'.repeat(64), kernelArgs: [], osUuid: '00000000-0000-4000-8000-000000000000', minMemoryMib: 32,
  })
  const at = join(folder, digest)
  await mkdir(at, { recursive: true })
  await mkdir(join(folder, 'names'), { recursive: true })
  await writeFile(join(at, 'manifest.json'), bytes)
  for (const file of Object.values(partFiles)) await writeFile(join(at, file), content)
  await writeFile(join(folder, 'names', 'empty'), digest)
  return digest
}

export interface BaitLab extends AsyncDisposable {
  readonly home: Home
  readonly jobs: PlayedJobs
  readonly hypervisor: FakeHypervisor
  readonly logged: readonly LogLine[]
  readonly spec: VwnSpec
  readonly bait: Bait
  /** Reports in the order in which they came. */
  readonly reports: readonly Report[]
  /** Where bus and images are, for a bait in a process of its own. */
  readonly nats: string
  readonly images: string
  wanted(vwn: string, changes?: Partial<WantedVwn>): WantedVwn
  /** These Orders are in force from now on, and pushed. */
  order(...vwns: readonly WantedVwn[]): void
  /** These machines may be asked for from now on. */
  expect(...machines: readonly VwnSpec[]): void
  /** Whether the controller answers. */
  silent: boolean
  /** The last report of this VWN, once it says so. */
  seen(vwn: string, state: Report['vwns'][number]['state'], withinMs?: number): Promise<Report['vwns'][number]>
  start(deps?: Partial<BaitDeps>): Promise<Bait>
  stop(): Promise<void>
  /** The bus goes away. */
  cutOff(): Promise<void>
  audit(): Promise<readonly AuditFinding[]>
}

/** What is scripted; with a hypervisor of its own, the lab boots real images with it. */
export interface LabScript extends Partial<FakeScript> {
  readonly contact?: 'agent' | 'ssh'
  readonly deadlineMs?: number
  readonly hypervisor?: Hypervisor
  readonly images?: ImageStore
  readonly image?: ImageDigest
  readonly memoryMib?: number
  /** VWNs are cloned where that is possible; otherwise each is booted. */
  readonly templates?: boolean
  readonly clock?: Clock
}

/** Starts bus and controller; the bait is started by the test, or at once with `start`. */
export async function baitLab(script: LabScript = {}): Promise<BaitLab> {
  const folder = await tempFolder()
  const nats = await startNats()
  const home = homePaths(folder.path)
  const image = script.image ?? (await emptyImage(home.images, script.contact))
  const scripted = fake({ clock: systemClock, ...script })
  const hypervisor = script.hypervisor ?? scripted
  const jobs = playedJobs()
  const { log, lines } = captureLog()
  const ending = new AbortController()
  const kit: Kit = { clock: script.clock ?? systemClock, log, signal: ending.signal }
  const controller = await connectBus({ ...kit, signal: new AbortController().signal }, { servers: [nats.url], name: 'controller', firstConnectMs: 5_000 })
  const reports: Report[] = []
  let current: Orders = { v: baitVersion, host, session: '', term: 1, generation: 1, vwns: [], answers: [], machines: [], acknowledged: [] }
  let bait: Bait | null = null
  const spec: VwnSpec = { type: typeName('small'), image, contact: script.contact ?? 'agent', shape: { cpus: 1, memoryMib: script.memoryMib ?? 64, scratchGib: 1 }, network: 'isolated', bootMs: script.deadlineMs ?? 5_000 }

  controller.answer(subjects.anyReport, reportSchema, (report) => {
    if (self.silent) throw new Error('silent')
    reports.push(report)
    current = { ...current, session: report.session }
    return current
  })
  const self: BaitLab = {
    nats: nats.url, images: (script.images ?? imageStore(home.images)).folder,
    home, jobs, hypervisor: scripted, spec, reports, silent: false, logged: lines,
    get bait() {
      if (bait === null) throw new Error('no bait runs')
      return bait
    },
    wanted: (vwn, changes = {}) => ({ vwn: vwnId(vwn), token: { term: 1, epoch: 1 }, want: 'run', insist: false, spec, reuse: 'same-user', owner: null, job: null, mounts: [], directory: null, ...changes }),
    order(...vwns) {
      current = { ...current, generation: current.generation + 1, vwns: [...vwns] }
      if (!self.silent) controller.publish(subjects.orders(host), current)
    },
    expect(...machines) {
      current = { ...current, machines: [...machines] }
      self.order(...current.vwns)
    },
    seen: (vwn, state, withinMs = 8_000) =>
      until(() => reports.at(-1)?.vwns.find((one) => one.vwn === vwn && one.state === state), { withinMs, what: `${vwn} is ${state}; last: ${JSON.stringify(reports.at(-1)?.vwns)}` }),
    async start(deps = {}) {
      const settings = baitSchema(home.images).parse({ host, nats: { servers: [nats.url] }, vm: { accelerator: 'tcg' }, report: { heartbeat_ms: 200 }, templates: { disk_gib: script.templates === true ? 8 : 0 } })
      bait = createBait(kit, home, settings, {
        openJobs: () => ({ jobs, clean: jobs.clean, door: playedDoor() }),
        hypervisor,
        ...(script.images && { images: script.images }),
        connectGuest: () => Promise.resolve(jobs.session()),
        ...deps,
      })
      await bait.start()
      return bait
    },
    async stop() {
      await bait?.stop()
      bait = null
    },
    cutOff: () => nats.kill(),
    audit: () => audit({ home, hypervisor }),
    async [Symbol.asyncDispose]() {
      await self.stop()
      ending.abort()
      await controller.close()
      await nats.stop()
      await folder[Symbol.asyncDispose]()
    },
  }
  return self
}

export { imageDigest, jobId }
