/**
 * The scrub after a job, so that the next job finds the guest as the first one did, whoever's it is, and the proof of it: first everything is
 * removed, then every place is looked at again, and what is still there is named. One thing left retires the VWN.
 *
 *   processes   only the kernel's, process 1, the agent, its helper and sshd     sockets   none but ours
 *   cgroups     those from before the first job                                  mounts    those, and none of them changed
 *   ipc         no System V object          keys      no key of a user, none more of root's
 *   files       scratch places are empty    upper     no file of the root was made or changed elsewhere, no empty folder made
 *   bare        as upper, for /run, /dev    agent     what the agent wrote elsewhere is as it wrote it
 *   kernel      clock, modules, settings by which one job can change how the next one runs
 *   memory      the agent has not grown by more than a bound
 *
 * `bare`, `agent` and `kernel` are what only root can change, and take as long to look at as all the rest: they are remembered just before
 * the first job of root, and looked at after each. Not looked at, since only root can change it: rights of folders,
 * other kernel settings, addresses and routes, programs loaded into the kernel, the state of devices. Not looked at, since it ends with
 * its process: timers, watches, memory without a name, locks.
 */
import { readFileSync, rmdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { FromAgent } from '../wire/guest.ts'
import type { scrubChecks } from '../wire/guest-facts.ts'
import { cgroupNames, foundCgroup } from './cgroup.ts'
import { monotonicMs } from './clock.ts'
import type { Helper } from './helper.ts'
import { takeMadeFolders } from './made-folders.ts'
import { changedFiles } from './own-files.ts'
import type { Settings } from './settings.ts'

type Cleaned = Extract<FromAgent, { kind: 'cleaned' }>

export interface Cleaner {
  /** A job of this user is about to begin: after one of root more is looked at. */
  ran(uid: number): void
  clean(): Promise<Cleaned>
}

const killMs = 10_000
const leftMax = 256
/** The kernel frees keys in its own time. */
const keysMs = 1000
/** Root's are the lists of all users' keyrings, which the kernel makes with the first of those. A key of root's own comes with two more. */
const registers = 2
const clockMsMax = 50
const growthBytesMax = 64 * 1024 * 1024

/** Files of the root that the agent itself writes; `agent` checks what is in them. */
const ours = ['etc/hostname', 'etc/machine-id', 'etc/hosts', 'etc/passwd', 'etc/group']

type Check = () => readonly string[] | Promise<readonly string[]>

/** Remembers what a guest looks like before any job: call it before the first. */
export function openCleaner(settings: Settings, helper: Helper): Cleaner {
  const cgroupsBefore = new Set(cgroupNames(settings.cgroups))
  const mountsBefore = mounts()
  const rootKeys = (keyCounts(settings).get(0) ?? 0) + registers
  const bytesBefore = ownBytes()
  const upper = watchUpper(settings, helper)
  const scratch = watchScratch(settings, helper)
  const newCgroups = (): readonly string[] => cgroupNames(settings.cgroups).filter((name) => !cgroupsBefore.has(name))
  const newMounts = (): readonly Mount[] => mounts().filter(({ id }) => !mountsBefore.some((before) => before.id === id))
  const newKeys = (): readonly number[] => [...keyCounts(settings)].filter(([uid, count]) => count > (uid === 0 ? rootKeys : 0)).map(([uid]) => uid)
  const checks: Readonly<Record<Exclude<(typeof scrubChecks)[number], 'memory'>, Check>> = {
    processes: () => helper.strangers(settings.sshd, false),
    cgroups: () => newCgroups().map((name) => join(settings.cgroups, name)),
    mounts: () => changed(new Map(mountsBefore.map(byRow)), new Map(mounts().map(byRow))),
    ipc: () => ['shm', 'sem', 'msg'].flatMap((kind) => rows(`/proc/sysvipc/${kind}`).map((row) => `${kind} ${row.trim()}`)),
    keys: () => newKeys().map((uid) => `of user ${uid}`),
    files: scratch,
    upper: upper.left,
    sockets: () => [...inetSockets(settings), ...unixSockets(settings)],
  }
  const memory = (): readonly string[] => grown(ownBytes() - bytesBefore)
  let ofRoot: Readonly<Record<string, Check>> = {}
  let rootRan = false
  return {
    ran(uid) {
      rootRan ||= uid === 0
      if (rootRan && !('bare' in ofRoot)) ofRoot = { bare: watchBare(settings, helper), agent: changedFiles, kernel: watchKernel(settings, helper) }
    },
    async clean() {
      const startedAt = performance.now()
      for (const name of newCgroups()) await foundCgroup(settings.cgroups, name).remove(killMs)
      await killStrangers(settings, helper)
      for (const { path } of [...newMounts()].reverse()) if (!path.includes('\n')) await helper.unmount(path).catch(() => undefined) // a command is one line
      await helper.removeIpc().catch(() => undefined)
      await dropKeys(helper, newKeys)
      const isOwn = newMounts().length === 0 // what is mounted is the farm's: nothing is emptied that may hold it, and the VWN goes
      if (isOwn) await helper.empty(settings.scratch.map((place) => Buffer.from(place))).catch(() => undefined) // the checks will find it
      for (const folder of isOwn ? takeMadeFolders() : []) {
        await removeFolder(helper, Buffer.from(folder, 'latin1'))
        upper.made(folder)
      }
      const left: string[] = []
      const due = Object.entries<Check>({ ...checks, ...(rootRan && ofRoot), memory })
      for (const [name, check] of due) for (const what of await check()) left.push(`${name}: ${what}`.slice(0, 1024))
      rootRan &&= left.length > 0
      return { kind: 'cleaned', checked: due.map(([name]) => name), left: left.slice(0, leftMax), tookMs: performance.now() - startedAt }
    },
  }
}

// ---------------------------------------------------------------- processes and keys

/** One look and one KILL at a time, until a look finds nobody; those who start new ones lose that race in the end. */
async function killStrangers(settings: Settings, helper: Helper): Promise<void> {
  const deadline = performance.now() + killMs
  for (let pause = 1; (await helper.strangers(settings.sshd, true)).length > 0 && performance.now() < deadline; pause = Math.min(pause * 2, 50)) await sleep(pause)
}

async function dropKeys(helper: Helper, newKeys: () => readonly number[]): Promise<void> {
  for (const uid of newKeys()) await helper.dropKeys(uid).catch(() => undefined)
  const deadline = performance.now() + keysMs
  while (newKeys().length > 0 && performance.now() < deadline) await sleep(5)
}

/** How many keys each user has: the one thing about another's keys that the kernel shows. */
function keyCounts({ kernel }: Settings): ReadonlyMap<number, number> {
  return new Map(rowsOf(kernel === null ? null : tryRead('/proc/key-users')).map((row) => {
    const [, uid, count] = /^ *(\d+): +\d+ (\d+)\//.exec(row) ?? []
    return [Number(uid), Number(count)]
  }))
}

const grown = (bytes: number): readonly string[] => (bytes > growthBytesMax ? [`the agent has grown by ${Math.round(bytes / 1024 / 1024)} MiB`] : [])

/** Resident memory; 0 where there is no /proc, as where the snapshot is made. */
function ownBytes(): number {
  try {
    return process.memoryUsage.rss()
  } catch {
    return 0
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

// ---------------------------------------------------------------- mounts and sockets

interface Mount {
  readonly id: string
  readonly path: string
  /** All that the kernel says of it. */
  readonly row: string
}

/** Mounts in the order they were made. */
const mounts = (): readonly Mount[] => rowsOf(tryRead('/proc/self/mountinfo')).map((row) => {
  const [id = '', , , , path = ''] = row.split(' ')
  return { id, path: unescaped(path), row }
})

/** A mount over another has the path of that one: its number belongs to its name. */
const byRow = ({ id, path, row }: Mount): [string, string] => [`${path} (${id})`, row]

/** Blanks and backslashes stand as octal numbers in the kernel's tables. */
const unescaped = (path: string): string => path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))

/** Sockets that a process still holds; a connection that is only being remembered has no inode. */
function inetSockets(settings: Settings): readonly string[] {
  const inUse = new Map(['sockstat', 'sockstat6'].flatMap((file) => rowsOf(tryRead(`/proc/net/${file}`))).map(inUseOf))
  const kinds = ['tcp', 'udp', 'udplite', 'raw'].flatMap((kind) => [kind, `${kind}6`]).filter((kind) => inUse.get(kind) !== '0')
  return kinds.flatMap((kind) => rows(`/proc/net/${kind}`).flatMap((row) => {
    const fields = row.trim().split(/\s+/)
    const port = parseInt(fields[1]?.split(':')[1] ?? '', 16)
    return fields[9] === '0' || (kind === 'tcp' && port === settings.sshPort) ? [] : [`${kind} port ${port}`]
  }))
}

/** A row of sockstat, `UDP6: inuse 0 …`. To make one of the tables costs an emulated guest milliseconds, even if nothing is in it. */
function inUseOf(row: string): [string, string] {
  const [kind = '', , count = ''] = row.split(' ')
  return [kind.slice(0, -1).toLowerCase(), count]
}

const listening = 0x1_0000

function unixSockets(settings: Settings): readonly string[] {
  return rows('/proc/net/unix').flatMap((row) => {
    const fields = row.trim().split(/\s+/)
    const path = fields[7] ?? ''
    return (parseInt(fields[3] ?? '0', 16) & listening) !== 0 && path !== settings.socket ? [`unix ${path}`] : []
  })
}

// ---------------------------------------------------------------- files

/** As helper.walk gives it. */
type Listing = ReadonlyMap<string, string>

/** Names of what is new, is gone, or is not as it was. A folder that was empty may have got something in it, which has its own name. */
const changed = (before: Listing, now: Listing): readonly string[] => [
  ...[...now].filter(([name, state]) => before.get(name) !== state).map(([name]) => name),
  ...[...before.keys()].filter((name) => !now.has(name) && !name.endsWith('/')).map((name) => `${name} is gone`),
]

/** Files of the root that were made or changed outside the scratch places. */
function watchUpper(settings: Settings, helper: Helper): { left: Check; made(folder: string): void } {
  const walk = async (root: string): Promise<Listing> => new Map([...(await helper.walk([root], []))].map(([path, state]) => [path.slice(root.length), state]))
  const now = (): Promise<Listing> => (settings.upper === null ? Promise.resolve(new Map<string, string>()) : walk(settings.upper))
  const before = now()
  const allowed = new Set(ours.map((file) => `/${file}`))
  const isScratch = (path: string): boolean => settings.scratch.some((place) => path === `${place}/` || path.startsWith(`${place}/`))
  return {
    left: async () => changed(await before, await now()).filter((path) => !allowed.has(path) && !isScratch(path)).map(readable),
    /** The agent has made and removed this folder: those above it were copied to the writable layer, and may be empty there. */
    made(folder) {
      for (let above = dirname(folder); above !== '/'; above = dirname(above)) allowed.add(`${above}/`)
    },
  }
}

/** The scratch places themselves, and what is in them. */
function watchScratch({ scratch }: Settings, helper: Helper): Check {
  const placesOf = (found: Listing): Listing => new Map(scratch.map((place) => [place, found.get(place) ?? '']))
  const now = (): Promise<Listing> => helper.walk(scratch, [])
  const before = now().then(placesOf)
  return async () => {
    const found = await now()
    return [
      ...[...found.keys()].filter((path) => !scratch.includes(path)).map(readable),
      ...changed(await before, placesOf(found)).map((place) => `${place} is not as it was`),
    ]
  }
}

/** Places that only root can write to; the agent's own files there come and go. */
function watchBare(settings: Settings, helper: Helper): Check {
  const folder = dirname(settings.socket)
  const own = [settings.socket, ...['host_key', 'authorized_keys', 'sshd_config', 'sshd_config.pid'].map((name) => `${folder}/ssh/${name}`)]
  const skipped = [...own, ...(settings.upper === null ? [] : [settings.upper]), ...settings.scratch, '/dev/pts']
  const now = (): Promise<Listing> => helper.walk(settings.bare, skipped)
  const before = now()
  return async () => changed(await before, await now()).filter((path) => path !== `${folder}/` && path !== `${folder}/ssh/`).map(readable)
}

async function removeFolder(helper: Helper, folder: Buffer): Promise<void> {
  await helper.empty([folder]).catch(() => undefined)
  try {
    rmdirSync(folder)
  } catch {
    // it is gone, or the check will find it
  }
}

/** Bytes as the text that they most probably are. */
const readable = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8')

// ---------------------------------------------------------------- the kernel

/** Settings by which one job could change how the next one's processes run. */
const kernelSettings = [
  'kernel/core_pattern', 'kernel/modprobe', 'kernel/randomize_va_space', 'kernel/unprivileged_userns_clone', 'kernel/yama/ptrace_scope', 'kernel/domainname',
  'kernel/pid_max', 'kernel/threads-max', 'kernel/shmmax', 'kernel/msgmax', 'kernel/sem', 'fs/suid_dumpable', 'fs/file-max', 'vm/overcommit_memory',
  'vm/max_map_count', 'net/ipv4/ip_forward', 'net/ipv4/ip_local_port_range', 'net/core/somaxconn', 'user/max_user_namespaces',
]

function watchKernel({ kernel }: Settings, helper: Helper): Check {
  if (kernel === null) return () => []
  const now = (): Listing => new Map([
    ...kernelSettings.map((name): [string, string] => [name.replaceAll('/', '.'), tryRead(join(kernel, name)) ?? '']),
    ...rowsOf(tryRead('/proc/modules')).map((row): [string, string] => [`module ${row.split(' ', 1)[0] ?? ''}`, '']),
  ])
  const before = now()
  return () => [...changed(before, now()), ...clockError(helper.clockOffsetMs)]
}

/** Both clocks go at one rate: their distance is what it was when the agent set the one by the other. */
function clockError(offsetMs: number | null): readonly string[] {
  const errorMs = offsetMs === null ? 0 : Date.now() - monotonicMs() - offsetMs
  return Math.abs(errorMs) > clockMsMax ? [`clock is ${(errorMs / 1000).toFixed(1)} s off`] : []
}

// ---------------------------------------------------------------- tables

const rowsOf = (text: string | null): readonly string[] => (text ?? '').split('\n').filter((row) => row !== '')

/** Rows of a table of the kernel without its heading. */
const rows = (path: string): readonly string[] => rowsOf(tryRead(path)).slice(1)

function tryRead(path: string): string | null {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return null
  }
}
