/** The jobs half of a bait, alone: real socket, real records, a real starter process; a test says when a job gets a place. */
import { execFileSync, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { GuestAddress, GuestSession, PlaceFacts, ReadyVwn, Stillness } from '../../bait/contracts.ts'
import { createJobs, type JobDesk } from '../../bait/job/jobs.ts'
import { hostUsers } from '../../bait/job/users.ts'
import { openPending, pendingDesk, type PendingBook } from '../../bait/pending.ts'
import { connectGuest } from '../../bait/ssh/session.ts'
import { starterSocket } from '../../bait/starter-socket.ts'
import { hostId, imageDigest, typeName, vwnId, type JobId } from '../../core/ids.ts'
import type { JobLimits } from '../../core/job.ts'
import { systemClock } from '../../kit/clock.ts'
import { captureLog, type LogLine } from '../../kit/log.ts'
import { until } from '../../kit/until.ts'
import { removeFolder } from '../harness/temp.ts'

const root = join(import.meta.dirname, '../..')
/** The starter as it ships, built once per run. */
export const starterFolder = join(tmpdir(), `wnod-starter-${process.pid}`)
export const starterFile = join(starterFolder, 'starter.cjs')
/** What is called beside it. */
export const hookFile = join(starterFolder, 'hook.cjs')
/** What runs before its node. */
export const beforeFile = join(starterFolder, 'wnod-starter')

/** What it becomes a job by. */
export const execFile = join(starterFolder, 'wnod-exec.node')

/** Builds the starter from the sources of now. */
export function buildStarter(): void {
  mkdirSync(starterFolder, { mode: 0o755, recursive: true })
  const compile = (to: string, from: string, ...flags: readonly string[]): unknown =>
    execFileSync('gcc', ['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', ...flags, '-o', to, `hooks/starter/${from}`], { cwd: root })
  compile(beforeFile, 'before.c', '-static')
  compile(execFile, 'exec.c', '-shared', '-fPIC', '-fvisibility=hidden')
  const bundle = ['--bundle', '--platform=node', '--format=cjs', '--target=node20', '--minify', '--log-level=error', '--out-extension:.js=.cjs']
  execFileSync(join(root, 'node_modules/.bin/esbuild'), ['hooks/starter.ts', 'hooks/hook.ts', `--outdir=${starterFolder}`, ...bundle], { cwd: root })
}

export interface Desk extends AsyncDisposable {
  readonly jobs: JobDesk
  readonly pending: PendingBook
  readonly socket: string
  readonly folder: string
  readonly lines: readonly LogLine[]
  /** Gives the oldest waiting job this guest, and says when the guest is free again. */
  place(session: GuestSession, contact?: 'agent' | 'ssh', facts?: PlaceFacts): Promise<{ job: JobId; freed: Promise<{ mustClean: boolean }> }>
}

/** A VWN that nobody was in before. */
export const freshPlace: PlaceFacts = {
  mounts: [], directory: null,
  reused: false, bootMs: null, contactMs: null,
  scrubReceipt: {
    image: imageDigest('a'.repeat(64)), made: 'boot', template: null, bootedBecause: 'its template is being made', overlay: 'abc234', policy: 'same-user',
    jobsBefore: 0, before: 'nobody', scrub: null, atMs: 1,
  },
}

export async function openDesk(options: { limits?: JobLimits; folder?: string; submitMs?: number; stillness?: Stillness; reporters?: readonly string[] } = {}): Promise<Desk> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'wnod-desk-'))
  const { log, lines } = captureLog()
  const kit = { clock: systemClock, log, signal: new AbortController().signal }
  const host = hostId('h1')
  const socket = join(folder, 'h1.sock')
  const jobs = createJobs(kit, { host, folder: join(folder, 'jobs'), ...(options.limits && { limits: options.limits }) })
  await jobs.recover()
  const users = hostUsers(systemClock)
  const pending = openPending(kit)
  const door = starterSocket(kit, {
    host, path: socket, proof: join(folder, 'proof'), users, onJob: (link) => jobs.accept(link), onControl: jobs.control,
    onPending: pendingDesk(kit, { book: pending, reporters: options.reporters ?? [], users }),
    ...(options.submitMs !== undefined && { submitMs: options.submitMs }),
  })
  await door.start()
  return {
    jobs, pending, socket, folder, lines,
    async place(session, contact, facts = freshPlace) {
      const job = await until(() => jobs.live().find(({ state }) => state === 'waiting')?.job, { withinMs: 10_000, what: 'a waiting job', everyMs: 5 })
      return { job, freed: jobs.assign(job, readyVwn(session, contact, options.stillness), facts) }
    },
    async [Symbol.asyncDispose]() {
      await door.stop()
      // A job that the closed door has cancelled still writes its end.
      await until(() => jobs.live().length === 0, { withinMs: 5_000, what: 'no job is left' }).catch(() => undefined)
      if (options.folder === undefined) await removeFolder(folder)
    },
  }
}

/** The jobs half of the next bait, on the records of one that was killed. */
export async function recovered(folder: string): Promise<JobDesk> {
  const kit = { clock: systemClock, log: captureLog().log, signal: new AbortController().signal }
  const jobs = createJobs(kit, { host: hostId('h1'), folder: join(folder, 'jobs') })
  await jobs.recover()
  return jobs
}

export const readyVwn = (session: GuestSession, contact: 'agent' | 'ssh' = 'agent', stillness: Stillness | null = null): ReadyVwn => ({
  vwn: vwnId('v1'),
  token: { term: 1, epoch: 1 },
  spec: { type: typeName('el9'), image: imageDigest('0'.repeat(64)), contact, shape: { cpus: 1, memoryMib: 512, scratchGib: 1 }, network: 'isolated', bootMs: 60_000 },
  session,
  stillness,
})

export const sessionOf = (address: GuestAddress): Promise<GuestSession> => connectGuest(address, AbortSignal.timeout(10_000))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: Buffer
}

export interface StarterOptions {
  readonly input?: Buffer | string
  readonly args?: readonly string[]
  /** Called as a batch system does, in the job's place: without options, with these variables. `command` is what follows the command's name. */
  readonly frontEnd?: NodeJS.ProcessEnv
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly uid?: number
  readonly gid?: number
  /** Shell lines, after which the starter is executed by what runs before it. */
  readonly after?: string
  /** The starter's redirections, with `after`. */
  readonly files?: string
}

/** A starter process; everything it says is kept. */
export function runStarter(desk: Desk, command: readonly string[], options: StarterOptions = {}) {
  const { after, files = '', frontEnd } = options
  const given = frontEnd === undefined ? ['--socket', desk.socket, ...(options.args ?? []), '--', ...command] : command
  const [file, ...args] = after === undefined ? [process.execPath, starterFile, ...given] : ['bash', '--norc', '-c', `${after}\nexec "$0" "$@" ${files}`, beforeFile, ...given]
  const child = spawn(file ?? '', args, {
    env: options.env ?? { PATH: process.env['PATH'] ?? '', ...(frontEnd && { WNOD_SOCKET: desk.socket, ...frontEnd }) },
    cwd: options.cwd ?? '/tmp',
    ...(options.uid !== undefined && { uid: options.uid }), ...(options.gid !== undefined && { gid: options.gid }),
  })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
  child.stdin.on('error', () => {}) // the job reads no more
  if (options.input !== undefined) child.stdin.end(options.input)
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) }))
  })
  return { child, ended, stdout: () => Buffer.concat(stdout).toString() }
}
