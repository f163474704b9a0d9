/**
 * The job's working directory, where no file system is shared: unpacked before the job, and what it made or changed sent back after.
 * tar does both as the job's own user, so that a staged name can reach nothing that the job itself could not reach.
 *
 * What comes back: files and links that are new or whose time, size or inode changed, and folders that are new. What the job has
 * removed is not removed at the other end.
 */
import { lstatSync, readdirSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stream } from '../wire/frames.ts'
import type { Account } from './accounts.ts'
import type { Cgroup } from './cgroup.ts'
import { errandSpec, takeWords } from './errand.ts'
import { StartError, type Connection } from './helper.ts'
import { exists, makeFolders } from './made-folders.ts'

export interface StageOptions {
  readonly connection: Connection
  readonly account: Account
  /** Where tar runs: not the job's, whose use would be measured wrong. */
  readonly cgroup: Cgroup
  /** Base64 of the directory at the job starter. */
  readonly cwd: string | null
  /** Only root may enter it: here lies what tar reads and says. */
  readonly folder: string
}

export interface Stage {
  readonly directory: Buffer
  /** Sends what the job made or changed; resolves when the last byte was taken. */
  collect(): Promise<void>
}

/** Refuses a name that would land elsewhere; a newer clock at the other end is no reason for words. */
const unpackArgs = ['tar', '--extract', '--file=-', '--preserve-permissions', '--no-same-owner', '--delay-directory-restore', '--warning=no-timestamp']
const packArgs = ['tar', '--create', '--file=-', '--format=posix', '--no-recursion', '--null', '--verbatim-files-from', '--files-from=-', '--ignore-failed-read', '--numeric-owner']
/** What tar says when it has taken the leading `/` of a name, which then landed where nobody meant it. */
const escaped = /Removing leading/

/** The directory is as it is at the job starter when this resolves; a tar that is broken, or would escape, is a StartError. */
export async function openStage({ connection, account, cgroup, cwd, folder }: StageOptions): Promise<Stage> {
  const directory = stageDirectory(account, cwd === null ? null : Buffer.from(cwd, 'base64'))
  const errand = { who: account, cgroupProcs: cgroup.procs, directory }
  const said = `${folder}/stage.said`
  const unpack = await connection.start({ spec: errandSpec({ ...errand, argv: unpackArgs }), tty: false, stdin: stream.stage, stdout: 'null', stderr: { path: said } })
  const exit = await unpack.exit
  const words = takeWords(said)
  if (exit.code !== 0 || escaped.test(words)) {
    connection.stop(stream.stage)
    throw new StartError('stage', words.trim().slice(0, 2000) || `tar ended with ${exit.code ?? exit.signal}`)
  }
  await connection.done(stream.stage) // tar stops at its own end mark; the job may start only at the stream's, which the bait holds back until then
  const before = manifest(directory)
  return {
    directory,
    async collect() {
      const changed = [...manifest(directory)].filter(([name, state]) => state.folder ? !before.has(name) : before.get(name)?.stamp !== state.stamp)
      const names = `${folder}/stage.names`
      writeFileSync(names, Buffer.from(changed.map(([name]) => `./${name}\0`).join(''), 'latin1'), { mode: 0o600 })
      const pack = await connection.start({ spec: errandSpec({ ...errand, argv: packArgs }), tty: false, stdin: { path: names }, stdout: stream.collect, stderr: 'null' })
      unlinkSync(names)
      await connection.done(stream.collect)
      await pack.exit
    },
  }
}

/**
 * Where the caller's own path is free in the guest, or the user's, that path: a job that knows its absolute name finds it. Else a
 * fresh folder in the home.
 */
function stageDirectory(account: Account, cwd: Buffer | null): Buffer {
  const { home, uid, gid } = account
  const path = cwd?.toString('latin1') ?? ''
  const own = Buffer.from(home).toString('latin1')
  const fits = path.startsWith('/') && !path.split('/').includes('..')
  if (fits && (path.startsWith(`${own}/`) || !exists(path))) return makeFolders(path, uid, gid)
  return makeFolders(join(own, 'stage'), uid, gid)
}

interface State {
  readonly folder: boolean
  /** Changes with every change of content; not with reading. */
  readonly stamp: string
}

/** Everything below a folder by relative name. */
function manifest(directory: Buffer): ReadonlyMap<string, State> {
  const found = new Map<string, State>()
  const visit = (folder: Buffer, prefix: string): void => {
    for (const name of namesIn(folder)) {
      const path = Buffer.concat([folder, Buffer.from('/'), name])
      const relative = prefix + name.toString('latin1')
      const state = stateOf(path)
      if (state === null) continue
      found.set(relative, state)
      if (state.folder) visit(path, `${relative}/`)
    }
  }
  visit(directory, '')
  return found
}

function stateOf(path: Buffer): State | null {
  try {
    const stat = lstatSync(path, { bigint: true })
    if (stat.isSocket()) return null // tar has no word for it
    return { folder: stat.isDirectory(), stamp: `${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}` }
  } catch {
    return null // removed while we look
  }
}

function namesIn(folder: Buffer): readonly Buffer[] {
  try {
    return readdirSync(folder, { encoding: 'buffer' })
  } catch {
    return []
  }
}
