/**
 * The job's script, which the batch system keeps in a spool that the guest does not have. It is put at its very path, so that `$0` is what
 * it would be on the bare node; where that cannot be done safely, into a folder of our own.
 *
 * We are root and the path is a user's, so nothing that is there is touched: the script's own folder must be missing, and what there is of
 * the way to it must be folders, no links, that nobody can exchange under us or under the scrub, which removes what was made.
 */
import { chmodSync, closeSync, fchmodSync, fchownSync, lstatSync, mkdirSync, openSync, writeFileSync, type Stats } from 'node:fs'
import { foldersTo, otherPlace, scriptPlace, type ScriptPlace } from '../core/script-path.ts'
import type { RunTask } from '../wire/guest.ts'
import type { Account } from './accounts.ts'
import { noteFolder } from './made-folders.ts'
import type { Settings } from './settings.ts'

/** The job's arguments, with the script's path changed where the script had to go elsewhere. Nothing of the job may run yet. */
export function placeScript(settings: Settings, account: Account, { job, run }: Pick<RunTask, 'job' | 'run'>): readonly Buffer[] {
  const argv = run.argv.map(bytes)
  if (run.script === null) return argv
  const asked = bytes(run.script.path)
  const path = put(settings, account, { job, path: asked.toString('latin1'), content: bytes(run.script.content) })
  return argv.map((word) => (word.equals(asked) ? path : word))
}

function put(settings: Settings, account: Account, { job, path, content }: { job: string; path: string; content: Buffer }): Buffer {
  const asked = scriptPlace(path, settings.scriptRoots)
  const place = asked !== null && isFree(settings, account, asked.folder) ? asked : otherPlace(settings.scratch[0] ?? '/tmp', job, path)
  makeFolders(place.folder)
  return writeScript(account, place, content)
}

/** True where all that there is of the way is safe, and the last of it is missing. */
function isFree({ homes }: Settings, { uid }: Account, folder: string): boolean {
  for (const each of foldersTo(folder)) {
    const stat = look(each)
    if (stat === null) return true
    const isOwn = stat.isDirectory() && stat.uid === uid && each.startsWith(`${homes}/`) // homes are emptied whole: no exchange there leads astray
    if (!isKept(stat) && !isOwn) return false
  }
  return false
}

/** A folder of root's in which nobody else can rename anything of root's. */
const isKept = (stat: Stats): boolean => stat.isDirectory() && stat.uid === 0 && ((stat.mode & 0o022) === 0 || (stat.mode & 0o1000) !== 0)

/** Those that are missing, root's and open to all. The last must be among them; one that has come meanwhile is an error. */
function makeFolders(folder: string): void {
  const missing = foldersTo(folder).filter((each) => look(each) === null)
  if (missing.length === 0) throw new Error(`${folder} is there already`)
  for (const each of missing) {
    mkdirSync(latin1(each), 0o755)
    if (each === missing[0]) noteFolder(each)
    chmodSync(latin1(each), 0o755) // whatever our umask is
  }
}

function writeScript({ uid, gid }: Account, { folder, name }: ScriptPlace, content: Buffer): Buffer {
  const path = latin1(`${folder}/${name}`)
  const fd = openSync(path, 'wx', 0o600)
  try {
    writeFileSync(fd, content)
    fchownSync(fd, uid, gid)
    fchmodSync(fd, 0o700) // as in every spool
  } finally {
    closeSync(fd) // before the job's exec: a file that is open for writing cannot be executed
  }
  return path
}

function look(path: string): Stats | null {
  return lstatSync(latin1(path), { throwIfNoEntry: false }) ?? null
}

const latin1 = (path: string): Buffer => Buffer.from(path, 'latin1')
const bytes = (base64: string): Buffer => Buffer.from(base64, 'base64')
