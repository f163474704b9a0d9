/**
 * What our caller has given us that node takes away before any line of ours runs: before.c, which runs first where it is built, has
 * noted it. Without it this cannot be known: node leaves no trace of what it has changed, and our parent's own signals and
 * descriptors say little about ours (a shell ignores signals for itself that it does not ignore for us).
 */

export interface Before {
  /** Numbers of the signals that our caller has us ignore. */
  readonly ignored: readonly number[]
  /** Which of 0, 1 and 2 are closed. */
  readonly closed: readonly number[]
  /** The soft limit of open files, null for infinity; undefined where it is not known. */
  readonly openFiles?: number | null
  /** Numbers of the signals that it has blocked; undefined where that is not known. */
  readonly blocked?: readonly number[]
  /** Descriptors beyond these three that a program of ours would get; node keeps them to itself. */
  readonly inherited?: readonly number[]
}

/** Node sets these to their default, or itself ignores them; it leaves the real-time ones alone. */
const lastOfNode = 31

/** The note of before.c; in its stead, where it has not run in this very process, what /proc/self/status still tells. */
export function parseBefore(note: string | undefined, pid: number, status: () => string): Before {
  const [, of, ignored = '', closed = '', files = '', blocked = '', inherited = ''] =
    /^(\d+) ([0-9a-f]{1,16}) ([0-7]) (\d{1,20}) ([0-9a-f]{1,16})((?: \d+)*)$/.exec(note ?? '') ?? []
  if (Number(of) !== pid) return { ignored: ignoredNow(status()).filter((signal) => signal > lastOfNode), closed: [] }
  const openFiles = Number(files)
  return {
    ignored: signalsIn(ignored), closed: bits(closed), openFiles: Number.isSafeInteger(openFiles) ? openFiles : null, blocked: signalsIn(blocked),
    inherited: inherited.split(' ').filter((fd) => fd !== '').map(Number),
  }
}

const ignoredNow = (status: string): number[] => signalsIn(/^SigIgn:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0')

/** The signals of a mask as the kernel prints it. */
const signalsIn = (hex: string): number[] => bits(hex).map((bit) => bit + 1)

/** The bits that are set in a hexadecimal number, lowest first. */
function bits(hex: string): number[] {
  const value = BigInt(`0x${hex}`)
  return Array.from({ length: 64 }, (_, bit) => bit).filter((bit) => ((value >> BigInt(bit)) & 1n) === 1n)
}
