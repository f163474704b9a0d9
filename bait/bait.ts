/**
 * The bait, put together. Order matters at the start: jobs of a former bait are declared lost first, then every VWN on record is taken
 * on again or laid to rest, then starters and the controller are heard. At the end it lets go: VMs run on for the next bait.
 */
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isVwnError, VwnError } from '../core/errors.ts'
import { removeLeftovers } from '../kit/atomic-file.ts'
import { connectBus, type Bus } from '../kit/bus.ts'
import { jobId } from '../core/ids.ts'
import { randomId } from '../kit/clock.ts'
import { imageStore, kernelCommandLine, type ImageStore } from '../kit/image-store.ts'
import type { Home, HostPaths } from '../kit/paths.ts'
import { traced } from '../kit/log.ts'
import { openMetrics } from '../kit/metrics.ts'
import { claimPidFile } from '../kit/pid-file.ts'
import { bootId } from '../kit/process.ts'
import { loop, service, type Kit, type Loop, type Service } from '../kit/service.ts'
import { lookSchema } from '../wire/look.ts'
import { subjects } from '../wire/subjects.ts'
import { openCgroups } from './cgroup.ts'
import type { BaitSettings } from './config.ts'
import type { Clean, Jobs } from './contracts.ts'
import { scratchDisks, type ScratchDisks } from './disk/scratch.ts'
import { hostFacts } from './facts.ts'
import { baitHttp } from './http.ts'
import type { AcceleratorName, Hypervisor } from './hypervisor/hypervisor.ts'
import { qemu } from './hypervisor/qemu.ts'
import { countedFamilies, stateFamilies, type Counts } from './metrics.ts'
import { openPending, type PendingBook } from './pending.ts'
import type { AcceleratorFact } from './probe.ts'
import { lookAt } from './look.ts'
import { createReconciler, type Reconciler } from './reconcile.ts'
import { recoverVwns } from './recovery.ts'
import { reporter, type Reporter } from './report.ts'
import { openSamples, type Samples } from './samples.ts'
import { beginSession } from './session.ts'
import { connectGuest } from './ssh/session.ts'
import type { Door } from './starter-socket.ts'
import type { TemplateEffect } from './templates/build.ts'
import { templateStock } from './templates/stock.ts'
import { openTemplates, type Templates } from './templates/templates.ts'
import type { EffectName } from './vwns/boot.ts'
import type { Connect } from './vwns/guest.ts'
import { openHandles, type Handle } from './vwns/handles.ts'
import type { BootImage } from './vwns/machine.ts'
import type { VwnDeps } from './vwns/vwn.ts'
import { vwnsOf, type Vwns } from './vwns/vwns.ts'

/** The half that owns jobs, with its door for job starters. */
export interface JobsHalf {
  readonly jobs: Jobs
  readonly clean: Clean
  readonly door: Door
}

/** What tests put in the place of the real thing. */
export interface BaitDeps {
  readonly openJobs: (kit: Kit, at: { home: Home; paths: HostPaths; settings: BaitSettings; pending: PendingBook; counts: Counts }) => JobsHalf
  readonly hypervisor?: Hypervisor
  readonly disks?: ScratchDisks
  readonly images?: ImageStore
  readonly connectGuest?: Connect
  /** Instead of asking probe guests. */
  readonly accelerators?: readonly AcceleratorFact[]
  readonly after?: (effect: EffectName, handle: Handle) => void | Promise<void>
  readonly afterTemplate?: (effect: TemplateEffect) => void | Promise<void>
}

export interface Bait extends Service {
  /** For tests; there once it has started. */
  readonly parts: { readonly vwns: Vwns; readonly reconciler: Reconciler; readonly jobs: Jobs; readonly templates: Templates; readonly samples: Samples }
}

const reconcileMs = 5_000
const firstConnectMs = 10_000
const settleMs = 10_000
/** Credentials that were refused are seldom mended within a second. */
const deniedMs = 10_000

/** Start of the names of all VMs of one host of one farm. */
export const vmNamePrefix = (home: Home, host: string): string => `wnod.${home.hash}.${host}.`

/** A bait that has not been started. */
export function createBait(plain: Kit, home: Home, settings: BaitSettings, deps: BaitDeps): Bait {
  const kit: Kit = { ...plain, log: traced(plain.log, (job) => jobs.traceOf(jobId(job))) }
  const paths = home.host(settings.host)
  const images = deps.images ?? imageStore(settings.images)
  const hypervisor = deps.hypervisor ?? qemu({ clock: kit.clock, program: settings.vm.qemu, spawnMs: settings.vm.spawn_ms })
  const who = { host: settings.host, bootId: bootId(), session: randomId(), startedAtMs: 0 }
  const pending = openPending(kit)
  const metrics = openMetrics('bait')
  const counts = countedFamilies(metrics)
  const { jobs, clean, door } = deps.openJobs(kit, { home, paths, settings, pending, counts })
  const ended = new AbortController()
  const until = AbortSignal.any([kit.signal, ended.signal])
  const guarded: Kit = { ...kit, signal: until }
  let parts: Bait['parts'] | null = null
  let report: Reporter | null = null
  let bus: Bus | null = null
  let stock: Loop | null = null
  let pid: AsyncDisposable | null = null
  let [doorOpen, hasCgroups] = [false, false]

  const onChange = (): void => {
    turns.wake()
    report?.wake()
  }
  const unready = (): VwnError | null => whyUnready({ bus, servers: settings.nats.servers, socket: doorOpen ? null : paths.socket, broken: known.facts().broken, accelerator: known.accelerator() })
  metrics.read(...stateFamilies(() => ({
    parts, bus, door: door.facts(), heard: report?.heard === true, isReady: unready() === null, broken: known.facts().broken, hasCgroups, folder: paths.folder,
  })))
  const http = baitHttp(kit, { settings: settings.http, urlFile: paths.url, metrics, unready })
  const turns = loop(guarded, { name: 'reconcile', everyMs: reconcileMs }, () => parts?.reconciler.runOnce())
  const namePrefix = vmNamePrefix(home, settings.host)
  const known = hostFacts(guarded, { settings, hypervisor, images, stateFolder: paths.folder, namePrefix, accelerators: deps.accelerators, onChange: () => onChange() })
  const connecting = async (): Promise<void> => {
    while (bus === null && !until.aborted) {
      try {
        const { servers, creds } = settings.nats
        bus = await connectBus(guarded, { servers, name: `bait-${settings.host}`, firstConnectMs, inboxPrefix: subjects.inbox(`bait-${settings.host}`), ...(creds !== null && { credsFile: creds }) })
      } catch (error) {
        if (until.aborted || !isVwnError(error)) return
        kit.log.warn({ err: error }, 'no nats server yet; what runs, runs on')
        await kit.clock.sleep(isVwnError(error, 'BUS_DENIED') ? deniedMs : 1_000, until).catch(() => undefined)
      }
    }
    if (bus === null) return
    report = reporter(guarded, { who, bus, settings: settings.report, state: () => ({ facts: { ...known.facts(), templates: [...theParts().templates.facts()], templatesMibMax: settings.templates.disk_gib * 1024 }, pending, ...theParts() }) })
    await report.start()
    bus.answer(subjects.look(settings.host), lookSchema, (look) => lookAt(look, { samples, paths, isHere: (vwn) => theParts().vwns.get(vwn) !== null }))
  }
  const theParts = (): Bait['parts'] => {
    if (parts === null) throw new Error('the bait has not started')
    return parts
  }
  let connected: Promise<void> = Promise.resolve()
  const samples = openSamples(guarded, () => theParts().vwns.all())

  const life = service({
    async start() {
      pid = await claimPidFile(paths.pid)
      await mkdir(paths.vms, { recursive: true, mode: 0o700 })
      who.startedAtMs = await beginSession(join(paths.folder, 'session.json'), kit.clock.nowMs())
      await jobs.recover()
      const scratch = join(paths.folder, 'scratch')
      await removeLeftovers(scratch)
      const vmDisks = deps.disks ?? scratchDisks(scratch)
      const cgroups = await openCgroups(kit.log)
      hasCgroups = cgroups.place !== null
      const templates = counts.watched(openTemplates({
        kit: guarded, folder: paths.templates, host: settings.host, namePrefix, hypervisor, cgroups, disks: vmDisks, settings: settings.templates,
        connectGuest: deps.connectGuest ?? connectGuest,
        inUse: () => new Set(vwns.all().flatMap(({ handle: { stage, template } }) => (stage === 'gone' || template === null ? [] : [template]))),
        after: deps.afterTemplate ?? (() => undefined), onChange: () => report?.wake(),
      }))
      const vwnDeps: VwnDeps = {
        kit: guarded, host: settings.host, paths, hypervisor, namePrefix, handles: openHandles(paths), onChange, templates,
        disks: vmDisks,
        cgroups,
        connectGuest: deps.connectGuest ?? connectGuest,
        image: (digest, accelerator) => bootImage(images, digest, accelerator),
        after(effect, handle) {
          counts.effect(effect, handle)
          return deps.after?.(effect, handle)
        },
      }
      const vwns: Vwns = vwnsOf(vwnDeps, await recoverVwns(vwnDeps), known.accelerator)
      await templates.start()
      const reconciler = createReconciler({ session: who.session, vwns, jobs, clean: counts.timed(clean), log: kit.log, clock: kit.clock, wake: onChange, onMachines: () => stock?.wake() })
      parts = { vwns, jobs, templates, reconciler, samples }
      stock = templateStock(guarded, { templates, machines: () => reconciler.machines, accelerator: known.accelerator, image: vwnDeps.image })
      jobs.onChange(onChange)
      pending.onChange(() => report?.wake())
      await turns.start()
      await known.start()
      await stock.start()
      await samples.start()
      await http.start()
      await door.start()
      doorOpen = true
      connected = connecting()
    },
    async stop() {
      doorOpen = false
      await door.stop()
      ended.abort()
      await connected
      await report?.stop()
      await Promise.all([turns.stop(), known.stop(), samples.stop(), stock?.stop(), parts?.templates.stop()])
      await parts?.vwns.release() // closes the sessions, so that nothing waits for a job any more
      if (parts !== null) await Promise.race([parts.reconciler.settled(), kit.clock.sleep(settleMs)])
      await http.stop()
      await bus?.close()
      await pid?.[Symbol.asyncDispose]()
    },
  })
  return {
    ...life,
    get parts() {
      return theParts()
    },
  }
}

interface Standing {
  readonly bus: Bus | null
  readonly servers: readonly string[]
  /** That is not open; null where it is. */
  readonly socket: string | null
  readonly broken: string | null
  readonly accelerator: AcceleratorName | 'unknown' | null
}

/** What stands in the way of jobs; null when nothing does. */
function whyUnready({ bus, servers, socket, broken, accelerator }: Standing): VwnError | null {
  if (socket !== null) return new VwnError('BAIT_UNREACHABLE', { socket, why: 'it is not open' })
  if (bus?.connected !== true) return new VwnError('BUS_UNREACHABLE', { servers: servers.join(',') })
  if (broken !== null) return new VwnError('ACCELERATOR_UNUSABLE', { why: broken })
  return accelerator === 'unknown' || accelerator === null ? new VwnError('ACCELERATOR_UNUSABLE', { why: 'the probe guests have not answered yet' }) : null
}

async function bootImage(images: ImageStore, digest: string, accelerator: 'kvm' | 'tcg'): Promise<BootImage> {
  const [{ manifest, os, kernel, initrd }, cpuinfo] = await Promise.all([images.verify(digest), readFile('/proc/cpuinfo', 'utf8')])
  return { kernel, initrd, disk: os, cmdline: kernelCommandLine(manifest, { accelerator, cpuinfo }), hostKeyFormat: manifest.hostKeyFormat, seed: manifest.seed, probe: manifest.probe }
}
