/**
 * The reading side of the image store: what a bait and the command line need of it. images/ writes it.
 *
 *   DIGEST/{manifest.json,os.ext4,kernel,initrd}    an image; DIGEST is the SHA-256 of manifest.json, which has those of the parts
 *   names/NAME                                       the digest that a name stands for now
 *   recipes/KEY                                      the digest that a recipe with all its inputs gave
 *   stamps/DIGEST.json                               which files were hashed and right: a warm boot does not hash them again
 */
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { z } from 'zod'
import { VwnError } from '../core/errors.ts'
import { idPatterns, imageDigest, type ImageDigest } from '../core/ids.ts'
import { errnoOf, tryReadJson, writeJson } from './atomic-file.ts'

const partSchema = z.strictObject({ sha256: z.string().regex(idPatterns.digest), bytes: z.int().positive() })

/** An image in one page. Its bytes name the image, so nothing that differs between two equal builds may be in it. */
export const manifestSchema = z.strictObject({
  v: z.literal(1),
  name: z.string().regex(/^[a-z0-9][a-z0-9._-]{0,63}$/),
  /** How the guest is spoken to: by the agent in it, or by ssh alone. */
  contact: z.enum(['agent', 'ssh']),
  arch: z.enum(['x86_64', 'aarch64']),
  /** What the guest's ssh server reads as its host key. */
  hostKeyFormat: z.enum(['openssh', 'dropbear']),
  /** For `contact: ssh`: whether its keys must be there when it boots, or may come when it has booted (images/initramfs/late-seed.c). */
  seed: z.enum(['boot', 'late']).default('boot'),
  /** For `contact: ssh`: a command that succeeds when the guest can take a job. */
  probe: z.string().max(4096).nullable(),
  parts: z.strictObject({ os: partSchema, kernel: partSchema, initrd: partSchema }),
  /** The recipe's key: everything that it was made of. */
  recipe: z.string().regex(idPatterns.digest),
  /** The image's own part of the kernel's command line. */
  kernelArgs: z.array(z.string().max(256)).max(64),
  osUuid: z.uuid(),
  minMemoryMib: z.int().positive(),
})
export type Manifest = z.output<typeof manifestSchema>
export type PartName = keyof Manifest['parts']

/** File names of the parts. */
export const partFiles: Readonly<Record<PartName, string>> = { os: 'os.ext4', kernel: 'kernel', initrd: 'initrd' }

/** An image with the paths of its parts. */
export interface StoredImage {
  readonly digest: ImageDigest
  readonly manifest: Manifest
  /** The names that stand for it now. */
  readonly names: readonly string[]
  readonly folder: string
  readonly os: string
  readonly kernel: string
  readonly initrd: string
}

/** An image folder that cannot be used, and why. */
export interface BrokenImage {
  readonly digest: ImageDigest
  readonly why: VwnError
}

export interface ImageStore {
  readonly folder: string
  list(): Promise<{ readonly images: readonly StoredImage[]; readonly broken: readonly BrokenImage[] }>
  /** The image of this name or digest, not yet verified; IMAGE_NOT_FOUND, or IMAGE_DIGEST_MISMATCH for a changed manifest. */
  find(nameOrDigest: string): Promise<StoredImage>
  /** As `find`, and every part is what the manifest says; IMAGE_DIGEST_MISMATCH otherwise. `afresh` trusts no stamp. */
  verify(nameOrDigest: string, options?: { readonly afresh?: boolean }): Promise<StoredImage>
}

/** The store in this folder, which need not exist yet: then it is empty. */
export function imageStore(folder: string): ImageStore {
  const find = async (nameOrDigest: string): Promise<StoredImage> => {
    const names = await readNames(folder)
    const digest = idPatterns.digest.test(nameOrDigest) ? imageDigest(nameOrDigest) : names.get(nameOrDigest)
    if (digest === undefined) throw new VwnError('IMAGE_NOT_FOUND', { image: nameOrDigest, store: folder })
    return readImage(folder, digest, names)
  }
  return {
    folder,
    find,
    async list() {
      const names = await readNames(folder)
      const digests = (await filesIn(folder)).filter((name) => idPatterns.digest.test(name)).sort().map(imageDigest)
      const found = await Promise.all(digests.map((digest) => readImage(folder, digest, names).catch((error: unknown) => broken(digest, error))))
      return { images: found.filter((one) => 'manifest' in one), broken: found.filter((one) => 'why' in one) }
    },
    async verify(nameOrDigest, { afresh = false } = {}) {
      const image = await find(nameOrDigest)
      await verifyParts(folder, image, afresh)
      return image
    },
  }
}

/** Where the digest of a name, a recipe's key or a stamp is kept in a store. */
export const pointerFile = (folder: string, kind: 'names' | 'recipes', name: string): string => join(folder, kind, name)

/** The digest that a name or a recipe's key points to, or null. */
export async function readPointer(folder: string, kind: 'names' | 'recipes', name: string): Promise<ImageDigest | null> {
  const text = await readFile(pointerFile(folder, kind, name), 'utf8').catch(() => '')
  return idPatterns.digest.test(text.trim()) ? imageDigest(text.trim()) : null
}

/** The exact bytes of a manifest, and the digest that follows from them. */
export function sealManifest(manifest: Manifest): { readonly bytes: Uint8Array; readonly digest: ImageDigest } {
  const bytes = Buffer.from(`${JSON.stringify(sorted(manifest), null, 2)}\n`)
  return { bytes, digest: imageDigest(createHash('sha256').update(bytes).digest('hex')) }
}

/**
 * The image store to use: as WNOD_IMAGES says, else that of the home if it has one, else the user's own, which all farms of that
 * user share: images are large and named by their digest.
 */
export function chooseImageStore(home: string, env: NodeJS.ProcessEnv): string {
  const told = env['WNOD_IMAGES']
  if (told !== undefined && told !== '') return resolve(told)
  const own = join(home, 'images')
  return existsSync(own) ? own : resolve(env['XDG_CACHE_HOME'] || join(env['HOME'] || homedir(), '.cache'), 'wnod/images')
}

/** SHA-256 and size of a file. */
export async function hashFile(path: string): Promise<{ sha256: string; bytes: number }> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash)
  return { sha256: hash.digest('hex'), bytes: (await stat(path)).size }
}

/**
 * The kernel's whole command line. Under emulation the guest has no clock that it could measure its time stamp counter by but the
 * PIT, which fails on a busy host, and then the kernel hangs: so it is told the frequency. QEMU passes the host's counter on, and the
 * kernel's `bogomips` is twice its MHz.
 */
export function kernelCommandLine(manifest: Manifest, host: { readonly accelerator: 'kvm' | 'tcg'; readonly cpuinfo: string }): string {
  const bogomips = /^bogomips\s*:\s*([\d.]+)/im.exec(host.cpuinfo)?.[1]
  const counter = bogomips === undefined || host.accelerator === 'kvm' ? [] : [`tsc_early_khz=${Math.floor(Number(bogomips) * 500)}`, 'tsc=reliable']
  return [...manifest.kernelArgs, ...counter].join(' ')
}

async function readImage(folder: string, digest: ImageDigest, names: ReadonlyMap<string, ImageDigest>): Promise<StoredImage> {
  const at = join(folder, digest)
  const bytes = await readFile(join(at, 'manifest.json')).catch((cause: unknown) => {
    throw errnoOf(cause) === 'ENOENT'
      ? new VwnError('IMAGE_NOT_FOUND', { image: digest, store: folder })
      : new VwnError('FILE_UNREADABLE', { file: join(at, 'manifest.json') }, { cause })
  })
  const found = createHash('sha256').update(bytes).digest('hex')
  if (found !== digest) throw new VwnError('IMAGE_DIGEST_MISMATCH', { image: digest, part: 'manifest', found })
  return {
    digest,
    manifest: manifestSchema.parse(JSON.parse(bytes.toString('utf8'))),
    names: [...names].filter(([, target]) => target === digest).map(([name]) => name).sort(),
    folder: at,
    os: join(at, partFiles.os),
    kernel: join(at, partFiles.kernel),
    initrd: join(at, partFiles.initrd),
  }
}

function broken(digest: ImageDigest, error: unknown): BrokenImage {
  return { digest, why: error instanceof VwnError ? error : new VwnError('IMAGE_DIGEST_MISMATCH', { image: digest, part: 'manifest' }, { cause: error }) }
}

async function readNames(folder: string): Promise<ReadonlyMap<string, ImageDigest>> {
  const names = await filesIn(join(folder, 'names'))
  const pairs = await Promise.all(names.map(async (name) => [name, await readPointer(folder, 'names', name)] as const))
  return new Map(pairs.flatMap(([name, digest]) => (digest === null ? [] : [[name, digest]])))
}

// ---------------------------------------------------------------- verifying

/** What of a file changes whenever somebody writes it or puts another in its place. */
const stampSchema = z.record(z.string(), z.string())

const stampFile = (folder: string, image: StoredImage): string => join(folder, 'stamps', `${image.digest}.json`)

/** Notes that the parts, as they lie there now, are what the manifest says: the caller has hashed them. */
export async function stampImage(folder: string, image: StoredImage): Promise<void> {
  await writeJson(stampFile(folder, image), await identifyAll(image), { mode: 0o644 })
}

async function verifyParts(folder: string, image: StoredImage, afresh: boolean): Promise<void> {
  const known = afresh ? {} : ((await tryReadJson(stampFile(folder, image), stampSchema).catch(() => null))?.content ?? {})
  const now = await identifyAll(image)
  const unknown = partNames.filter((part) => known[part] !== now[part])
  for (const part of unknown) await checkPart(image, part)
  // A store that we may only read works too, more slowly.
  if (unknown.length > 0) await writeJson(stampFile(folder, image), now, { mode: 0o644 }).catch(() => undefined)
}

const partNames = ['kernel', 'initrd', 'os'] as const

async function identifyAll(image: StoredImage): Promise<z.output<typeof stampSchema>> {
  return Object.fromEntries(await Promise.all(partNames.map(async (part) => [part, await identify(image[part], image, part)] as const)))
}

async function identify(path: string, image: StoredImage, part: PartName): Promise<string> {
  const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true }).catch((cause: unknown) => {
    throw new VwnError('IMAGE_DIGEST_MISMATCH', { image: image.digest, part, found: 'nothing' }, { cause })
  })
  return `${ino} ${size} ${mtimeNs} ${ctimeNs}`
}

async function checkPart(image: StoredImage, part: PartName): Promise<void> {
  const { sha256 } = await hashFile(image[part])
  if (sha256 !== image.manifest.parts[part].sha256) throw new VwnError('IMAGE_DIGEST_MISMATCH', { image: image.digest, part, found: sha256 })
}

const filesIn = (folder: string): Promise<string[]> => readdir(folder).catch(() => [])

/** The same value with every object's keys in order, so that equal manifests are equal bytes. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, sorted(item)]))
}
