/**
 * The mapping in force, and the file it comes from. A changed file is taken as a whole or not at all: what is wrong with it is kept
 * beside the mapping before it, which stays. The last valid text is in the database too, so that a restart with a bad file changes nothing.
 */
import { watch } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { VwnError } from '../core/errors.ts'
import type { Mount } from '../core/directory.ts'
import { typeName } from '../core/ids.ts'
import { checkMapping, type Mapping, type Match, type Rule, type VwnType } from '../core/mapping.ts'
import { noPool } from '../core/pool.ts'
import type { Database } from '../db/open.ts'
import { lastMapping, saveMapping } from '../db/queries/mapping.ts'
import { imageStore } from '../kit/image-store.ts'
import { loop, type Kit, type Loop } from '../kit/service.ts'
import { nfsPattern, type MappingFile, type MappingMatch, type MappingMount, type MappingRule, type MappingType } from '../wire/mapping.ts'
import { parseMapping, refused } from './mapping-file.ts'

export interface MappingState {
  /** Null: none was ever valid. */
  readonly mapping: Mapping | null
  /** Counts mappings taken into force by this controller. */
  readonly version: number
  readonly loadedAtMs: number | null
  /** Why the file as it is now was refused. */
  readonly problem: VwnError | null
  readonly warnings: readonly string[]
}

export interface MappingHolder {
  readonly file: string
  readonly state: MappingState
  /** Reads the file, once, before the watcher starts. */
  load(): Promise<void>
  /** The file is read again soon, changed or not. */
  poke(): void
  /** Watches the file. */
  readonly watcher: Loop
}

export interface MappingParts {
  readonly kit: Kit
  readonly db: Database
  readonly file: string
  /** Folder of an image store that must have every image of the mapping; null: hosts alone tell. */
  readonly images: string | null
  readonly changed: () => void
}

/** What a mapping file says, checked as a whole; MAPPING_REFUSED with line and reason. */
export async function readMapping(text: string, file: string, images: string | null): Promise<{ readonly mapping: Mapping; readonly warnings: readonly string[] }> {
  const { file: content, lineOf } = parseMapping(text, file)
  const mapping = toCore(content)
  const problems = checkMapping(mapping)
  const errors = problems.filter(({ severity }) => severity === 'error').map(({ path, message }) => ({ path, problem: message }))
  errors.push(...(await unmetByImages(mapping, images)))
  if (errors.length > 0) throw refused(file, lineOf, errors)
  const warnings = problems.map(({ path, message }) => `line ${lineOf(path) ?? '?'}: ${path.join('.')} ${message}`)
  return { mapping, warnings }
}

/** The mapping of this file and database; of no use before `load`. */
export function openMapping({ kit, db, file, images, changed }: MappingParts): MappingHolder {
  let state: MappingState = { mapping: null, version: 0, loadedAtMs: null, problem: null, warnings: [] }
  let seen = ''
  let text: string | null = null

  const take = async (found: string): Promise<void> => {
    const { mapping, warnings } = await readMapping(found, file, images)
    const nowMs = kit.clock.nowMs()
    const same = found === text
    text = found
    state = { mapping, warnings, problem: null, version: same ? state.version : state.version + 1, loadedAtMs: same ? state.loadedAtMs : nowMs }
    if (same) return
    saveMapping(db, found, nowMs)
    kit.log.info({ file, version: state.version, types: mapping.types.length, rules: mapping.rules.length, warnings }, 'mapping in force')
  }
  const refuse = (error: unknown): void => {
    if (!(error instanceof VwnError)) throw error
    if (error.message !== state.problem?.message) kit.log.error({ err: error, inForce: state.version }, 'mapping refused, the one before stays in force')
    state = { ...state, problem: error }
  }
  const reload = async (): Promise<void> => {
    try {
      await take(await read(file))
    } catch (error) {
      if (text === null) await fallBack()
      refuse(error)
    }
    changed()
  }
  /** At start only: what was valid before the restart, even if its images have gone since. */
  const fallBack = async (): Promise<void> => {
    const last = lastMapping(db)
    if (last === null) return
    const { mapping, warnings } = await readMapping(last.text, file, null)
    text = last.text
    state = { ...state, mapping, warnings, version: state.version + 1, loadedAtMs: last.loadedAtMs }
    kit.log.warn({ file }, 'mapping of before the restart in force')
  }

  const look = async (): Promise<void> => {
    const now = await stampOf(file)
    // A refused file is looked at again although it did not change: the image that it names may have been built meanwhile.
    if (now === seen && state.problem === null) return
    seen = now
    await reload()
  }
  const watcher = loop(kit, { name: 'mapping', everyMs: 2_000, wake: (wake) => watchFolder(file, kit, wake) }, look)
  const poke = (): void => {
    seen = ''
    watcher.wake()
  }
  return { file, watcher, load: look, poke, get state() { return state } }
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new VwnError('MAPPING_UNREADABLE', { file }, { cause })
  }
}

/** What changes whenever somebody writes the file or puts another in its place. */
async function stampOf(file: string): Promise<string> {
  const found = await stat(file, { bigint: true }).catch(() => null)
  return found === null ? 'absent' : `${found.ino} ${found.size} ${found.mtimeNs}`
}

/** Editors replace files, so the folder is watched. Where that is not possible (network file systems), looking now and then must do. */
function watchFolder(file: string, kit: Kit, changed: () => void): () => void {
  try {
    const watcher = watch(dirname(file), (_kind, name) => { if (name === null || name === basename(file)) changed() })
    watcher.on('error', (error) => kit.log.debug({ err: error }, 'mapping folder not watched'))
    return () => watcher.close()
  } catch (error) {
    kit.log.debug({ err: error }, 'mapping folder not watched')
    return () => undefined
  }
}

/** What the images of this store contradict: a type whose image is not there, or cannot do what the type wants. */
async function unmetByImages(mapping: Mapping, folder: string | null): Promise<{ path: readonly string[]; problem: string }[]> {
  if (folder === null || (await stat(folder).catch(() => null)) === null) return []
  const { images } = await imageStore(folder).list()
  const contacts = (namesOf: (image: (typeof images)[number]) => readonly string[]) => images.flatMap((image) => namesOf(image).map((name) => [name, image.manifest.contact] as const))
  const known = new Map([...contacts(({ digest, manifest }) => [digest, manifest.name]), ...contacts(({ names }) => names)])
  return mapping.types.flatMap(({ name, image, mounts }) => {
    const contact = known.get(image)
    if (contact === undefined) {
      const there = [...new Set(images.flatMap(({ names }) => names))].sort().join(', ') || 'none'
      return [{ path: ['types', name, 'image'], problem: `there is no OS image ${image}; there are ${there}` }]
    }
    return contact === 'agent' || mounts.length === 0 ? [] : [{ path: ['types', name, 'mounts'], problem: `OS image ${image} has no agent, and only an agent mounts anything` }]
  })
}

// ---------------------------------------------------------------- the file in core's terms

/** The name of the rule that is tried last. */
export const defaultRuleName = 'default'

const toCore = (file: MappingFile): Mapping => ({
  types: Object.entries(file.types).map(([name, type]) => toType(name, type)),
  rules: file.rules.map((rule, index) => ({ ...toDecision(rule), name: rule.name ?? `#${index + 1}`, match: toMatch(rule.match) })),
  default: file.default === null ? null : { ...toDecision(file.default), name: defaultRuleName, match: {} },
})

const toType = (name: string, type: MappingType): VwnType => ({
  name: typeName(name),
  image: type.image,
  shape: { cpus: type.cpus, memoryMib: type.memory_mib, scratchGib: type.scratch_gib },
  network: type.network,
  mounts: type.mounts.map(toMount),
  directory: type.directory,
  limits: { reuse: type.reuse, jobsRunMax: type.jobs_max, ageMsMax: type.age_max_s * 1000, idleMsMax: type.idle_max_s * 1000 },
  bootMs: type.boot_deadline_s * 1000,
  limit: type.limit,
  pool: type.pool === null ? noPool : { min: type.pool.min, max: type.pool.max, memoryShare: type.pool.memory_share },
})

/** The schema has held it against the same pattern. */
function toMount({ nfs, at, port, read_only: readOnly, options }: MappingMount): Mount {
  const [, name, address, path = ''] = nfsPattern.exec(nfs) ?? []
  return { server: name ?? address ?? '', path, port, at, readOnly, options }
}

const toDecision = ({ type, allow, limits, fallback = 'requeue' }: Pick<MappingRule, 'type' | 'allow' | 'limits' | 'fallback'>): Omit<Rule, 'name' | 'match'> =>
  ({ type: type === undefined ? null : typeName(type), allow: allow.map(typeName), limits: { perUser: limits.per_user }, fallback })

function toMatch(match: MappingMatch): Match {
  const pairs = {
    users: both(match.user, match.users), groups: both(match.group, match.groups), queues: both(match.queue, match.queues),
    projects: both(match.project, match.projects), batchSystems: both(match.batch_system, match.batch_systems), types: both(match.type, match.types),
  }
  return Object.fromEntries(Object.entries(pairs).filter(([, names]) => names !== null))
}

/** Singular and plural of one condition, together; null when neither is given. */
function both(...given: readonly (string | readonly string[] | undefined)[]): readonly string[] | null {
  const names = given.flatMap((one) => one ?? [])
  return given.every((one) => one === undefined) ? null : names
}
