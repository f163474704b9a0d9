/**
 * What the batch system has given us, to the byte: arguments, environment, directory, umask, limits, nice value. Node would decode the
 * bytes as UTF-8 and lose some, so all of it is read from /proc/self.
 */
import { closeSync, readFileSync, readlinkSync } from 'node:fs'
import { getPriority } from 'node:os'
import type { Limit, Run } from '../../wire/hook.ts'
import type { Before } from './before.ts'

type Surroundings = Pick<Run, 'argv' | 'env' | 'cwd' | 'umask' | 'limits' | 'nice' | 'ignored'>

/** The last `count` arguments of ours, or of the process that `wnod run --as` has named to us, as bytes. */
export function lastArguments(count: number, vars: NodeJS.ProcessEnv): readonly Buffer[] {
  const args = splitZero(readFileSync(vars['WNOD_CMDLINE'] ?? '/proc/self/cmdline'))
  return args.slice(args.length - count)
}

/** The bytes of a variable of ours; null where it is not set. */
export function variable(name: string): Buffer | null {
  const start = Buffer.from(`${name}=`)
  const entry = splitZero(readFileSync('/proc/self/environ')).find((each) => each.subarray(0, start.length).equals(start))
  return entry?.subarray(start.length) ?? null
}

/** What this command gets of ours. */
export function surroundings(command: readonly Buffer[], before: Before, vars: NodeJS.ProcessEnv): Surroundings {
  return {
    argv: command.map(base64),
    env: environment(vars),
    cwd: workingDirectory(),
    umask: umask(),
    limits: limits(before),
    nice: getPriority(),
    ignored: [...before.ignored],
  }
}

/** Names that differ between `wnod run --as` and the user whose job it is. */
const namesOfUser = ['HOME', 'USER', 'LOGNAME', 'SHELL'] as const

/**
 * Our environment; or that of `wnod run --as`, which is open on a descriptor of ours: node, between it and us, has no strings for bytes
 * that are no text. What says who the user is comes from our own all the same.
 */
function environment(vars: NodeJS.ProcessEnv): string[] {
  const fd = vars['WNOD_ENVIRON_FD']
  if (fd === undefined) return jobsOwn(readFileSync('/proc/self/environ'))
  const theirs = jobsOwn(readFileSync(Number(fd)))
  closeSync(Number(fd))
  return withEntries(theirs, namesOfUser.map((name) => `${name}=${vars[name] ?? ''}`))
}

const jobsOwn = (environ: Buffer): string[] => splitZero(environ).map(unhidden).filter((entry) => !isOurs(entry)).map(base64)

/** What before.c has hidden from node. */
const hidden = 'WNOD_JOBS_'
const unhidden = (entry: Buffer): Buffer => (entry.subarray(0, hidden.length).toString('latin1') === hidden ? entry.subarray(hidden.length) : entry)

/** An entry, or a word, as bytes again. */
export const decoded = (encoded: string): Buffer => Buffer.from(encoded, 'base64')

const base64 = (bytes: Buffer): string => bytes.toString('base64')
const isOurs = (entry: Buffer): boolean => entry.subarray(0, 5).toString('latin1') === 'WNOD_'

/** The environment with these entries in place of those of the same names. */
export function withEntries(env: readonly string[], entries: readonly string[]): string[] {
  return [...without(env, entries.map((entry) => entry.slice(0, entry.indexOf('=')))), ...entries.map((entry) => base64(Buffer.from(entry)))]
}

/** The environment without the entries of these names. */
export function without(env: readonly string[], names: readonly string[]): string[] {
  const gone = new Set(names)
  const nameOf = (encoded: string): string => Buffer.from(encoded, 'base64').toString('utf8').split('=', 1)[0] ?? ''
  return gone.size === 0 ? [...env] : env.filter((encoded) => !gone.has(nameOf(encoded)))
}

/** The strings of an execve, each of which the kernel has ended with a zero. */
export function splitZero(bytes: Buffer): Buffer[] {
  const parts: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at)
    parts.push(bytes.subarray(at, end < 0 ? bytes.length : end))
    at = end < 0 ? bytes.length : end + 1
  }
  return parts
}

/** Null when the directory was removed under us: then there is none to go to. */
function workingDirectory(): string | null {
  const path = readlinkSync('/proc/self/cwd', { encoding: 'buffer' })
  return path.subarray(-10).toString('latin1') === ' (deleted)' ? null : base64(path)
}

/** From /proc, because process.umask() has to set it to read it. */
function umask(): number {
  return Number.parseInt(/^Umask:\s*([0-7]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '22', 8)
}

/** The kernel's words for its limits, and getrlimit's. */
const limitWords: Readonly<Record<string, Limit['name']>> = {
  'Max address space': 'as', 'Max core file size': 'core', 'Max cpu time': 'cpu', 'Max data size': 'data', 'Max file size': 'fsize',
  'Max file locks': 'locks', 'Max locked memory': 'memlock', 'Max msgqueue size': 'msgqueue', 'Max nice priority': 'nice',
  'Max open files': 'nofile', 'Max processes': 'nproc', 'Max resident set': 'rss', 'Max realtime priority': 'rtprio',
  'Max realtime timeout': 'rttime', 'Max pending signals': 'sigpending', 'Max stack size': 'stack',
}

/** The table of /proc/PID/limits. */
export function parseLimits(text: string): Limit[] {
  return text.split('\n').flatMap((line) => {
    const name = limitWords[line.slice(0, 25).trimEnd()]
    const [soft, hard] = line.slice(26).trim().split(/\s+/)
    return name === undefined || soft === undefined || hard === undefined ? [] : [{ name, soft: limit(soft), hard: limit(hard) }]
  })
}

const limit = (text: string): number | null => {
  const value = Number(text)
  return Number.isSafeInteger(value) ? value : null
}

/**
 * Node raises its soft limit of open files to the hard one before we can look. Where that was not noted before, what we were started
 * with is most likely what our parent has, as long as its hard limit is ours.
 */
function limits({ openFiles }: Before): Limit[] {
  const ours = parseLimits(readFileSync('/proc/self/limits', 'latin1'))
  if (openFiles !== undefined) return ours.map((one) => (one.name === 'nofile' ? { ...one, soft: openFiles } : one))
  let parents: Limit[] = []
  try {
    parents = parseLimits(readFileSync(`/proc/${process.ppid}/limits`, 'latin1'))
  } catch {
    // gone already, or hidden: ours will do
  }
  const open = parents.find(({ name }) => name === 'nofile')
  return ours.map((one) => (one.name === 'nofile' && open?.hard === one.hard ? open : one))
}
