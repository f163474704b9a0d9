/**
 * The job's description as vwn-agent/guest.c reads it; the two files are one contract and change together. Everything is
 * little-endian and in this order:
 *
 *   "WNS1"
 *   u32 flags        0, none defined yet
 *   u32 uid, u32 gid, u32 umask, i32 nice
 *   u64 ignored      bit n-1 set: signal n is ignored in the job; all others get their default
 *   u16 rows, u16 cols                      of the terminal, for a job that has one
 *   u32 n, n × u32 group
 *   u32 n, n × { u32 resource, u64 soft, u64 hard }      all ones is infinity
 *   text cgroup      path of a cgroup.procs to join, "" for none
 *   u32 n, n × text directory               the first that can be entered is where the job starts
 *   u32 n, n × text argument
 *   u32 n, n × text variable                NAME=value
 *
 * A text is a u32 count of its bytes, the bytes, and a zero byte that is not counted: C uses it where it lies.
 */
/** One resource limit by its getrlimit(2) name without RLIMIT_; null is infinity. */
export interface SpecLimit {
  readonly name: keyof typeof resources
  readonly soft: number | null
  readonly hard: number | null
}

/** All that a process can do to itself between fork and exec. */
export interface JobSpec {
  readonly argv: readonly Uint8Array[]
  readonly env: readonly Uint8Array[]
  readonly directories: readonly Uint8Array[]
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
  readonly umask: number
  readonly nice: number
  readonly limits: readonly SpecLimit[]
  /** Numbers of signals that the job starts with ignored. */
  readonly ignored: readonly number[]
  /** Path of the cgroup.procs to join, or null to stay. */
  readonly cgroupProcs: string | null
  readonly rows: number
  readonly cols: number
}

/** Linux's numbers, the same on x86-64 and arm64. */
const resources = {
  cpu: 0, fsize: 1, data: 2, stack: 3, core: 4, rss: 5, nproc: 6, nofile: 7, memlock: 8, as: 9, locks: 10, sigpending: 11, msgqueue: 12,
  nice: 13, rtprio: 14, rttime: 15,
} as const

const infinity = 0xffff_ffff_ffff_ffffn

/** The bytes that `wnod-guest` reads; a zero byte in a text is a RangeError, since no exec could carry it. */
export function encodeSpec(spec: JobSpec): Uint8Array {
  const ignored = spec.ignored.reduce((mask, signal) => mask | (1n << BigInt(signal - 1)), 0n)
  return Buffer.concat([
    Buffer.from('WNS1'),
    u32(0), u32(spec.uid), u32(spec.gid), u32(spec.umask), i32(spec.nice), u64(ignored), u16(spec.rows), u16(spec.cols),
    list(spec.groups, u32),
    list(spec.limits, ({ name, soft, hard }) => Buffer.concat([u32(resources[name]), limit(soft), limit(hard)])),
    text(Buffer.from(spec.cgroupProcs ?? '')),
    list(spec.directories, text),
    list(spec.argv, text),
    list(spec.env, text),
  ])
}

const limit = (value: number | null): Uint8Array => u64(value === null ? infinity : BigInt(value))

const list = <T>(items: readonly T[], encode: (item: T) => Uint8Array): Uint8Array => Buffer.concat([u32(items.length), ...items.map(encode)])

function text(bytes: Uint8Array): Uint8Array {
  if (bytes.includes(0)) throw new RangeError('a zero byte ends every text that the kernel takes')
  return Buffer.concat([u32(bytes.length), bytes, Buffer.alloc(1)])
}

function number(size: number, write: (buffer: Buffer) => unknown): Uint8Array {
  const buffer = Buffer.alloc(size)
  write(buffer)
  return buffer
}

const u16 = (value: number): Uint8Array => number(2, (buffer) => buffer.writeUInt16LE(value))
const u32 = (value: number): Uint8Array => number(4, (buffer) => buffer.writeUInt32LE(value))
const i32 = (value: number): Uint8Array => number(4, (buffer) => buffer.writeInt32LE(value))
const u64 = (value: bigint): Uint8Array => number(8, (buffer) => buffer.writeBigUInt64LE(value))
