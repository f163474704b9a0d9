/** From a tar of packages to a file system in a file, without needing to be root. */
import { mkdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { run } from '../kit/command.ts'
import { asideFolder, epoch } from './bootstrap.ts'

/** A file that does not belong to root. */
export interface Owned {
  readonly path: string
  readonly uid: number
  readonly gid: number
}

/** A file to be put into a finished file system. */
export interface Graft {
  readonly from: string
  /** Absolute; its folder is there. */
  readonly to: string
  readonly mode: number
}

const minutes = (n: number): { timeoutMs: number } => ({ timeoutMs: n * 60_000 })

/** Users' PATH has no sbin, where the tools for file systems are. */
const sbin = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }

/**
 * Unpacks the tar to `root`, and what belongs to the kernel to `aside`. All files are the building user's own there; answers which
 * belong to others than root, for the file system to say so. Devices are left out: a guest makes its own.
 */
export async function unpack(tar: string, root: string, aside: string): Promise<readonly Owned[]> {
  await mkdir(root, { recursive: true })
  await run('tar', ['-x', '-p', '--no-same-owner', '--exclude=./dev/*', '-f', tar, '-C', root], minutes(5))
  await rename(join(root, asideFolder), aside)
  const { stdout } = await run('tar', ['-t', '-v', '--numeric-owner', '--quoting-style=literal', '-f', tar], minutes(5))
  return stdout.split('\n').flatMap(parseOwner)
}

/** One line of `tar -tv`, when it is about somebody else's file. */
export function parseOwner(line: string): readonly Owned[] {
  const [, uid, gid, path] = /^\S+ +(\d+)\/(\d+) +\S+ \S+ \S+ \.(\/.*?)(?: -> .*)?$/.exec(line) ?? []
  if (path === undefined || path.startsWith('/dev/') || (uid === '0' && gid === '0')) return []
  return [{ path: path.replace(/\/$/, ''), uid: Number(uid), gid: Number(gid) }]
}

/** Runs the recipe's script in the root. */
export async function setUp(root: string, script: string): Promise<void> {
  await run('sh', ['-c', `set -eu\numask 022\n${script}`], { ...minutes(5), cwd: root }).catch((cause: unknown) => {
    throw new VwnError('IMAGE_BUILD_FAILED', { step: 'setup' }, { cause })
  })
}

/** Writes the folder as an ext4 file system, the same bytes for the same files. No journal: nobody writes to it. */
export async function makeFileSystem(root: string, owned: readonly Owned[], image: string, uuid: string): Promise<void> {
  await run('find', [root, '-newermt', `@${epoch}`, '-exec', 'touch', '-h', '-d', `@${epoch}`, '{}', '+'], minutes(2))
  const { stdout } = await run('du', ['-s', '--block-size=1M', root], minutes(2))
  const mib = Math.ceil(Number.parseInt(stdout, 10) * 1.04) + 24
  await writeFile(image, '')
  await truncate(image, mib * 1024 * 1024)
  // To the tool the building user is root, who owns what it copies.
  const asRoot = process.getuid?.() === 0 ? [] : ['unshare', '--user', '--map-root-user']
  const [command = '', ...args] = [
    ...asRoot, 'mke2fs', '-q', '-F', '-t', 'ext4', '-m', '0', '-b', '4096', '-L', 'os', '-U', uuid, '-O', '^has_journal,^resize_inode,^metadata_csum',
    '-E', `hash_seed=${uuid},root_owner=0:0,lazy_itable_init=0,nodiscard`, '-d', root, image,
  ]
  await run(command, args, { ...minutes(5), env: { ...sbin, E2FSPROGS_FAKE_TIME: String(epoch) } })
  const present = await Promise.all(owned.map(async (file) => ((await exists(join(root, file.path))) ? [file] : [])))
  await debugfs(image, [...present.flat().flatMap(ownerLines), ...(await timeLines(image))])
}

/** Puts files into a finished file system, as root's own. */
export async function graft(image: string, files: readonly Graft[]): Promise<void> {
  const lines = files.flatMap(({ from, to, mode }) => [
    `write "${from}" "${to}"`,
    `sif "${to}" mode 0${(0o100000 | mode).toString(8)}`,
    ...ownerLines({ path: to, uid: 0, gid: 0 }),
    ...stampLines(`"${to}"`),
    ...['mtime', 'mtime_extra'].map((field) => `sif "${to}" ${field} ${field.endsWith('extra') ? '0' : `@${epoch}`}`),
  ])
  await debugfs(image, lines)
}

/** The folder is gone, also where its files were made read-only. */
export async function removeTree(folder: string): Promise<void> {
  await rm(folder, { recursive: true, force: true }).catch(async () => {
    await run('chmod', ['-R', 'u+rwx', folder]).catch(() => undefined)
    await rm(folder, { recursive: true, force: true })
  })
}

const ownerLines = ({ path, uid, gid }: Owned): string[] => [`sif "${path}" uid ${uid}`, `sif "${path}" gid ${gid}`]

/** The times of when and where it was built; a file's own time of change stays. */
const stampLines = (inode: string): string[] =>
  ['atime', 'ctime', 'crtime'].flatMap((field) => [`sif ${inode} ${field} @${epoch}`, `sif ${inode} ${field}_extra 0`])

async function timeLines(image: string): Promise<string[]> {
  const { stdout } = await run('dumpe2fs', ['-h', image], { ...minutes(1), env: sbin })
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\d+)`, 'm').exec(stdout)?.[1])
  const used = field('Inode count') - field('Free inodes')
  // Used inodes are one row: 2 is the root, 11 the first of the others.
  const inodes = [2, ...Array.from({ length: Math.max(0, used - 10) }, (_, i) => i + 11)]
  return inodes.flatMap((inode) => stampLines(`<${inode}>`))
}

/** debugfs exits 0 whatever happens; what it complains of counts. */
async function debugfs(image: string, lines: readonly string[]): Promise<void> {
  const options = { ...minutes(2), input: `${lines.join('\n')}\n`, env: { ...sbin, E2FSPROGS_FAKE_TIME: String(epoch), DEBUGFS_PAGER: 'cat' } }
  const { stderr } = await run('debugfs', ['-w', '-f', '-', image], options)
  const complaint = stderr.split('\n').find((line) => line.trim() !== '' && !line.startsWith('debugfs 1.'))
  if (complaint !== undefined) throw new VwnError('IMAGE_BUILD_FAILED', { step: 'debugfs', said: complaint })
}

const exists = (path: string): Promise<boolean> => stat(path).then(() => true, () => false)
