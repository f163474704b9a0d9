/**
 * Each VM in a control group of its own, where the host lets us: what it uses can be told apart, and a batch system that looks after
 * its own groups finds no VM there. Without it everything works; `doctor` says why it is missing.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../kit/atomic-file.ts'
import type { Log } from '../kit/log.ts'

export interface Cgroups {
  /** Where the groups are, or null with the reason why there are none. */
  readonly folder: string | null
  readonly why: string
  /** Moves a process in; a failure is only logged. */
  enter(vwn: string, pid: number): Promise<void>
  /** Removes the group of a VM that is gone. */
  leave(vwn: string): Promise<void>
  /** Groups there are. */
  list(): Promise<readonly string[]>
}

/** The folder for this farm's groups on this host, below the first place where we may make one. */
export async function openCgroups(name: string, log: Log): Promise<Cgroups> {
  const { folder, why } = await findPlace(name)
  const of = (vwn: string): string => join(folder ?? '', vwn)
  return {
    folder,
    why,
    async enter(vwn, pid) {
      if (folder === null) return
      try {
        await mkdir(of(vwn), { recursive: true })
        await writeFile(join(of(vwn), 'cgroup.procs'), String(pid))
      } catch (error) {
        log.warn({ vwn, pid, err: error }, 'vm stays in the control group of the bait')
      }
    },
    async leave(vwn) {
      if (folder === null) return
      await tryRmdir(of(vwn))
      await tryRmdir(folder)
    },
    list: () => (folder === null ? Promise.resolve([]) : groupsIn(folder)),
  }
}

/** Groups of a farm's host below every place where they could be; for audits, which make nothing. */
export async function findCgroups(name: string): Promise<readonly string[]> {
  const { places } = await candidates()
  const found = await Promise.all(places.map(async (place) => (await groupsIn(join(place, name))).map((group) => join(place, name, group))))
  return found.flat()
}

async function findPlace(name: string): Promise<{ folder: string | null; why: string }> {
  const { places, why } = await candidates()
  let last = why
  for (const place of places) {
    try {
      await mkdir(join(place, name), { recursive: true })
      await readFile(join(place, name, 'cgroup.procs'))
      return { folder: join(place, name), why: `groups below ${place}` }
    } catch (error) {
      last = `${place}: ${errnoOf(error) ?? String(error)}`
    }
  }
  return { folder: null, why: last }
}

/** The top of the unified hierarchy (for root), then the group we are in ourselves (a delegated one). */
async function candidates(): Promise<{ places: readonly string[]; why: string }> {
  const mounts = await readFile('/proc/self/mounts', 'utf8').catch(() => '')
  const top = mounts.split('\n').map((line) => line.split(' ')).find((fields) => fields[2] === 'cgroup2')?.[1]
  if (top === undefined) return { places: [], why: 'no cgroup2 file system is mounted' }
  const own = /^0::(.*)$/m.exec(await readFile('/proc/self/cgroup', 'utf8').catch(() => ''))?.[1] ?? '/'
  return { places: [...new Set([top, join(top, own)])], why: 'no place for control groups' }
}

async function groupsIn(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
}

/** Fails while a process is in it, or other groups are below: then it is still needed. */
async function tryRmdir(path: string): Promise<void> {
  await rmdir(path).catch(() => undefined)
}
