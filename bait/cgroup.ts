/**
 * Each VM in a control group of its own, where the host lets us: what it uses can be told apart, and a batch system that looks after
 * its own groups finds no VM there. Without it everything works; `doctor` says why it is missing. A group has its VM's name.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { errnoOf } from '../kit/atomic-file.ts'
import { randomId } from '../kit/clock.ts'
import type { Log } from '../kit/log.ts'
import { until } from '../kit/until.ts'

export interface Cgroups {
  /** Where the groups are, or null with the reason why there are none. */
  readonly place: string | null
  readonly why: string
  /** Moves a VM's process in; a failure is only logged. */
  enter(vm: string, pid: number): Promise<void>
  /** Removes the group of a VM that is gone. */
  leave(vm: string): Promise<void>
}

const leaveMs = 3_000

/** The first place where we may make groups. */
export async function openCgroups(log: Log): Promise<Cgroups> {
  const { place, why } = await findPlace()
  return {
    place,
    why,
    async enter(vm, pid) {
      if (place === null) return
      try {
        await mkdir(join(place, vm), { recursive: true })
        await writeFile(join(place, vm, 'cgroup.procs'), String(pid))
      } catch (error) {
        await rmdir(join(place, vm)).catch(() => undefined)
        log.warn({ vm, vmPid: pid, err: error }, 'vm stays in the control group of the bait')
      }
    },
    async leave(vm) {
      if (place === null) return
      await until(() => removed(join(place, vm)), { withinMs: leaveMs }).catch((error: unknown) => log.warn({ vm, err: error }, 'control group stays'))
    },
  }
}

/** Paths of the groups of all VMs whose names start so, wherever they could be. */
export async function findCgroups(namePrefix: string): Promise<readonly string[]> {
  const { places } = await candidates()
  const found = await Promise.all(places.map(async (place) => {
    const entries = await readdir(place, { withFileTypes: true }).catch(() => [])
    return entries.filter((entry) => entry.isDirectory() && entry.name.startsWith(namePrefix)).map(({ name }) => join(place, name))
  }))
  return found.flat()
}

async function findPlace(): Promise<{ place: string | null; why: string }> {
  const { places, why } = await candidates()
  let last = why
  for (const place of places) {
    const trial = join(place, `wnod-trial-${randomId()}`)
    try {
      await mkdir(trial)
      await writeFile(join(trial, 'cgroup.procs'), '') // says nothing, but fails where we may not move processes
      return { place, why: `one for each VM below ${place}` }
    } catch (error) {
      last = `${place}: ${errnoOf(error) ?? String(error)}`
    } finally {
      await rmdir(trial).catch(() => undefined)
    }
  }
  return { place: null, why: last }
}

/** The top of the unified hierarchy (for root), then the group we are in ourselves (a delegated one). */
async function candidates(): Promise<{ places: readonly string[]; why: string }> {
  const mounts = await readFile('/proc/self/mounts', 'utf8').catch(() => '')
  const top = mounts.split('\n').map((line) => line.split(' ')).find((fields) => fields[2] === 'cgroup2')?.[1]
  if (top === undefined) return { places: [], why: 'no cgroup2 file system is mounted' }
  const own = /^0::(.*)$/m.exec(await readFile('/proc/self/cgroup', 'utf8').catch(() => ''))?.[1] ?? '/'
  return { places: [...new Set([top, resolve(top, `.${own}`)])], why: 'no place for control groups' }
}

/** The kernel keeps a group busy for a moment after its last process has ended. */
async function removed(path: string): Promise<boolean> {
  return rmdir(path).then(() => true, (error: unknown) => errnoOf(error) === 'ENOENT')
}
