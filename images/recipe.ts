/** A recipe: what an OS image is made of, as images/recipes/NAME.yaml or a file of the administrator's own says it. */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { parse, YAMLParseError } from 'yaml'
import { z } from 'zod'
import { VwnError } from '../core/errors.ts'
import { errnoOf } from '../kit/atomic-file.ts'
import { nearest } from '../kit/config.ts'
import { manifestSchema } from '../kit/image-store.ts'

const packageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/)
const { name, contact, hostKeyFormat, minMemoryMib, seed } = manifestSchema.shape

export const recipeSchema = z.strictObject({
  name,
  contact,
  hostKeyFormat,
  seed,
  suite: z.string().regex(/^[a-z]+$/),
  /** `essential`: a Debian that works, and the packages. `extract`: only the files of the packages and what they depend on. */
  variant: z.enum(['essential', 'extract']),
  packages: z.array(packageName).min(1),
  /** The package that depends on the kernel to boot. */
  kernel: packageName,
  leaveOut: z.array(z.string().startsWith('/')),
  minMemoryMib,
  probe: z.string().trim().min(1).max(4096).optional(),
  /** A shell script that mends the unpacked root, its working directory. */
  setup: z.string(),
  kernelArgs: z.array(z.string().regex(/^\S+$/)).default([]),
}).refine((recipe) => recipe.contact === 'ssh' || recipe.seed === 'boot', {
  path: ['seed'],
  message: 'an image with the agent has no seed',
}).refine((recipe) => recipe.contact === 'agent' || recipe.probe !== undefined, {
  path: ['probe'],
  message: '`contact: ssh` needs a command that tells when the guest is ready',
})
export type Recipe = z.output<typeof recipeSchema>

/** A recipe and the text that it was read from. */
export interface LoadedRecipe {
  readonly recipe: Recipe
  readonly text: string
}

/** The recipe of this name in `folder`, or in this file; RECIPE_NOT_FOUND or RECIPE_INVALID otherwise. */
export async function loadRecipe(nameOrFile: string, folder: string): Promise<LoadedRecipe> {
  const isFile = /\.ya?ml$/.test(nameOrFile)
  const file = isFile ? nameOrFile : join(folder, `${basename(nameOrFile)}.yaml`)
  const text = await readFile(file, 'utf8').catch(async (cause: unknown) => {
    if (errnoOf(cause) !== 'ENOENT') throw new VwnError('FILE_UNREADABLE', { file }, { cause })
    const known = isFile ? [] : await knownRecipes(folder)
    throw new VwnError('RECIPE_NOT_FOUND', { recipe: nameOrFile, nearest: nearest(nameOrFile, known) ?? undefined })
  })
  return { recipe: parseRecipe(text, file), text }
}

/** The recipe in this text; RECIPE_INVALID says what is wrong where. */
export function parseRecipe(text: string, file: string): Recipe {
  let value: unknown
  try {
    value = parse(text)
  } catch (cause) {
    if (!(cause instanceof YAMLParseError)) throw cause
    throw new VwnError('RECIPE_INVALID', { file, line: cause.linePos?.[0].line, problem: cause.message.split('\n')[0] ?? '' })
  }
  const parsed = recipeSchema.safeParse(value)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined
  throw new VwnError('RECIPE_INVALID', {
    file,
    key: unknown ?? issue?.path.join('.'),
    problem: unknown === undefined ? issue?.message : 'nobody reads this key',
    nearest: unknown === undefined ? undefined : (nearest(unknown, Object.keys(recipeSchema.shape)) ?? undefined),
  })
}

/** Names of the recipes in this folder. */
export async function knownRecipes(folder: string): Promise<readonly string[]> {
  const files = await readdir(folder).catch(() => [])
  return files.filter((file) => file.endsWith('.yaml')).map((file) => basename(file, '.yaml')).sort()
}

/** Raised when the builder makes other bases of the same recipe, or other images of the same base. */
const baseVersion = 3
const imageVersion = 3

/** What the unpacked base of an image follows from: changing anything else does not unpack Debian again. */
export const baseKey = (recipe: Recipe): string => {
  const { suite, variant, packages, kernel, leaveOut, setup, contact } = recipe
  return digestOf([JSON.stringify([baseVersion, suite, variant, packages, kernel, leaveOut, setup, contact])])
}

/** What a whole image follows from, mirror and moment aside: the same key need not be built again. */
export const recipeKey = (text: string, inputs: readonly Uint8Array[]): string => digestOf([String(imageVersion), text, ...inputs])

function digestOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}\n`).update(part)
  return hash.digest('hex')
}
