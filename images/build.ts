/**
 * Makes an image from a recipe.
 *
 *   key known ──────────────────────────────────────────────▶ nothing to do
 *   base cached ──▶ copy, put agent and helper in ──▶ seal      after a change of the agent: a second or two
 *   else  mmdebstrap ─▶ unpack ─▶ setup ─▶ ext4 ─▶ cache the base ─▶ …
 *
 * All work is done in a folder of the store that is renamed when it is complete, or removed.
 */
import { createHash } from 'node:crypto'
import { chmod, constants, copyFile, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { systemClock } from '../kit/clock.ts'
import { run } from '../kit/command.ts'
import { errnoOf, writeFailure } from '../kit/atomic-file.ts'
import { hashFile, imageStore, readPointer, type Manifest, type StoredImage } from '../kit/image-store.ts'
import { bootstrap } from './bootstrap.ts'
import { findModules, initrd, modulesFor, readModules } from './initrd.ts'
import { unpackKernel } from './kernel.ts'
import { baseKey, loadRecipe, recipeKey, type Recipe } from './recipe.ts'
import { graft, makeFileSystem, removeTree, setUp, unpack } from './root.ts'
import { keepNode, snapshotAgent } from './snapshot.ts'
import { debianSources } from './sources.ts'
import { addImage, claimRecipe, nameImage, partPath, removeLeftBehind, workFolder } from './store.ts'

export interface BuildOptions {
  readonly store: string
  /** The clone or installation: recipes, the initramfs script and the helper's source are below. */
  readonly project: string
  /** The agent's bundle; read only for recipes with `contact: agent`. */
  readonly agent: string
  /** A sources file instead of the host's own, as WNOD_DEBIAN_SOURCES names it. */
  readonly sources: string | undefined
  /** Take today's packages, whatever was built before. */
  readonly fresh: boolean
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

export interface Built {
  readonly image: StoredImage
  /** False: an equal image was there already. */
  readonly built: boolean
  readonly tookMs: number
}

/** The image of this recipe, built if need be; its name stands for it afterwards. Failures leave nothing behind. */
export async function buildImage(nameOrFile: string, options: BuildOptions): Promise<Built> {
  const began = systemClock.monotonicMs()
  const { store, project, fresh, signal } = options
  const { recipe, text } = await loadRecipe(nameOrFile, join(project, 'images/recipes'))
  const inputs = await readInputs(recipe, options)
  const key = recipeKey(text, Object.values(inputs))
  const done = (image: StoredImage, built: boolean): Built => ({ image, built, tookMs: Math.round(systemClock.monotonicMs() - began) })
  try {
    await using _claim = await claimRecipe(store, recipe.name, signal)
    const present = fresh ? null : await existing(store, key)
    if (present !== null) {
      await nameImage(store, recipe.name, present.digest)
      return done(await imageStore(store).find(present.digest), false)
    }
    await removeLeftBehind(store)
    await using work = await workFolder(store)
    const base = await prepareBase(recipe, options, work.path)
    return done(await assemble({ recipe, key, base, work: work.path }, options), true)
  } catch (error) {
    throw errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT' ? writeFailure(store, error) : error
  }
}

interface Inputs {
  /** The initramfs's programs. */
  readonly initSource: Uint8Array
  /** Both empty for images without them. */
  readonly agent: Uint8Array
  readonly helperSource: Uint8Array
}

const helperFolder = 'vwn-agent'
const initFolder = 'images/initramfs'
/** For images whose seed may come late; in a place that each of them has. */
const lateSeed = '/usr/sbin/late-seed'

async function readInputs(recipe: Recipe, { project, agent }: BuildOptions): Promise<Inputs> {
  const must = (file: string): Promise<Uint8Array> =>
    readFile(file).catch((cause: unknown) => {
      throw new VwnError('FILE_UNREADABLE', { file }, { cause })
    })
  const withAgent = recipe.contact === 'agent'
  return {
    initSource: await readSources(join(project, initFolder), must),
    agent: withAgent ? await must(agent) : new Uint8Array(),
    helperSource: withAgent ? await readSources(join(project, helperFolder), must) : new Uint8Array(),
  }
}

/** Programs and what they include. */
async function readSources(folder: string, read: (file: string) => Promise<Uint8Array>): Promise<Uint8Array> {
  const files = (await readdir(folder)).filter((file) => /\.[ch]$/.test(file)).sort()
  return Buffer.concat(await Promise.all(files.map((file) => read(join(folder, file)))))
}

async function existing(store: string, key: string): Promise<StoredImage | null> {
  const digest = await readPointer(store, 'recipes', key)
  return digest === null ? null : imageStore(store).verify(digest).catch(() => null)
}

// ---------------------------------------------------------------- the base: everything but our own files

/** The folder with `root.ext4`, `kernel`, `modules/` and for agents `node/` of this recipe, one per recipe's name. */
async function prepareBase(recipe: Recipe, options: BuildOptions, work: string): Promise<string> {
  const { store, fresh, say, signal } = options
  const cache = join(store, 'cache', recipe.name)
  const key = baseKey(recipe)
  if (!fresh && (await readFile(join(cache, 'key'), 'utf8').catch(() => '')) === key) return cache

  const at = (name: string): string => join(work, name)
  const [tar, root, aside, base] = [at('root.tar'), at('root'), at('aside'), at('base')]
  const sources = await debianSources(recipe.suite, options.sources)
  say(`${recipe.name}: Debian ${recipe.suite} from ${sources[0]?.split(' ').at(-3) ?? '?'}`)
  await bootstrap({ recipe, sources, tar }, (line) => say(`${recipe.name}: mmdebstrap: ${line}`), signal)
  say(`${recipe.name}: making the file system`)
  const owned = await unpack(tar, root, aside)
  await setUp(root, recipe.setup)
  await mkdir(base)
  if (recipe.contact === 'agent') {
    await mkdir(join(root, 'usr/lib/wnod'), { recursive: true })
    await keepNode(root, join(base, 'node'))
  }
  await makeFileSystem(root, owned, join(base, 'root.ext4'), uuidOf(key))
  await keepKernel(aside, base, modulesFor(recipe.contact))
  await writeFile(join(base, 'key'), key)
  await removeTree(cache)
  await mkdir(join(store, 'cache'), { recursive: true })
  await rename(base, cache)
  return cache
}

async function keepKernel(aside: string, base: string, wanted: readonly string[]): Promise<void> {
  const name = (await readdir(join(aside, 'boot'))).find((file) => file.startsWith('vmlinuz-'))
  if (name === undefined) throw new VwnError('IMAGE_BUILD_FAILED', { step: 'kernel', missing: 'vmlinuz' })
  const packed = await readFile(join(aside, 'boot', name))
  await writeFile(join(base, 'kernel'), unpackKernel(packed) ?? packed)
  await mkdir(join(base, 'modules'))
  for (const { file, bytes } of await findModules(aside, wanted)) await writeFile(join(base, 'modules', file), bytes)
}

// ---------------------------------------------------------------- the image

interface Assembly {
  readonly recipe: Recipe
  readonly key: string
  readonly base: string
  readonly work: string
}

async function assemble({ recipe, key, base, work }: Assembly, { store, agent, project, say }: BuildOptions): Promise<StoredImage> {
  say(`${recipe.name}: putting the image together`)
  const image = join(work, 'image')
  await mkdir(image)
  const os = partPath(image, 'os')
  await copySparse(join(base, 'root.ext4'), os)
  if (recipe.contact === 'agent') {
    const helper = join(work, 'wnod-guest')
    const snapshot = join(work, 'agent.blob')
    await compile(join(project, helperFolder, 'guest.c'), helper)
    await snapshotAgent(join(base, 'node'), agent, snapshot)
    await graft(os, [
      { from: helper, to: '/usr/lib/wnod/wnod-guest', mode: 0o755 },
      { from: agent, to: '/usr/lib/wnod/agent.cjs', mode: 0o644 },
      { from: snapshot, to: '/usr/lib/wnod/agent.blob', mode: 0o644 },
    ])
  }
  if (recipe.seed === 'late') {
    const program = join(work, 'late-seed')
    await compile(join(project, initFolder, 'late-seed.c'), program)
    await graft(os, [{ from: program, to: lateSeed, mode: 0o755 }])
  }
  await copyFile(join(base, 'kernel'), partPath(image, 'kernel'), constants.COPYFILE_FICLONE)
  await writeFile(partPath(image, 'initrd'), await makeInitrd(base, join(project, initFolder, 'init.c'), join(work, 'init')))
  const parts = { os: await hashFile(os), kernel: await hashFile(partPath(image, 'kernel')), initrd: await hashFile(partPath(image, 'initrd')) }
  await chmod(image, 0o755)
  return addImage(store, image, describe(recipe, key, parts))
}

function describe(recipe: Recipe, key: string, parts: Manifest['parts']): Manifest {
  const { name, contact, hostKeyFormat, minMemoryMib, seed } = recipe
  return {
    v: 1, name, contact, hostKeyFormat, seed, minMemoryMib, parts,
    arch: process.arch === 'arm64' ? 'aarch64' : 'x86_64',
    probe: recipe.probe ?? null,
    recipe: key,
    kernelArgs: [...kernelArgs, ...recipe.kernelArgs],
    osUuid: uuidOf(baseKey(recipe)),
  }
}

/** The serial log is all that is left of a guest that dies, and it must end QEMU. Crypto's self-tests take 0.3 s of an emulated boot. */
const kernelArgs = ['console=ttyS0', 'quiet', 'panic=-1', 'cryptomgr.notests']

async function makeInitrd(base: string, source: string, program: string): Promise<Uint8Array> {
  await compile(source, program)
  return initrd(await readFile(program), await readModules(join(base, 'modules')))
}

/** A static program, from one source file and what that includes. */
export async function compile(source: string, to: string): Promise<void> {
  await run('gcc', ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-static', '-s', '-o', to, source]).catch((cause: unknown) => {
    throw new VwnError('IMAGE_BUILD_FAILED', { step: 'compile', source }, { cause })
  })
}

/** Holes stay holes: most of a fresh file system is one. */
async function copySparse(from: string, to: string): Promise<void> {
  await run('cp', ['--sparse=always', '--reflink=auto', from, to])
}

/** A file system's UUID that follows from what is in it. */
function uuidOf(key: string): string {
  const hex = createHash('sha256').update(`uuid ${key}`).digest('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-')
}
