/** One cgroup for each job: what it may use, what it has used, and the only sure way to end all of it. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Usage } from '../wire/common.ts'

export interface Cgroup {
  /** A process joins by writing there. */
  readonly procs: string
  usage(): Usage
  /** True when the kernel has killed a process of the job because memory ran out. */
  outOfMemory(): boolean
  /** Kills every process of the job; resolves when none is left, false when some stay for `withinMs`. */
  kill(withinMs: number): Promise<boolean>
  /** Kills, and removes the group itself. */
  remove(withinMs: number): Promise<boolean>
}

const prefix = 'job-'
const controllers = ['cpu', 'memory', 'io', 'pids']

/** Makes the group of a job; where the kernel has no controller for memory there is no bound. */
export function makeCgroup(root: string, job: string, memoryBytes: number | null): Cgroup {
  if (!tryWrite(join(root, 'cgroup.subtree_control'), controllers.map((controller) => `+${controller}`).join(' ')))
    for (const controller of controllers) tryWrite(join(root, 'cgroup.subtree_control'), `+${controller}`) // one is missing here
  const path = join(root, `${prefix}${job}`)
  mkdirSync(path)
  if (memoryBytes !== null) {
    tryWrite(join(path, 'memory.max'), String(Math.floor(memoryBytes)))
    tryWrite(join(path, 'memory.swap.max'), '0')
  }
  return cgroupAt(path)
}

/** Names of the groups that there are. */
export const cgroupNames = (root: string): readonly string[] => folders(root)

/** A group that exists already, whoever made it. */
export const foundCgroup = (root: string, name: string): Cgroup => cgroupAt(join(root, name))

function cgroupAt(path: string): Cgroup {
  const kill = async (withinMs: number): Promise<boolean> => {
    const deadline = performance.now() + withinMs
    for (let pause = 1; ; pause = Math.min(pause * 2, 50)) {
      if (numbers(path, 'cgroup.events').get('populated') !== 1) return true
      if (!tryWrite(join(path, 'cgroup.kill'), '1')) killOneByOne(path)
      if (performance.now() > deadline) return false
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
  }
  return {
    procs: join(path, 'cgroup.procs'),
    usage: () => usageOf(path),
    outOfMemory: () => (numbers(path, 'memory.events').get('oom_kill') ?? 0) > 0,
    kill,
    async remove(withinMs) {
      if (!(await kill(withinMs))) return false
      return removeTree(path)
    },
  }
}

function usageOf(path: string): Usage {
  const cpu = numbers(path, 'cpu.stat')
  const io = tryRead(join(path, 'io.stat'))
  const milliseconds = (name: string): number | null => {
    const microseconds = cpu.get(name)
    return microseconds === undefined ? null : microseconds / 1000
  }
  return {
    cpuUserMs: milliseconds('user_usec'),
    cpuSystemMs: milliseconds('system_usec'),
    memoryPeakBytes: orNull(tryRead(join(path, 'memory.peak'))),
    readBytes: io === null ? null : sumOf(io, 'rbytes'),
    writtenBytes: io === null ? null : sumOf(io, 'wbytes'),
  }
}

/** For kernels before 5.14, which have no cgroup.kill. */
function killOneByOne(path: string): void {
  for (const pid of (tryRead(join(path, 'cgroup.procs')) ?? '').split('\n'))
    if (pid !== '') tryKill(Number(pid))
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // it has ended by itself
  }
}

/** A job of root may have made groups of its own inside. */
function removeTree(path: string): boolean {
  for (const name of folders(path)) removeTree(join(path, name))
  try {
    rmdirSync(path)
    return true
  } catch {
    return false
  }
}

const folders = (path: string): string[] => {
  try {
    return readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch {
    return []
  }
}

const sumOf = (text: string, name: string): number =>
  [...text.matchAll(new RegExp(`\\b${name}=(\\d+)`, 'g'))].reduce((sum, match) => sum + Number(match[1]), 0)

const orNull = (text: string | null): number | null => (text === null || !/^\d+$/.test(text.trim()) ? null : Number(text))

/** A file of `name number` lines. */
function numbers(path: string, file: string): ReadonlyMap<string, number> {
  const lines = (tryRead(join(path, file)) ?? '').split('\n')
  return new Map(lines.map((line) => line.split(' ')).map(([name = '', value]) => [name, Number(value)]))
}

function tryRead(path: string): string | null {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return null
  }
}

function tryWrite(path: string, text: string): boolean {
  try {
    writeFileSync(path, text)
    return true
  } catch {
    return false
  }
}
