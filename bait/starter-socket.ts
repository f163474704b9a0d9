/**
 * Where job starters call. Whoever can open the socket may try; a caller has proved who it is once it has made a directory at a path
 * that was named to it alone: the file system says whose it is.
 *
 *   connect ─▶ (wait for a free place) ─▶ greet ─┬─▶ submit ──▶ proof, shape, size, user database ─▶ onJob
 *                                                ├─▶ control ─▶ proof ─▶ onControl ─▶ controlled, close
 *                                                └─▶ pending ─▶ proof ─▶ onPending ─▶ noted, close
 *                                                       └─▶ error, close
 *
 * Garbage ends its own connection and nothing else; it is said in the log what was dropped, and of whom.
 */
import { chmod, lstat, mkdir, readdir, rmdir, stat } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { VwnError } from '../core/errors.ts'
import type { HostId } from '../core/ids.ts'
import { scriptBytesMax } from '../core/script-path.ts'
import { randomId } from '../kit/clock.ts'
import { service, type Kit, type Service } from '../kit/service.ts'
import { listenUnix } from '../kit/socket.ts'
import type { Identity } from '../wire/common.ts'
import { argumentBytesMax, fromStarterSchema, hookVersion, type Control, type FromStarter, type PendingReport, type Submit, type ToStarter } from '../wire/hook.ts'
import { JobStream } from '../wire/job-stream.ts'
import { failureOf } from './failures.ts'
import type { Users } from './job/users.ts'

/** A job starter that has proved who it is and what it wants to run. */
export interface StarterLink {
  readonly identity: Identity
  readonly submit: Submit
  /** For the streams; messages go through `tell`. */
  readonly via: JobStream
  tell(message: ToStarter): void
  /** From now on its messages and its end are heard here; what came before is told at once. */
  listen(ears: StarterEars): void
  /** Sends what is waiting, then closes. */
  end(): void
}

/** What a starter may say of its job. */
export type JobMessage = Exclude<FromStarter, Submit | Control | PendingReport>

/** What was done, for the caller. */
export type Controlled = Extract<ToStarter, { kind: 'controlled' }>['jobs']

export interface StarterEars {
  onMessage(message: JobMessage): void
  onGone(): void
}

export interface StarterSocketOptions {
  readonly host: HostId
  readonly path: string
  /** Folder for the proofs; anybody may make a directory in it. */
  readonly proof: string
  readonly users: Users
  readonly onJob: (link: StarterLink) => void
  /** Somebody who has proved that he is this user wants this. */
  readonly onControl: (control: Control) => Promise<Controlled>
  /** The same of what is pending; refuses whoever may not say it. */
  readonly onPending: (report: PendingReport) => Promise<void>
  /** Callers that have not proved themselves yet are served so many at a time. */
  readonly strangersMax?: number
  readonly connectionsMax?: number
  /** How long a caller may take to submit. */
  readonly submitMs?: number
}

/** What came through the door since it was opened. */
export interface DoorFacts {
  /** That are open now. */
  readonly connections: number
  readonly bytesRead: number
  readonly bytesWritten: number
  /** Requests that were refused, by error code. */
  readonly refusals: ReadonlyMap<string, number>
}

export interface Door extends Service {
  facts(): DoorFacts
}

/** Serves job starters until it is stopped; jobs that were handed over keep their connections. */
export function starterSocket(kit: Kit, options: StarterSocketOptions): Door {
  const { strangersMax = 64, connectionsMax = 4096 } = options
  const waiting: Socket[] = []
  const open = new Set<Socket>()
  const refusals = new Map<string, number>()
  /** Of connections that are over. */
  const carried = { bytesRead: 0, bytesWritten: 0 }
  let strangers = 0
  const admit = (): void => {
    while (strangers < strangersMax) {
      const socket = waiting.shift()
      if (socket === undefined) return
      if (socket.destroyed) continue
      strangers += 1
      const onServed = (): void => {
        strangers -= 1
        admit()
      }
      const onRefused = (code: string): void => void refusals.set(code, (refusals.get(code) ?? 0) + 1)
      welcome(kit, options, socket, { onServed, onRefused })
    }
  }
  const server = createServer((socket) => {
    socket.on('error', () => {}) // whoever serves it hears of it by its close
    open.add(socket)
    socket.once('close', () => {
      open.delete(socket)
      carried.bytesRead += socket.bytesRead
      carried.bytesWritten += socket.bytesWritten
    })
    waiting.push(socket)
    admit()
  })
  server.maxConnections = connectionsMax
  server.on('drop', () => kit.log.warn({ connectionsMax }, 'job starter turned away, too many connections'))
  const facts = (): DoorFacts => [...open].reduce(
    (sum, socket) => ({ ...sum, bytesRead: sum.bytesRead + socket.bytesRead, bytesWritten: sum.bytesWritten + socket.bytesWritten }),
    { ...carried, connections: open.size, refusals },
  )
  const life = service({
    async start() {
      await prepareProofs(options.proof)
      await listenUnix(server, options.path, 0o666)
      await letThrough(dirname(options.path))
    },
    async stop() {
      waiting.splice(0).forEach((socket) => socket.destroy())
      await new Promise<void>((resolve) => {
        server.close()
        resolve() // open connections belong to their jobs
      })
    },
  })
  return { ...life, facts }
}

/** What becomes of a caller. */
interface Reception {
  onServed(): void
  onRefused(code: string): void
}

/** One caller, from its first byte to a job or a refusal. */
function welcome(kit: Kit, options: StarterSocketOptions, socket: Socket, { onServed, onRefused }: Reception): void {
  const { clock, log } = kit
  const prove = join(options.proof, randomId(20))
  let ears: StarterEars | null = null
  let kept: JobMessage[] = []
  let submitted = false
  let trace: string | null = null
  let gone = false
  let served = (): void => {
    served = () => {}
    timer.cancel()
    onServed()
  }
  const refuse = (error: unknown): void => {
    log.warn({ err: error, trace }, 'job request refused')
    const failure = failureOf(error, 'JOB_REQUEST_INVALID')
    onRefused(failure.code)
    via.control({ kind: 'error', failure } satisfies ToStarter)
    via.end()
    served()
  }
  const take = async (submit: Submit): Promise<void> => {
    const identity = await checked(submit, prove, options.users)
    if (gone) return
    const link: StarterLink = {
      identity, submit, via,
      tell: (message) => via.control(message),
      listen: (to) => {
        ears = to
        for (const message of kept) to.onMessage(message)
        kept = []
        if (gone) to.onGone()
      },
      end: () => via.end(),
    }
    served()
    options.onJob(link)
  }
  const answer = async (asked: Control | PendingReport): Promise<void> => {
    await proven(asked, prove)
    served()
    via.control(await answerTo(options, asked))
    via.end()
  }
  const via = new JobStream(socket, {
    onControl: (raw) => {
      const parsed = fromStarterSchema.safeParse(raw)
      if (!parsed.success) return submitted ? log.debug({ why: z.prettifyError(parsed.error) }, 'message of a job starter dropped') : refuse(new VwnError('JOB_REQUEST_INVALID', { why: z.prettifyError(parsed.error).slice(0, 500) }))
      const { data } = parsed
      if (data.kind === 'submit' || data.kind === 'control' || data.kind === 'pending') {
        if (submitted) return
        submitted = true
        if (data.kind === 'submit') trace = data.trace
        void (data.kind === 'submit' ? take(data) : answer(data)).catch(refuse)
      } else if (ears !== null) ears.onMessage(data)
      else if (kept.length < 64) kept.push(data)
    },
    onClose: (error) => {
      gone = true
      if (error !== null) log.warn({ why: error.message, submitted }, 'connection of a job starter dropped')
      void rmdir(prove).catch(() => {})
      served()
      ears?.onGone()
    },
  })
  const timer = clock.after(options.submitMs ?? 30_000, () => {
    log.warn({ submitMs: options.submitMs ?? 30_000 }, 'connection dropped, it asked for nothing')
    via.destroy(new Error('it asked for nothing'))
  })
  via.control({ kind: 'greet', v: hookVersion, host: options.host, prove } satisfies ToStarter)
}

async function answerTo({ onControl, onPending }: StarterSocketOptions, asked: Control | PendingReport): Promise<ToStarter> {
  if (asked.kind === 'control') return { kind: 'controlled', jobs: [...(await onControl(asked))] }
  await onPending(asked)
  return { kind: 'noted' }
}

/** The identity of whoever submitted this; throws what is wrong with it. */
async function checked(submit: Submit, prove: string, users: Users): Promise<Identity> {
  await proven(submit, prove)
  const bytes = [...submit.run.argv, ...submit.run.env].reduce((sum, text) => sum + Buffer.byteLength(text, 'base64') + 1, 0)
  if (bytes > argumentBytesMax) throw new VwnError('JOB_REQUEST_TOO_LARGE', { bytes, bytesMax: argumentBytesMax })
  const scriptBytes = Buffer.byteLength(submit.run.script?.content ?? '', 'base64')
  if (scriptBytes > scriptBytesMax) throw new VwnError('JOB_SCRIPT_TOO_LARGE', { bytes: scriptBytes, bytesMax: scriptBytesMax })
  return users.check(submit)
}

/** The caller is who it says; JOB_IDENTITY_FALSE. */
async function proven(claim: { readonly uid: number; readonly gid: number }, prove: string): Promise<void> {
  const owner = await proofOf(prove)
  const ourUid = process.getuid?.() ?? 0
  if (owner.uid !== claim.uid || owner.gid !== claim.gid) throw new VwnError('JOB_IDENTITY_FALSE', { claims: `${claim.uid}:${claim.gid}`, is: `${owner.uid}:${owner.gid}` })
  if (ourUid !== 0 && owner.uid !== ourUid) throw new VwnError('JOB_IDENTITY_FALSE', { uid: owner.uid, why: `this bait runs as uid ${ourUid} and serves only that user` })
}

/**
 * Who made the proof; it is removed at once, for it is good for one job. Closed to all others, because a directory that others may
 * write can be moved here by one who is not its owner.
 */
async function proofOf(prove: string): Promise<{ uid: number; gid: number }> {
  const made = await lstat(prove).catch(() => null)
  await rmdir(prove).catch(() => {})
  if (made === null || !made.isDirectory() || (made.mode & 0o077) !== 0) throw new VwnError('JOB_IDENTITY_FALSE', { why: 'it made no proof' })
  return { uid: made.uid, gid: made.gid }
}

/** Anybody may make a directory there and nobody may remove another's; what callers have left before is removed. */
async function prepareProofs(proof: string): Promise<void> {
  await mkdir(proof, { recursive: true })
  await chmod(proof, 0o1777)
  await letThrough(dirname(proof))
  for (const name of await readdir(proof)) await rmdir(join(proof, name)).catch(() => {})
}

/** Every folder above may be passed by all, as far as it is ours; nothing in it becomes readable by that. */
async function letThrough(folder: string): Promise<void> {
  for (let at = folder; at !== dirname(at); at = dirname(at)) {
    const { uid, mode } = await stat(at)
    if ((mode & 0o111) === 0o111) continue
    if (uid !== process.getuid?.()) return
    await chmod(at, (mode & 0o7777) | 0o111)
  }
}
