/**
 * Where the script of a job may be put in a guest. The path is the batch system's, as an untrusted user hands it on, and root makes it: so
 * it is taken only where no configuration is, under folders that have to be made for it. Paths are latin1 text, which holds any bytes.
 */

/** Largest script of a job: what Slurm takes where its max_script_size was not raised. */
export const scriptBytesMax = 4 * 1024 * 1024

/** Folders of spools, scratch files, users and site software: below them a program finds nothing that it obeys unasked. */
export const scriptRoots = ['/var/spool', '/var/lib', '/var/tmp', '/tmp', '/home', '/opt', '/srv', '/scratch'] as const

export interface ScriptPlace {
  /** Absolute and normalised; it has to be made. */
  readonly folder: string
  readonly name: string
}

/** Longest path of a kernel, with its zero byte, and the longest name in one. */
const pathBytesMax = 4096
const nameBytesMax = 255

/** The place that this path names; null where nothing may be made. */
export function scriptPlace(path: string, roots: readonly string[] = scriptRoots): ScriptPlace | null {
  const folder = path.slice(0, path.lastIndexOf('/'))
  const names = path.split('/').slice(1)
  const isNormal = path.startsWith('/') && path.length < pathBytesMax && names.every(isName)
  return isNormal && roots.some((root) => folder.startsWith(`${root}/`)) ? { folder, name: names.at(-1) ?? '' } : null
}

/** A place of our own below this folder, for a script that cannot be where it was; as far as its name is a plain one, it keeps it. */
export function otherPlace(below: string, job: string, path: string): ScriptPlace {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return { folder: `${below}/wnod-script-${job}`, name: /^\w[\w.+-]{0,199}$/.test(name) ? name : 'script' }
}

/** Every folder on the way to this one and itself, from the top down; without the root. */
export function foldersTo(folder: string): readonly string[] {
  const names = folder.split('/').slice(1)
  return names.map((_, at) => `/${names.slice(0, at + 1).join('/')}`)
}

/** No control character either: some places keep a list of paths by lines. */
const isName = (name: string): boolean => name !== '' && name !== '.' && name !== '..' && name.length <= nameBytesMax && !/[\0-\x1f\x7f]/.test(name)
