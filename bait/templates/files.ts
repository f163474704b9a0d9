/**
 * Templates on disk. Whole ones are renamed to their place in one step and never written again, so what is elsewhere is a leftover:
 *
 *   templates/new/   one that is being made, with its VM's sockets
 *   templates/old/   one that is being removed
 *   templates/ID/    memory · state · scratch.qcow2 · manifest.json, whose time of change is when it was last used
 *
 * `new` and `old` are nobody's as soon as their bait is gone; the next one removes them before anything else.
 */
import { createHash } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { errnoOf, readJson, writeFailure } from '../../kit/atomic-file.ts'
import { contactSchema, networkSchema } from '../../wire/bait.ts'
import { digestSchema, shapeSchema, timeMsSchema } from '../../wire/common.ts'

/** Everything that a machine must have in common with the one that was saved; its digest is the template's id. */
export const templateKeySchema = z.strictObject({
  image: digestSchema,
  shape: shapeSchema,
  contact: contactSchema,
  network: networkSchema,
  accelerator: z.enum(['kvm', 'tcg']),
  hypervisor: z.string(),
  version: z.string(),
  /** The host's processor: its name and what it can do. */
  cpu: z.string(),
  /** Digest of the hypervisor's own view: kernel, command line, disks in their order. */
  machine: z.string(),
})
export type TemplateKey = z.output<typeof templateKeySchema>

const manifestSchema = z.strictObject({ v: z.literal(1), key: templateKeySchema, madeAtMs: timeMsSchema, tookMs: z.number().nonnegative().nullable().default(null) })
export type TemplateManifest = z.output<typeof manifestSchema>

export const templateIdPattern = /^[0-9a-f]{16}$/
/** What a whole template is, and nothing else. */
export const templateFileNames: readonly string[] = ['memory', 'state', 'scratch.qcow2', 'manifest.json']
/** Folders that explain themselves: their owner is at work, or dead and the next bait removes them. */
export const passingFolders: readonly string[] = ['new', 'old']
/** The VM that is to be a template; one at a time. Short, for the path of its sockets. */
export const templateVmName = 'template'

export interface TemplateFiles {
  readonly folder: string
  readonly memory: string
  readonly state: string
  readonly scratch: string
  readonly manifest: string
}

/** A whole template. */
export interface Template {
  readonly id: string
  readonly key: TemplateKey
  readonly files: TemplateFiles
}

/** The id of the template for machines of this key. */
export const templateId = (key: TemplateKey): string =>
  createHash('sha256').update(JSON.stringify(templateKeySchema.parse(key))).digest('hex').slice(0, 16)

export const templateFiles = (folder: string): TemplateFiles => ({
  folder, memory: join(folder, 'memory'), state: join(folder, 'state'), scratch: join(folder, 'scratch.qcow2'), manifest: join(folder, 'manifest.json'),
})

/** A template with what it costs. */
export interface Kept {
  readonly template: Template
  readonly bytes: number
  readonly usedAtMs: number
  /** How long it took to make. */
  readonly tookMs: number | null
}

const mib = 1024 ** 2

/** The template in this folder of `templates/`, or null when it is not whole. */
export async function readTemplate(templates: string, id: string): Promise<Kept | null> {
  const files = templateFiles(join(templates, id))
  try {
    const { key, tookMs } = await readJson(files.manifest, manifestSchema)
    const [memory, ...others] = await Promise.all([files.memory, files.state, files.scratch, files.manifest].map((path) => stat(path)))
    if (templateId(key) !== id || memory?.size !== key.shape.memoryMib * mib) return null
    const bytes = [memory, ...others].reduce((sum, file) => sum + file.blocks * 512, 0)
    return { template: { id, key, files }, bytes, tookMs, usedAtMs: others.at(-1)?.mtimeMs ?? 0 }
  } catch {
    return null // whatever is wrong with it: it is made again
  }
}

/** Every whole template; nothing is touched. */
export async function peekTemplates(templates: string): Promise<readonly Kept[]> {
  const ids = (await readdir(templates).catch(() => [])).filter((name) => templateIdPattern.test(name)).sort()
  return (await Promise.all(ids.map((id) => readTemplate(templates, id)))).filter((kept) => kept !== null)
}

/** An empty folder for a template to be made in. */
export async function beginTemplate(templates: string): Promise<string> {
  const folder = join(templates, 'new')
  await abandonTemplate(templates)
  await mkdir(folder, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
    throw writeFailure(folder, cause)
  })
  return folder
}

/** Nothing is left of what is being made. */
export const abandonTemplate = (templates: string): Promise<void> => rm(join(templates, 'new'), { recursive: true, force: true })

/** `new` becomes the template `id`, also after a power failure; everything in it was synced before. */
export async function keepTemplate(templates: string, id: string): Promise<void> {
  const files = await readdir(join(templates, 'new'))
  await Promise.all(files.filter((name) => !templateFileNames.includes(name)).map((name) => rm(join(templates, 'new', name), { recursive: true })))
  await rename(join(templates, 'new'), join(templates, id)).catch((cause: unknown) => {
    throw writeFailure(join(templates, id), cause)
  })
  const folder = await open(templates, 'r')
  await folder.sync().finally(() => folder.close())
}

/** A template goes in one step, and then its files; VMs that were cloned from it keep what they have open. Calls must not overlap. */
export async function removeTemplate(templates: string, id: string): Promise<void> {
  const old = join(templates, 'old')
  await rm(old, { recursive: true, force: true })
  await rename(join(templates, id), old).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error
  })
  await rm(old, { recursive: true, force: true })
}

/** Removes what a bait that died was at work on; returns the names of folders. */
export async function removePassing(templates: string): Promise<readonly string[]> {
  const found = (await readdir(templates).catch(() => [])).filter((name) => passingFolders.includes(name))
  for (const name of found) await rm(join(templates, name), { recursive: true, force: true })
  return found
}

/** A template was used now. */
export const touchTemplate = ({ files }: Template, nowMs: number): Promise<void> => utimes(files.manifest, nowMs / 1000, nowMs / 1000)

/** What a template's manifest says. */
export const manifestOf = (key: TemplateKey, nowMs: number, tookMs: number): TemplateManifest => ({ v: 1, key, madeAtMs: nowMs, tookMs })
