/**
 * The job's working directory, where no file system is shared: unpacked before the job, and what it made or changed sent back after.
 * tar does both as the job's own user, so that a staged name can reach nothing that the job itself could not reach.
 *
 * What comes back: files and links that are new or whose time, size or inode changed, and folders that are new. What the job has
 * removed is not removed at the other end.
 */
import { lstatSync, mkdirSync, chownSync, readdirSync, statSync } from 'node:fs'
import { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { stream } from '../wire/frames.ts'
import type { JobStream } from '../wire/job-stream.ts'
import type { Account } from './accounts.ts'
import type { Cgroup } from './cgroup.ts'
import { StartError, type Helper, type Started } from './helper.ts'
import { encodeSpec } from './spec.ts'
import { feedPipe, sendPipe } from './streams.ts'

export interface StageOptions {
  readonly helper: Helper
  readonly via: JobStream
  readonly account: Account
  /** Where tar runs: not the job's, whose use would be measured wrong. */
  readonly cgroup: Cgroup
  /** Base64 of the directory at the job starter. */
  readonly cwd: string | null
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

/** Topmost folders that were made for stages, as latin1 text. */
const made: string[] = []

/** The folders that were made for stages since this was last asked; whoever asks removes them. */
export const takeStagedFolders = (): readonly string[] => made.splice(0)

/** The directory is as it is at the job starter when this resolves; a tar that is broken, or would escape, is a StartError. */
export async function openStage({ helper, via, account, cgroup, cwd }: StageOptions): Promise<Stage> {
  const directory = stageDirectory(account, cwd === null ? null : Buffer.from(cwd, 'base64'))
  const unpack = await helper.start({ spec: specOf(account, cgroup, directory, unpackArgs), tty: false, stdin: 'pipe', stdout: 'null', stderr: 'pipe' })
  const feed = unpack.ends.stdin === null ? null : feedPipe(via, stream.stage, unpack.ends.stdin)
  const [words, exit] = await Promise.all([wordsOf(unpack), unpack.exit])
  if (exit.code !== 0 || escaped.test(words)) {
    feed?.stop()
    throw new StartError('stage', words.trim().slice(0, 2000) || `tar ended with ${exit.code ?? exit.signal}`)
  }
  await feed?.ended // tar stops at its own end mark; the job may start only at the stream's, which the bait holds back until then
  const before = manifest(directory)
  return {
    directory,
    async collect() {
      const changed = [...manifest(directory)].filter(([name, state]) => state.folder ? !before.has(name) : before.get(name)?.stamp !== state.stamp)
      const pack = await helper.start({ spec: specOf(account, cgroup, directory, packArgs), tty: false, stdin: 'pipe', stdout: 'pipe', stderr: 'null' })
      if (pack.ends.stdin !== null) {
        const names = changed.map(([name]) => `./${name}\0`).join('')
        const list = new Socket({ fd: pack.ends.stdin, readable: false, writable: true })
        list.on('error', () => undefined).end(Buffer.from(names, 'latin1'))
      }
      const { stdout } = pack.ends
      if (stdout !== null) await new Promise<void>((resolve) => void sendPipe(via, stream.collect, stdout, resolve))
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

/** The folder and those above it, those that were made owned by the user. Paths are latin1 text, which holds any bytes. */
function makeFolders(path: string, uid: number, gid: number): Buffer {
  const missing: string[] = []
  for (let at = path; !exists(at); at = dirname(at)) missing.unshift(at)
  for (const folder of missing) {
    const bytes = Buffer.from(folder, 'latin1')
    mkdirSync(bytes)
    chownSync(bytes, uid, gid)
  }
  if (missing[0] !== undefined) made.push(missing[0])
  return Buffer.from(path, 'latin1')
}

function exists(path: string): boolean {
  try {
    statSync(Buffer.from(path, 'latin1'))
    return true
  } catch {
    return path === '/' || path === '.'
  }
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

const specOf = (account: Account, cgroup: Cgroup, directory: Buffer, argv: readonly string[]): Uint8Array => encodeSpec({
  argv: argv.map((word) => Buffer.from(word)),
  env: ['PATH=/usr/bin:/bin', 'LC_ALL=C'].map((entry) => Buffer.from(entry)),
  directories: [directory],
  uid: account.uid,
  gid: account.gid,
  groups: account.groups,
  umask: 0o022,
  nice: 0,
  limits: [],
  ignored: [],
  cgroupProcs: cgroup.procs,
  rows: 0,
  cols: 0,
})

/** What a helper process said on its stderr, the first few lines of it. */
async function wordsOf({ ends }: Started): Promise<string> {
  if (ends.stderr === null) return ''
  const pipe = new Socket({ fd: ends.stderr, readable: true, writable: false })
  let words = ''
  for await (const chunk of pipe as AsyncIterable<Buffer>) words = (words + chunk.toString('utf8')).slice(0, 8192)
  return words
}
