/** The guests of a home, found by what every one of them carries in its command line. */
import { existsSync } from 'node:fs'
import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Home } from '../../kit/paths.ts'
import { findProcesses, killAndWait, type ProcessRef } from '../../kit/process.ts'
import { until } from '../../kit/until.ts'

/** The VM processes of this home, whatever any record says: `-name wnod.HASH.HOST.VWN,…`. */
export function vmProcesses(home: Home): readonly ProcessRef[] {
  const prefix = `wnod.${home.hash}.`
  return findProcesses((args) => {
    const name = args[args.indexOf('-name') + 1] ?? ''
    return args.includes('-name') && (name.startsWith(prefix) || name.startsWith(`guest=${prefix}`))
  })
}

/** No VM of this home runs, or has a control group, afterwards; a guest's disks are thrown away with it, so it is not asked first. */
export async function killVms(home: Home): Promise<number> {
  if (!existsSync(home.hosts)) return 0
  const found = vmProcesses(home)
  await Promise.all(found.map((vm) => killAndWait(vm, { termMs: 1_000 })))
  for (const group of await vmGroups(home)) {
    // The kernel keeps a group busy for a moment after its last process has ended.
    await until(() => rmdir(group).then(() => true), { withinMs: 2_000, what: group }).catch(() => undefined)
  }
  return found.length
}

/** Control groups of this home's VMs, empty or not. */
export async function vmGroups(home: Home, folder = '/sys/fs/cgroup', depth = 3): Promise<readonly string[]> {
  const entries = (await readdir(folder, { withFileTypes: true }).catch(() => [])).filter((entry) => entry.isDirectory())
  const found = entries.filter((entry) => entry.name.startsWith(`wnod.${home.hash}.`)).map((entry) => join(folder, entry.name))
  const below = depth === 0 ? [] : await Promise.all(entries.map((entry) => vmGroups(home, join(folder, entry.name), depth - 1)))
  return [...found, ...below.flat()]
}
