/** The guests of a home, found by what every one of them carries in its command line. */
import { existsSync } from 'node:fs'
import type { Home } from '../../kit/paths.ts'
import { findProcesses, killAndWait, type ProcessRef } from '../../kit/process.ts'

/** The VM processes of this home, whatever any record says: `-name wnod.HASH.HOST.VWN,…`. */
export function vmProcesses(home: Home): readonly ProcessRef[] {
  const prefix = `wnod.${home.hash}.`
  return findProcesses((args) => {
    const name = args[args.indexOf('-name') + 1] ?? ''
    return args.includes('-name') && (name.startsWith(prefix) || name.startsWith(`guest=${prefix}`))
  })
}

/** No VM of this home runs afterwards; a guest's disks are thrown away with it, so it is not asked first. */
export async function killVms(home: Home): Promise<number> {
  if (!existsSync(home.hosts)) return 0
  const found = vmProcesses(home)
  await Promise.all(found.map((vm) => killAndWait(vm, { termMs: 1_000 })))
  return found.length
}
