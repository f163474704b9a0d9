/**
 * The templates of one host: which one a machine can be cloned from, and the making, the distrust and the ageing of them.
 *
 *   choose ─▶ clone it        worked | failed ─▶ trust.ts
 *          └▶ why not, and the missing one is made behind the next quiet moment: one at a time, once for however many ask
 *   want   ─▶ those that are missing are made before anybody asks, and none of them makes room for another (stock.ts)
 *
 * Folders are the truth (files.ts); what is kept here besides, the trust, begins anew with each bait: to start it again is how an operator
 * says that what was wrong has been mended.
 */
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { freemem } from 'node:os'
import { explain, isVwnError, VwnError, vwnErrorIn, type ErrorCode } from '../../core/errors.ts'
import { until } from '../../kit/until.ts'
import { templateFactsMax, type TemplateFact } from '../../wire/bait.ts'
import { machineOf } from '../hypervisor/template-files.ts'
import { vmSpec, type Machine } from '../vwns/machine.ts'
import { buildTemplate, type BuildMeans } from './build.ts'
import { readTemplate, removePassing, removeTemplate, templateId, templateIdPattern, touchTemplate, type Kept, type Template, type TemplateKey } from './files.ts'
import { afterFailure, afterUnmade, fullTrust, type Trust } from './trust.ts'

/** What to clone, or why there is nothing. */
export type Choice = { readonly template: Template } | { readonly why: string }

export interface Templates {
  /** Removes what is not whole or not wanted any more; called once, before anything else. */
  start(): Promise<void>
  /** Nothing is being made any more when it resolves. */
  stop(): Promise<void>
  /** What to clone for this machine; a template that is missing is made in the background. */
  choose(machine: Machine): Promise<Choice>
  /** The template of this machine, made if need be: once, for any number of callers. */
  make(machine: Machine): Promise<Template>
  /** A clone of it became available. */
  worked(template: Template): void
  /** A clone of it did not; resolves when the consequences are drawn. */
  failed(template: Template, error: unknown): Promise<void>
  /** Somebody waits for a guest to boot: until it is disposed of, no template begins to be made if it can wait. */
  waiting(): Disposable
  /** All that are whole, with what they cost. */
  kept(): readonly Kept[]
  /** From now on these are kept however long nothing is cloned from them; the answer is those that can be made, and are not there. */
  want(machines: readonly Machine[]): Promise<readonly Machine[]>
  /** What to tell of templates: first the wanted ones, in their order. It changes when one of them does. */
  facts(): readonly TemplateFact[]
}

export interface TemplatesOptions extends BuildMeans {
  readonly settings: { readonly disk_gib: number; readonly unused_hours: number }
  /** Memory of the host that nobody uses; tests say. */
  freeMemoryMib?(): number
  /** One of the facts has changed. */
  onChange?(): void
  /** Ids of the templates that VWNs of this host were cloned from: to remove them would free no space. */
  inUse(): ReadonlySet<string>
}

const gib = 1024 ** 3
const mib = 1024 ** 2
const hourMs = 3_600_000
/** How long a template that somebody misses waits for a quiet moment. */
const patienceMs = 60_000
/**
 * What a template may take of the disk: a guest that has just booted has touched little of a large memory, and the rest takes none; besides
 * there are state and scratch disk.
 */
const expectedMib = (memoryMib: number): number => Math.min(memoryMib, 512 + memoryMib / 32) + 64

/** What an emulating QEMU takes beside its guest's memory: translated code above all. */
const hypervisorMib = 256
/** What the kernel says can be had without swapping (MemAvailable). */
const freeMemoryMib = (): number => Math.floor(freemem() / mib)

/** Causes that no template is to blame for. */
const blameless: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['DISK_FULL', 'SCRATCH_NO_SPACE', 'TEMPLATE_NO_SPACE', 'TEMPLATE_NO_MEMORY', 'HYPERVISOR_MISSING', 'COMMAND_MISSING', 'PORT_IN_USE'])

/** Templates that have not been looked at yet. */
export function openTemplates(options: TemplatesOptions): Templates {
  const { folder, settings, hypervisor, kit: { clock, log } } = options
  const ended = new AbortController()
  const signal = AbortSignal.any([ended.signal, options.kit.signal])
  const means: BuildMeans = { ...options, kit: { ...options.kit, signal } }
  const whole = new Map<string, Kept>()
  const trusts = new Map<string, Trust>()
  const making = new Map<string, Promise<Template>>()
  /** Whatever was ever asked for. */
  const keys = new Map<string, TemplateKey>()
  /** Why the last attempt came to nothing, whoever is to blame. */
  const troubles = new Map<string, string>()
  let wanted: readonly Known[] = []
  const changed = (): void => options.onChange?.()
  let line: Promise<unknown> = Promise.resolve()
  let removal: Promise<void> = Promise.resolve()
  let waiting = 0
  const trustOf = (id: string): Trust => trusts.get(id) ?? fullTrust

  /** Nobody finds it from now on; files that cannot be removed are left to the next bait. */
  const remove = (id: string, why: string): Promise<void> => {
    if (whole.delete(id)) {
      log.info({ template: id, why }, 'template removed')
      changed()
    }
    removal = removal.then(() => removeTemplate(folder, id)).catch((error: unknown) => log.warn({ template: id, err: error }, 'template could not be removed'))
    return removal
  }
  /** The oldest first. */
  const unused = (): readonly Kept[] => {
    const kept = new Set([...options.inUse(), ...wanted.map(({ id }) => id)])
    return [...whole.values()].filter(({ template }) => !kept.has(template.id)).sort((a, b) => a.usedAtMs - b.usedAtMs)
  }
  /** The oldest go until all others and this many bytes have room; none goes when that would not be enough. */
  const makeRoom = async (bytes: number): Promise<void> => {
    const free = (): number => settings.disk_gib * gib - bytesOf([...whole.values()])
    if (bytes > 0 && bytes > free() + bytesOf(unused())) {
      throw new VwnError('TEMPLATE_NO_SPACE', { disk_gib: settings.disk_gib, freeMib: Math.floor((free() + bytesOf(unused())) / mib), neededMib: Math.ceil(bytes / mib) })
    }
    for (const { template } of unused()) if (bytes > free()) await remove(template.id, 'its space is needed')
  }
  const ageOut = async (): Promise<void> => {
    const oldestMs = clock.nowMs() - settings.unused_hours * hourMs
    for (const { template, usedAtMs } of unused()) if (usedAtMs < oldestMs) await remove(template.id, `not used for ${settings.unused_hours} hours`)
  }

  const makeNow = async (key: TemplateKey, machine: Machine): Promise<Template> => {
    const id = templateId(key)
    await until(() => waiting === 0, { withinMs: patienceMs, clock, signal }).catch(() => undefined) // then it does not wait any longer
    if (signal.aborted) throw new VwnError('CANCELLED', { template: id }, { cause: signal.reason })
    const [freeMib, neededMib] = [(options.freeMemoryMib ?? freeMemoryMib)(), machine.spec.shape.memoryMib + hypervisorMib]
    if (freeMib < neededMib) throw new VwnError('TEMPLATE_NO_MEMORY', { neededMib })
    await ageOut()
    await makeRoom(expectedMib(machine.spec.shape.memoryMib) * mib)
    await remove(id, 'made again') // a folder that is not whole may be in the way
    const startedMs = clock.monotonicMs()
    const late = new AbortController()
    const { bootMs } = machine.spec
    using _deadline = clock.after(bootMs, () => late.abort(new VwnError('VWN_BOOT_TIMEOUT', { what: 'template', bootMs })))
    await buildTemplate(means, key, machine, AbortSignal.any([signal, late.signal]))
    const kept = await readTemplate(folder, id)
    if (kept === null) throw new VwnError('TEMPLATE_NOT_MADE', { template: id, why: 'it is not whole' })
    whole.set(id, kept)
    await makeRoom(0) // it may be larger than expected
    trusts.set(id, { ...trustOf(id), unmade: 0 })
    troubles.delete(id)
    log.info({ template: id, image: key.image, shape: key.shape, mib: Math.ceil(kept.bytes / mib), tookMs: Math.round(clock.monotonicMs() - startedMs) }, 'template made')
    return kept.template
  }
  const makeOnce = (key: TemplateKey, machine: Machine): Promise<Template> => {
    const id = templateId(key)
    const underWay = making.get(id)
    if (underWay !== undefined) return underWay
    keys.set(id, key)
    const made = line.then(() => makeNow(key, machine)).catch((error: unknown) => {
      if (!signal.aborted && !isBlameless(error)) trusts.set(id, afterUnmade(trustOf(id), said(error)))
      troubles.set(id, said(error))
      throw error
    }).finally(() => {
      making.delete(id)
      changed()
    })
    making.set(id, made)
    changed()
    line = made.catch(() => undefined)
    return made
  }
  const inBackground = (key: TemplateKey, machine: Machine): void =>
    void makeOnce(key, machine).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ template: templateId(key), err: error }, 'template could not be made')
    })

  const isMissing = (id: string): boolean => !whole.has(id) && !making.has(id) && trustOf(id).quarantined === null
  const factOf = ({ id, why, ...kind }: Known): TemplateFact => {
    const kept = id === null ? undefined : whole.get(id)
    if (kept !== undefined) return { ...kind, id, state: 'ready', why: null, diskMib: Math.ceil(kept.bytes / mib), tookMs: kept.tookMs }
    const none = { ...kind, id, diskMib: 0, tookMs: null }
    if (id === null) return { ...none, state: 'missing', why }
    const { quarantined } = trustOf(id)
    if (quarantined !== null) return { ...none, state: 'quarantined', why: quarantined }
    return making.has(id) ? { ...none, state: 'making', why: null } : { ...none, state: 'missing', why: troubles.get(id) ?? trustOf(id).last ?? 'its turn has not come yet' }
  }

  const touched = (kept: Kept): Template => {
    const usedAtMs = clock.nowMs()
    whole.set(kept.template.id, { ...kept, usedAtMs })
    touchTemplate(kept.template, usedAtMs).catch((error: unknown) => log.debug({ err: error }, 'template not touched'))
    return kept.template
  }
  /** What stands against cloning this machine, or what its template has in common with it. */
  const keyOf = async (machine: Machine): Promise<{ why: string } | { key: TemplateKey }> => {
    if (signal.aborted) return { why: 'the bait ends' }
    if (settings.disk_gib === 0) return { why: 'templates are switched off (templates.disk_gib = 0)' }
    if (machine.spec.contact === 'ssh' && machine.image.seed === 'boot') return { why: 'this image reads its keys when it boots' }
    const { version, can } = await hypervisor.fingerprint() // each time: it can be upgraded under a bait
    return can.clone && version !== null ? { key: templateKey(machine, hypervisor.name, version) } : { why: 'this hypervisor cannot clone' }
  }

  return {
    async start() {
      await removePassing(folder)
      const ids = (await readdir(folder).catch(() => [])).filter((name) => templateIdPattern.test(name))
      for (const id of ids) {
        const kept = await readTemplate(folder, id)
        if (kept === null) await remove(id, 'it is not whole')
        else whole.set(id, kept)
      }
      await ageOut()
      await makeRoom(0)
    },
    async stop() {
      ended.abort(new VwnError('CANCELLED', { what: 'the bait ends' }))
      await line
      await removal
    },
    async choose(machine) {
      const found = await keyOf(machine)
      if ('why' in found) return found
      const id = templateId(found.key)
      const kept = whole.get(id)
      if (kept !== undefined) return { template: touched(kept) }
      const { quarantined, last } = trustOf(id)
      if (quarantined !== null) return { why: `its template ${id} is not used any more: ${quarantined}` }
      inBackground(found.key, machine)
      return { why: `its template ${id} is being made${last === null ? '' : `; what went wrong before: ${last}`}` }
    },
    async make(machine) {
      const found = await keyOf(machine)
      if ('why' in found) throw new VwnError('TEMPLATE_NOT_MADE', found)
      const id = templateId(found.key)
      const kept = whole.get(id)
      if (kept !== undefined) return touched(kept)
      const { quarantined } = trustOf(id)
      if (quarantined !== null) throw new VwnError('TEMPLATE_QUARANTINED', { template: id, why: quarantined })
      return makeOnce(found.key, machine)
    },
    worked({ id }) {
      trusts.set(id, fullTrust)
    },
    async failed(template, error) {
      // Of one that was thrown away meanwhile nothing new is learnt.
      if (isBlameless(error) || whole.get(template.id)?.template !== template) return
      const damaged = isVwnError(error, 'TEMPLATE_STATE_DAMAGED') || isVwnError(error, 'FILE_MALFORMED') || (await readTemplate(folder, template.id)) === null
      if (whole.get(template.id)?.template !== template) return
      const { trust, drop } = afterFailure(trustOf(template.id), said(error))
      trusts.set(template.id, trust)
      changed()
      if (drop || damaged) await remove(template.id, trust.quarantined ?? (damaged ? 'it is damaged' : 'its clones failed'))
      if (trust.quarantined !== null) log.error({ template: template.id, why: trust.quarantined }, 'template quarantined')
    },
    waiting() {
      let counted = true
      waiting += 1
      return {
        [Symbol.dispose]() {
          if (counted) waiting -= 1
          counted = false
        },
      }
    },
    kept: () => [...whole.values()],
    async want(machines) {
      const before = JSON.stringify(wanted)
      const found = await Promise.all(machines.map(async (machine) => ({ machine, found: await keyOf(machine) })))
      for (const { found: one } of found) if ('key' in one) keys.set(templateId(one.key), one.key)
      wanted = found.map(({ machine: { spec }, found: one }) => ('why' in one ? { ...kindOf(spec), id: null, why: one.why } : { ...kindOf(spec), id: templateId(one.key), why: null }))
      if (JSON.stringify(wanted) !== before) changed()
      return found.flatMap(({ machine, found: one }) => ('key' in one && isMissing(templateId(one.key)) ? [machine] : []))
    },
    facts() {
      const all = new Map<string, Known>(wanted.map((one) => [one.id ?? JSON.stringify(one), one]))
      for (const [id, key] of [...[...whole.values()].map(({ template }) => [template.id, template.key] as const), ...keys]) {
        if (!all.has(id) && (whole.has(id) || making.has(id) || trustOf(id).quarantined !== null)) all.set(id, { ...kindOf(key), id, why: null })
      }
      return [...all.values()].slice(0, templateFactsMax).map(factOf)
    },
  }
}

/** A machine as far as people tell machines apart, with the id of its template, or why there can be none. */
interface Known extends Pick<TemplateFact, 'id' | 'image' | 'contact' | 'network' | 'shape' | 'why'> {}

const kindOf = ({ image, contact, network, shape }: Pick<Known, 'image' | 'contact' | 'network' | 'shape'>) => ({ image, contact, network, shape })

const bytesOf = (kept: readonly Kept[]): number => kept.reduce((sum, { bytes }) => sum + bytes, 0)

function templateKey(machine: Machine, hypervisor: string, version: string): TemplateKey {
  const { image, shape, contact, network } = machine.spec
  const nowhere = { name: '', sockets: { control: '', port: '', console: '' }, output: '', scratch: '', seed: '' }
  const whatItIs = machineOf({ ...vmSpec(machine, nowhere), sshPort: null })
  return { image, shape, contact, network, accelerator: machine.accelerator, hypervisor, version, cpu: hostCpu(), machine: whatItIs }
}

const isBlameless = (error: unknown): boolean => {
  for (let at: unknown = error; at instanceof Error; at = at.cause) if (isVwnError(at) && blameless.has(at.code)) return true
  return false
}

const said = (error: unknown): string => (vwnErrorIn(error) === null ? String(error) : explain(error)).slice(0, 500)

/** The host's processor in two lines; it does not change while we run. */
function hostCpu(): string {
  const info = readFileSync('/proc/cpuinfo', 'utf8')
  const line = (name: string): string => new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(info)?.[1] ?? ''
  return `${line('model name')}: ${line('flags')}`
}
