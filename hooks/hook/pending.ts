/**
 * How many jobs of each VWN type pend with the batch system: as told, or as the batch system itself says. All of them each time, so a word that
 * is lost or comes twice does no harm. For a cron job, a load sensor, an elim: whatever runs now and then.
 */
import { VwnError } from '../../core/errors.ts'
import { idPatterns, typeName } from '../../core/ids.ts'
import type { Explanation } from '../../wire/api.ts'
import { UsageError } from '../starter/options.ts'
import { askBait } from './bait.ts'
import { fromController } from './controller.ts'
import { groupsOf } from './lease.ts'
import type { HookOptions } from './options.ts'
import { collectors, type PendingJob } from './pending-jobs.ts'

const answerMs = 20_000
const jobsMax = 10_000_000
/** Different users, queues and projects that the mapping is asked about, those with the most jobs first. */
const askersMax = 200

/** `pending TYPE=COUNT…` or `pending --from SYSTEM`: the bait knows it when this resolves; with --dry-run it is only printed. */
export async function pending(options: HookOptions): Promise<void> {
  const from = options.text('from')
  const collect = collectors.find(({ system }) => system === from)
  if (from !== null && collect === undefined) throw new UsageError(`--from is one of ${collectors.map(({ system }) => system).join(', ')}`)
  const words = options.words.slice(1)
  if (from !== null && words.length > 0) throw new UsageError('pending wants either TYPE=COUNT or --from')
  const otherwise = options.text('type')
  if (otherwise !== null && !idPatterns.type.test(otherwise)) throw new UsageError(`--type wants the name of a VWN type, not "${otherwise}"`)
  const counts = collect === undefined ? counted(words) : await typed(options, collect.system, collect.jobs(options))
  const told = [...counts].map(([type, jobs]) => ({ type: typeName(type), jobs })).sort((a, b) => (a.type < b.type ? -1 : 1))
  if (options.flag('dry-run')) return void process.stdout.write(told.map(({ type, jobs }) => `${type}=${jobs}\n`).join(''))
  await askBait(options, { kind: 'pending', batchSystem: options.text('batch-system') ?? from ?? 'batch', counts: told }, 'noted', answerMs)
}

/** `tiny=3 el9=0`; a type that is named twice counts twice. */
function counted(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const word of words) {
    const [, type = '', jobs = ''] = /^([^=]*)=(\d{1,8})$/.exec(word) ?? []
    if (!idPatterns.type.test(type) || Number(jobs) > jobsMax) throw new UsageError(`pending wants TYPE=COUNT, not "${word}"`)
    add(counts, type, Number(jobs))
  }
  return counts
}

const add = (counts: Map<string, number>, name: string, jobs: number): void => void counts.set(name, (counts.get(name) ?? 0) + jobs)

/** By type: as the job says, else as --type says of all, else as the mapping says to whoever has such a job. Jobs that it refuses get no VWN. */
async function typed(options: HookOptions, system: string, jobs: readonly PendingJob[]): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  const askers = new Map<string, { readonly job: PendingJob; jobs: number }>()
  for (const job of jobs) {
    const type = job.type ?? options.text('type')
    const asker = JSON.stringify([job.user, job.queue, job.project])
    if (type !== null) add(counts, type, 1)
    else askers.set(asker, { job, jobs: (askers.get(asker)?.jobs ?? 0) + 1 })
  }
  for (const { job, jobs: number } of [...askers.values()].sort((a, b) => b.jobs - a.jobs).slice(0, askersMax)) {
    const type = await typeFor(options, system, job)
    if (type !== null) add(counts, type, number)
  }
  return counts
}

async function typeFor(options: HookOptions, system: string, { user, queue, project }: PendingJob): Promise<string | null> {
  if (user === null) return null
  try {
    return (await fromController<Explanation>(options, '/explain', { user, group: groupsOf(user), queue, project, batch_system: system })).type
  } catch (error) {
    if (error instanceof VwnError && error.code === 'USER_NOT_FOUND') return null
    throw error
  }
}
