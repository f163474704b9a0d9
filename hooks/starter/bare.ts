/**
 * How the starter becomes the job, where that runs on the host itself: same process, and all of its surroundings as the batch system gave
 * them to us. Node cannot execute a program in its own place, so `exec.c`, built as `wnod-exec.node` beside the starter, does. Loaded only then.
 *
 *   signals as they were ─▶ a turn of the event loop, for what node has caught before ─▶ files, limit, mask as they were ─▶ exec
 */
import { closeSync, existsSync, openSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import type { Before } from './before.ts'

/** What is executed, and what of our surroundings node has changed. */
export interface Bare {
  /** Found in the PATH of `env` where it has no slash, and a shell's where it is no program; unless `isPath`. */
  readonly file: Buffer
  readonly isPath: boolean
  readonly argv: readonly Buffer[]
  readonly env: readonly Buffer[]
  /** What the front end has read from the pipe on stdin, which then was at its end; undefined: stdin is untouched. */
  readonly stdin: Buffer | undefined
  readonly before: Before
}

/** The functions of exec.c. */
interface Exec {
  signals(job: Buffer): number
  exec(job: Buffer): number
}

/** Beside us, or where `wnod run --as` says that it is: its user may not be able to read there. */
const addon = (): string => process.env['WNOD_EXEC'] ?? join(__dirname, 'wnod-exec.node')

/** Whether there is anything to become a job with. */
export const canBecome = (): boolean => existsSync(addon())

/** Where a command is, as the batch system looks for it that gives its program a full path; as it is, where it is nowhere. */
export function inPath(name: Buffer, env: readonly Buffer[]): Buffer {
  const path = env.find((entry) => entry.subarray(0, 5).toString('latin1') === 'PATH=')?.subarray(5) ?? Buffer.alloc(0)
  if (name.length === 0 || name.includes('/')) return name
  const places = path.toString('latin1').split(':').filter((place) => place !== '').map((place) => Buffer.concat([Buffer.from(`${place}/`, 'latin1'), name]))
  return places.find((place) => statSync(place, { throwIfNoEntry: false })?.isDirectory() === false) ?? name
}

/** In place of stdin, /dev/null. */
export function withoutStdin(): void {
  closeSync(0)
  openSync('/dev/null', 'r+')
}

/**
 * Becomes the job; what our caller sends us meanwhile does to us what it would do to the job. Throws where exec.c cannot be loaded; returns, some
 * time later, only where the command cannot be executed: calls `failed` with the number of the reason.
 */
export function become(job: Bare, failed: (errno: number) => void): void {
  const { signals, exec } = load()
  const packed = pack(job)
  signals(packed)
  setImmediate(() => setImmediate(() => failed(exec(packed))))
}

function load(): Exec {
  const loaded = { exports: {} as Exec }
  process.dlopen(loaded, addon())
  return loaded.exports
}

/** `ENOENT` of 2. */
export const nameOf = (errno: number): string => Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `error ${errno}`

const headBytes = 56
const [knowsBlocked, knowsOpenFiles] = [1, 2]
const noLimit = 2n ** 64n - 1n

/** The one Buffer that exec.c reads, laid out as its `struct job` says. */
export function pack({ file, isPath, argv, env, stdin, before: { ignored, blocked, closed, inherited = [], openFiles } }: Bare): Buffer {
  const zero = Buffer.alloc(1)
  const strings = [file, ...argv, ...env].flatMap((text) => [text, zero])
  const head = Buffer.alloc(headBytes + 4 * inherited.length)
  head.writeBigUInt64LE(mask(ignored.map((signal) => signal - 1)), 0)
  head.writeBigUInt64LE(mask((blocked ?? []).map((signal) => signal - 1)), 8)
  head.writeBigUInt64LE(openFiles === undefined || openFiles === null ? noLimit : BigInt(openFiles), 16)
  const counts = [
    (blocked === undefined ? 0 : knowsBlocked) | (openFiles === undefined ? 0 : knowsOpenFiles), Number(mask(closed)),
    inherited.length, argv.length, env.length, stdin === undefined ? 0 : 1, stdin?.length ?? 0, isPath ? 1 : 0,
  ]
  counts.forEach((count, index) => head.writeUInt32LE(count, 24 + 4 * index))
  inherited.forEach((fd, index) => head.writeInt32LE(fd, headBytes + 4 * index))
  return Buffer.concat([head, ...strings, stdin ?? Buffer.alloc(0)])
}

const mask = (bits: readonly number[]): bigint => bits.reduce((all, bit) => all | (1n << BigInt(bit)), 0n)
