/**
 * The working directory of a job that finds no shared file system in its guest: goes in as a tar before the job starts, and what the
 * job has made or changed comes back when it has ended. Loaded only for `--stage`.
 */
import { randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { access, constants, lstat, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import picomatch from 'picomatch'
import { extract, pack, type Header, type Pack } from 'tar-stream'
import type { Failure } from '../../wire/common.ts'
import { stream } from '../../wire/frames.ts'
import { sendAll, type JobStream } from '../../wire/job-stream.ts'
import type { Options } from './options.ts'
import { takeEntry, Escape } from './unpack.ts'

export interface Stager {
  /** Both ways are open from now on. */
  open(via: JobStream): void
  /** True while changed files are still being written. */
  readonly busy: boolean
  /** What could not be brought back, if anything. */
  readonly failure: Failure | null
}

/** Something in the working directory cannot be staged: the job has to be refused before it runs. */
export class Unstageable extends Error {
  override readonly name = 'Unstageable'
}

type EntryHeader = Parameters<Pack['entry']>[0]
type Filter = Pick<Options, 'include' | 'exclude'>

/** Looks at the whole directory first, so that a job whose files cannot be read never starts. */
export async function createStager(filter: Filter, root = process.cwd()): Promise<Stager> {
  const entries = await scan(root, filter)
  let busy = false
  let failure: Failure | null = null
  return {
    get busy() {
      return busy
    },
    get failure() {
      return failure
    },
    open(via) {
      const tar = pack()
      void packAll(tar, root, entries).catch((error: unknown) => tar.destroy(error as Error))
      tar.on('error', () => via.destroy()) // the bait sees us go, and cancels what never started
      sendAll(via, stream.stage, tar as unknown as Readable)
      busy = true
      const mark = randomBytes(6).toString('hex')
      const done = (error: Error | null): void => {
        busy = false
        if (error !== null) failure ??= failureOf(error)
      }
      const receiver = receiveTar(via, (header, body) => takeEntry(root, header, body, mark), (error) => {
        if (error !== null) receiver.stop()
        done(error)
      })
    },
  }
}

function failureOf(error: Error): Failure {
  return error instanceof Escape
    ? { code: 'STAGE_ESCAPE', message: `a file would be written outside the working directory: ${error.message}`, hint: 'absolute paths, `..` and paths through symbolic links are not followed' }
    : { code: 'STAGE_FAILED', message: `changed files could not be brought back: ${error.message}`, hint: 'the job itself has ended; its files are gone with its VWN' }
}

function receiveTar(via: JobStream, take: (header: Header, body: Readable) => Promise<void>, onDone: (error: Error | null) => void) {
  const tar = extract() as unknown as Writable // streamx: the same but for its types
  tar.on('entry', (header: Header, body: Readable, next: () => void) => {
    take(header, body).then(() => next(), (error: unknown) => tar.destroy(error as Error))
  })
  tar.on('error', onDone)
  tar.on('finish', () => onDone(null))
  return via.incoming(stream.collect, {
    write: (chunk, done) => (tar.write(chunk) ? done() : void tar.once('drain', done)),
    end: () => void tar.end(),
  })
}

interface Entry {
  readonly path: string
  readonly headers: EntryHeader
}

/** Directories come before what is in them; sockets, pipes and devices stay behind, as they mean nothing elsewhere. */
async function scan(root: string, filter: Filter): Promise<Entry[]> {
  const wanted = matcher(filter)
  const entries: Entry[] = []
  const visit = async (folder: string): Promise<void> => {
    for (const bytes of (await readFolder(join(root, folder))).sort(Buffer.compare)) {
      const name = bytes.toString('utf8')
      const path = folder === '' ? name : `${folder}/${name}`
      if (!Buffer.from(name).equals(bytes)) throw new Unstageable(`${path}: its name is not UTF-8`)
      const stat = await lstat(join(root, path))
      const kind = stat.isDirectory() ? 'directory' : stat.isSymbolicLink() ? 'symlink' : stat.isFile() ? 'file' : null
      const verdict = wanted(path, kind === 'directory')
      if (kind === null || verdict === 'no') continue
      const common = { name: path, mode: stat.mode & 0o7777, mtime: stat.mtime, uid: stat.uid, gid: stat.gid, type: kind } as const
      if (kind === 'symlink') entries.push({ path, headers: { ...common, linkname: await readlink(join(root, path)) } })
      else if (kind === 'file') {
        await readable(join(root, path), path)
        entries.push({ path, headers: { ...common, size: stat.size } })
      } else {
        if (verdict === 'yes') entries.push({ path, headers: common })
        await visit(path)
      }
    }
  }
  await visit('')
  return entries
}

async function readFolder(path: string): Promise<Buffer[]> {
  try {
    return await readdir(path, { encoding: 'buffer' })
  } catch (error) {
    throw new Unstageable(`${path}: ${(error as Error).message}`)
  }
}

async function readable(path: string, shown: string): Promise<void> {
  await access(path, constants.R_OK).catch(() => {
    throw new Unstageable(`${shown}: it may not be read`)
  })
}

/** A pattern that names a directory means all that is in it. `look`: a directory that is not wanted itself may hold what is. */
function matcher({ include, exclude }: Filter): (path: string, isFolder: boolean) => 'yes' | 'no' | 'look' {
  const compile = (patterns: readonly string[]): ((path: string) => boolean) => {
    const matches = patterns.map((pattern) => picomatch(pattern.replace(/^\.\//, '').replace(/\/$/, ''), { dot: true }))
    return (path) => path.split('/').some((_, at, parts) => matches.some((match) => match(parts.slice(0, at + 1).join('/'))))
  }
  const excluded = compile(exclude)
  const included = compile(include)
  return (path, isFolder) => {
    if (excluded(path)) return 'no'
    if (include.length === 0 || included(path)) return 'yes'
    return isFolder ? 'look' : 'no'
  }
}

async function packAll(tar: Pack, root: string, entries: readonly Entry[]): Promise<void> {
  for (const { path, headers } of entries) {
    await new Promise<void>((resolve, reject) => {
      const entry = tar.entry(headers, (error) => (error === null || error === undefined ? resolve() : reject(error))) as unknown as Writable
      if (headers.type !== 'file') return // such an entry ends by itself
      if (headers.size === 0) return void entry.end()
      const file = createReadStream(join(root, path), { end: (headers.size ?? 0) - 1, highWaterMark: 256 * 1024 })
      file.on('error', reject)
      file.on('data', (chunk) => {
        if (entry.write(chunk)) return
        file.pause()
        entry.once('drain', () => file.resume())
      })
      file.on('end', () => entry.end()) // a file that has shrunk meanwhile is an error of the entry
    })
  }
  tar.finalize()
}
