/** `wnod install SYSTEM [--check|--dry-run|--undo]`: shows the exact changes, makes them, or takes them back. */
import { VwnError } from '../../core/errors.ts'
import { withProgress } from '../../kit/progress.ts'
import { show, type Context } from '../context.ts'
import { table } from '../table.ts'
import type { Change } from './change.ts'

export interface InstallOptions {
  /** Only says what is made and what is not; fails where anything is not. */
  readonly check?: boolean
  /** Only says what would be done. */
  readonly dryRun?: boolean
  readonly undo?: boolean
  /** What becomes of jobs while the bait of their host is away; `requeue` where nothing is said. */
  readonly unreachable?: 'requeue' | 'bare'
}

interface Line {
  readonly change: string
  readonly was: 'made' | 'not made'
  readonly now: 'made' | 'not made'
}

/** In order, the last first when they are taken back; a change that fails is named, and those before it stay. */
export async function install(context: Context, system: string, changes: readonly Change[], { check = false, dryRun = false, undo = false }: InstallOptions): Promise<void> {
  const were = await Promise.all(changes.map((change) => change.isMade()))
  const word = (made: boolean): Line['was'] => (made ? 'made' : 'not made')
  const all = changes.map((change, index) => ({ change, made: were[index] === true }))
  if (!check && !dryRun) {
    for (const { change, made } of undo ? [...all].reverse() : all) {
      if (undo) await withProgress(`taking back: ${change.say}`, () => change.takeBack()) // what is taken back may be an older one of ours
      else if (!made) await withProgress(`making: ${change.say}`, () => change.make())
    }
  }
  const lines: Line[] = all.map(({ change, made }) => ({ change: change.say, was: word(made), now: word(check ? made : !undo) }))
  show(context, { system, changes: lines }, () => table<Line>([
    { title: 'CHANGE', cell: (line) => line.change },
    { title: 'WAS', cell: (line) => line.was },
    { title: dryRun ? 'WOULD BE' : 'IS', cell: (line) => line.now },
  ], lines, context))
  const missing = all.filter(({ made }) => !made)
  if (check && missing.length > 0) throw new VwnError('INSTALL_INCOMPLETE', { system, missing: missing.length })
}
