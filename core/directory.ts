/**
 * Where in its guest a job starts: in a file system that the guest mounts as its host does, in a copy of the directory, or in the user's home.
 * What a VWN type mounts, and what its jobs get, the mapping says.
 */

/** An NFS export, and where every guest of a type has it: at the path that it has on the hosts. */
export interface Mount {
  readonly server: string
  readonly port: number
  readonly path: string
  readonly at: string
  readonly readOnly: boolean
  /** As mount.nfs(8) takes them, separated by commas; empty for none. */
  readonly options: string
}

/** `shared`: below a mount, or the job is refused · `stage`: a copy goes in, changed files come back · `home`: the user's home. */
export const directoryPolicies = ['shared', 'stage', 'home'] as const
export type DirectoryPolicy = (typeof directoryPolicies)[number]

/** What a job starter says of its directory: its path, as text that holds any bytes, and whether the user wants it staged. */
interface Asked {
  readonly cwd: string | null
  readonly stage: boolean
}

/** `asked`: in the directory of that name where the guest has one, else in the home. */
export type StartPlace = 'shared' | 'stage' | 'home' | 'asked'

/** Where a job starts; null where its type wants it below a mount, and it is not. Without a policy a mount comes before a copy. */
export function startPlace(policy: DirectoryPolicy | null, mounts: readonly Mount[], { cwd, stage }: Asked): StartPlace | null {
  if (policy === 'stage' || policy === 'home') return policy
  if (cwd !== null && mounts.some(({ at }) => isBelow(cwd, at))) return 'shared'
  if (policy === 'shared') return null
  return stage ? 'stage' : 'asked'
}

/** A guest of its own has these, and its agent and system live in them. */
const guestsOwn = ['/bin', '/boot', '/dev', '/etc', '/lib', '/lib32', '/lib64', '/libx32', '/proc', '/run', '/sbin', '/sys']
/** Here there may be mounts, but not over them. */
const guestsRoots = ['/', '/root', '/tmp', '/usr', '/usr/bin', '/usr/lib', '/usr/sbin', '/var', '/var/tmp']

/** Why nothing can be mounted there; null where it can. */
export function mountPointProblem(at: string): string | null {
  if (!at.startsWith('/') || (at !== '/' && at.endsWith('/')) || at.split('/').some((part, index) => index > 0 && at !== '/' && ['', '.', '..'].includes(part))) {
    return 'is no absolute path without `.`, `..`, doubled or final slashes'
  }
  const owner = guestsOwn.find((folder) => isBelow(at, folder)) ?? guestsRoots.find((folder) => at === folder)
  return owner === undefined ? null : `would hide ${owner === at ? at : `what is in ${owner}`}, which the guest needs`
}

/** Options that say how a mount behaves; those that say where it is, and as whom, are ours. */
export const mountOptionNames = [
  'soft', 'softerr', 'hard', 'timeo', 'retrans', 'rsize', 'wsize', 'ac', 'noac', 'acregmin', 'acregmax', 'acdirmin', 'acdirmax', 'actimeo', 'cto', 'nocto',
  'lookupcache', 'nconnect', 'sync', 'async',
] as const

/** The first of the options that there is not; null when all are known. */
export const unknownMountOption = (options: string): string | null =>
  options.split(',').map((option) => option.split('=', 1)[0] ?? '').find((name) => options !== '' && !mountOptionNames.some((known) => known === name)) ?? null

/** As people write it. */
export const mountName = ({ server, path }: Pick<Mount, 'server' | 'path'>): string => `${server.includes(':') ? `[${server}]` : server}:${path}`

/** Outer ones first: what is mounted in another one comes after it. */
export const inMountOrder = (mounts: readonly Mount[]): readonly Mount[] => [...mounts].sort((a, b) => a.at.length - b.at.length)

/** True of the folder itself too. */
export const isBelow = (path: string, folder: string): boolean => path === folder || path.startsWith(folder === '/' ? '/' : `${folder}/`)
