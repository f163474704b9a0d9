/**
 * The scrub after a job, so that the same user's next job finds the guest as the first one did, and the proof of it: first everything is
 * removed, then every place is looked at again, and what is still there is named. One thing left retires the VWN.
 *
 *   processes   only the kernel's, process 1, the agent, its helper and sshd            cgroups   none of a job
 *   mounts      those from before the first job    ipc   no System V object             sockets   none but ours
 *   files       scratch places are empty           upper no file of the root was made or changed elsewhere
 *
 * Not looked at: kernel settings and devices, which only root can change, and empty folders outside the scratch places.
 */
import { type Dirent, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { FromAgent } from '../wire/guest.ts'
import { jobCgroups } from './cgroup.ts'
import type { Helper } from './helper.ts'
import type { Settings } from './settings.ts'
import { takeStagedFolders } from './stage.ts'

type Cleaned = Extract<FromAgent, { kind: 'cleaned' }>

export interface Cleaner {
  clean(): Promise<Cleaned>
}

const killMs = 10_000
const leftMax = 256

/** Files of the root that the agent itself writes. */
const ours = ['etc/hostname', 'etc/machine-id', 'etc/hosts', 'etc/passwd', 'etc/group']

type Check = () => readonly string[] | Promise<readonly string[]>

/** Remembers what a guest looks like before any job: call it before the first. */
export function openCleaner(settings: Settings, helper: Helper): Cleaner {
  const mountsBefore = new Set(mounts())
  const upperBefore = new Set(filesBelow(settings.upper))
  const strangeMounts = (): readonly string[] => mounts().filter((mount) => !mountsBefore.has(mount))
  const strangeFiles = (): readonly string[] => filesBelow(settings.upper)
    .filter((file) => !upperBefore.has(file) && !ours.includes(file) && !settings.scratch.some((place) => `/${file}`.startsWith(`${place}/`)))
    .map((file) => `/${file}`)
  const checks: Readonly<Record<string, Check>> = {
    processes: () => helper.strangers(settings.sshd, false),
    cgroups: () => jobCgroups(settings.cgroups).map((group) => group.procs),
    mounts: strangeMounts,
    ipc: () => ['shm', 'sem', 'msg'].flatMap((kind) => rows(`/proc/sysvipc/${kind}`).map((row) => `${kind} ${row.trim()}`)),
    files: () => settings.scratch.flatMap((place) => namesIn(place).map((name) => join(place, name))),
    upper: strangeFiles,
    sockets: () => [...inetSockets(settings), ...unixSockets(settings)],
  }
  return {
    async clean() {
      const startedAt = performance.now()
      for (const group of jobCgroups(settings.cgroups)) await group.remove(killMs)
      await killStrangers(settings, helper)
      for (const mount of [...strangeMounts()].reverse()) await helper.unmount(mount).catch(() => undefined)
      await helper.removeIpc().catch(() => undefined)
      for (const place of settings.scratch) for (const name of namesIn(place)) tryRemove(join(place, name))
      for (const folder of takeStagedFolders()) tryRemove(Buffer.from(folder, 'latin1'))
      const left: string[] = []
      for (const [name, check] of Object.entries(checks)) for (const what of await check()) left.push(`${name}: ${what}`.slice(0, 1024))
      return { kind: 'cleaned', checked: Object.keys(checks), left: left.slice(0, leftMax), tookMs: performance.now() - startedAt }
    },
  }
}

/** One look and one KILL at a time, until a look finds nobody; those who start new ones lose that race in the end. */
async function killStrangers(settings: Settings, helper: Helper): Promise<void> {
  const deadline = performance.now() + killMs
  for (let pause = 1; (await helper.strangers(settings.sshd, true)).length > 0 && performance.now() < deadline; pause = Math.min(pause * 2, 50))
    await new Promise((resolve) => setTimeout(resolve, pause))
}

// ---------------------------------------------------------------- mounts and sockets

/** Mount points in the order they were made. */
const mounts = (): readonly string[] => rowsOf(tryRead('/proc/self/mountinfo')).map((row) => unescaped(row.split(' ')[4] ?? ''))

/** Blanks and backslashes stand as octal numbers in the kernel's tables. */
const unescaped = (path: string): string => path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))

/** Sockets that a process still holds; a connection that is only being remembered has no inode. */
function inetSockets(settings: Settings): readonly string[] {
  return ['tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6'].flatMap((kind) => rows(`/proc/net/${kind}`).flatMap((row) => {
    const fields = row.trim().split(/\s+/)
    const port = parseInt(fields[1]?.split(':')[1] ?? '', 16)
    return fields[9] === '0' || (kind === 'tcp' && port === settings.sshPort) ? [] : [`${kind} port ${port}`]
  }))
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

/** Every file below a folder by relative name, folders themselves left out. */
function filesBelow(root: string | null): readonly string[] {
  if (root === null) return []
  const found: string[] = []
  const visit = (folder: string, prefix: string): void => {
    for (const entry of entriesOf(folder)) {
      if (entry.isDirectory()) visit(`${folder}/${entry.name}`, `${prefix}${entry.name}/`)
      else found.push(prefix + entry.name)
    }
  }
  visit(root, '')
  return found
}

function tryRemove(path: string | Buffer): void {
  try {
    rmSync(path, { recursive: true, force: true })
  } catch {
    // the checks will find it
  }
}

const namesIn = (folder: string): readonly string[] => {
  try {
    return readdirSync(folder)
  } catch {
    return [] // a place that this guest does not have
  }
}

const entriesOf = (folder: string): readonly Dirent[] => {
  try {
    return readdirSync(folder, { withFileTypes: true })
  } catch {
    return []
  }
}

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
