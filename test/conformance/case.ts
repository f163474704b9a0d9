/**
 * One case of the hand-over: a command in its surroundings, run bare and in VWNs. A small shell script is the surroundings in both, and
 * differs in one line only: whether the command itself is executed, or the job starter with the command.
 */
import type { ChildProcess } from 'node:child_process'

export type Bytes = string | Buffer

/** A running case, for those that have to be talked to. */
export interface Talk {
  readonly child: ChildProcess
  /** What has come on stdout so far. */
  seen(): string
  /** Waits until stdout has this. */
  says(text: string): Promise<void>
}

export interface Case {
  readonly group: (typeof groups)[number]
  readonly name: string
  /** The command; with `script`, its arguments alone. */
  readonly argv: readonly Bytes[]
  /** The command is a script of these bytes in a spool of root's, and in a VWN the starter is called as Slurm's plugin calls it. */
  readonly script?: Bytes
  /** `NAME=value` entries beside PATH. */
  readonly env?: readonly Bytes[]
  /** Shell lines that come first. */
  readonly before?: string
  /** How `run`, the command, is called; it is a shell function. */
  readonly call?: string
  /** Words before the command: `nice -n 5`. */
  readonly wrap?: string
  /** Options of the job starter. */
  readonly options?: readonly string[]
  /** Bytes on stdin, which then ends; null leaves it open and silent. */
  readonly stdin?: Bytes | null
  readonly talk?: (talk: Talk) => Promise<void>
  /** Inside a terminal of its own, made by script(1). */
  readonly tty?: boolean
  /** What of stdout counts, where not every byte can. */
  readonly tidy?: (stdout: string) => string
  /** False: stderr holds words of a program that differs between systems. */
  readonly stderr?: false
  /** The files of the directory count as well: names, kinds, modes, contents. */
  readonly files?: boolean
  /** What a VWN must give where no bare run can be compared. */
  readonly expected?: { readonly code: number; readonly stdout?: string; readonly files?: string }
  /** Differs from those beside it by a number or a name alone. */
  readonly oneOfMany?: true
  /** Guests that cannot honour this, and why; and where a starter on the host itself does as its batch system, not as env(1). */
  readonly unless?: Partial<Record<Contact | 'host', string>>
}

export type Contact = 'agent' | 'ssh'

/** What is compared, in the order of the docs. */
export const groups = ['exit', 'death', 'signals', 'streams', 'arguments', 'environment', 'surroundings', 'limits', 'terminal', 'staging', 'script'] as const

/** A shell's own quoting of any bytes, on one line. */
export function quoted(text: Bytes): string {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  if (/^[\w@%+=:,./-]+$/.test(bytes.toString('latin1'))) return bytes.toString('latin1')
  const escaped = Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f && byte !== 0x27 && byte !== 0x5c ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`))
  return `$'${escaped.join('')}'`
}

/** The job starter of a VWN. */
export interface Starter {
  readonly file: string
  /** `NAME=value` entries that it needs: what a person gives as options, a batch system gives in the environment. */
  readonly env: readonly string[]
  readonly options: readonly string[]
}

/** The script for bash(1); `starter` stands before the command, or, for a script in a spool, in its place. */
export function scriptOf(one: Case, starter: Starter | null, spooled: string | null): string {
  const env = ['PATH=/usr/local/bin:/usr/bin:/bin', 'LC_ALL=C', ...(one.env ?? [])]
  const command = spooled === null ? one.argv : [spooled, ...one.argv]
  const words = [...env, ...(starter === null ? command : wordsOf(one, starter, spooled))].map(quoted).join(' ')
  return `${one.before ?? ''}\nrun() { exec ${one.wrap ?? ''} env -i ${words}; }\n${one.call ?? 'run'}\n`
}

function wordsOf(one: Case, { file, env, options }: Starter, spooled: string | null): readonly Bytes[] {
  if (spooled === null) return ['env', ...env, file, ...options, ...(one.options ?? []), '--', ...one.argv]
  return ['env', ...env, 'WNOD_FRONT_END=slurm', `WNOD_ARGV0=${spooled}`, file, ...one.argv]
}
