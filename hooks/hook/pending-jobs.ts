/**
 * Who of a batch system's pending jobs asks for which VWN type, by its own commands. Only jobs that wait for nothing but room and their turn
 * count: what is held, or waits for another job or a date, needs no VWN soon.
 */
import { saidBy } from './command.ts'
import type { HookOptions } from './options.ts'

export interface PendingJob {
  /** Null where the job does not say. */
  readonly type: string | null
  /** Null where the mapping cannot tell from what is known of the job. */
  readonly user: string | null
  readonly queue: string | null
  readonly project: string | null
}

export interface Collector {
  readonly system: string
  jobs(options: HookOptions): readonly PendingJob[]
}

/** squeue(1): reasons of jobs that would run if there were room; `None` is one that was not looked at yet. */
const slurmReasons: ReadonlySet<string> = new Set(['Resources', 'Priority', 'None'])

/** What Slurm shows of a job does not have its `--vm`. Each element of an array is a line of its own. */
const slurm: Collector = {
  system: 'slurm',
  jobs(options) {
    const partition = options.text('partition')
    return slurmJobs(saidBy('squeue', ['--noheader', '--array', '--states=PENDING', '--format=%r|%u|%a|%P', ...(partition === null ? [] : [`--partition=${partition}`])]))
  },
}

/** Lines of `reason|user|account|partitions`. A job that may go to several partitions goes to the first, as far as anybody can say. */
export function slurmJobs(lines: string): readonly PendingJob[] {
  return lines.split('\n').flatMap((line) => {
    const [reason = '', user = '', account = '', partitions = ''] = line.split('|')
    return slurmReasons.has(reason) && user !== '' ? [{ type: null, user, queue: partitions.split(',')[0] || null, project: account || null }] : []
  })
}

/** Jobs whose environment is looked at; more of them would not change what is kept ready. */
const gridEngineJobsMax = 2_000

/** `-l vm=TYPE` is in the job's environment by the time that it pends: jsv.sh has put it there. */
const gridEngine: Collector = {
  system: 'gridengine',
  jobs() {
    const waiting = gridEngineWaiting(saidBy('qstat', ['-s', 'p', '-u', '*', '-xml'])).slice(0, gridEngineJobsMax)
    if (waiting.length === 0) return []
    const types = gridEngineTypes(saidBy('qstat', ['-j', waiting.map(({ id }) => id).join(',')]))
    return waiting.flatMap(({ id, tasks }) => {
      const type = types.get(id)
      return type === undefined ? [] : Array.from({ length: tasks }, () => ({ type, user: null, queue: null, project: null }))
    })
  },
}

/** Jobs that pend, each with its tasks that do; those that are held or in error are in another state than `qw`. */
export function gridEngineWaiting(xml: string): readonly { readonly id: string; readonly tasks: number }[] {
  return [...xml.matchAll(/<job_list\b.*?<\/job_list>/gs)].flatMap(([job]) => {
    const within = (tag: string): string => new RegExp(`<${tag}>([^<]*)</${tag}>`).exec(job)?.[1] ?? ''
    return within('state') === 'qw' ? [{ id: within('JB_job_number'), tasks: tasksIn(within('tasks')) }] : []
  })
}

/** `3`, `1-9:2`, or several with commas between; nothing where the job is no array. */
function tasksIn(list: string): number {
  return list.split(',').reduce((sum, range) => {
    const [, first = 1, last = first, step = 1] = /^(\d+)(?:-(\d+):(\d+))?$/.exec(range) ?? []
    return sum + Math.floor((Number(last) - Number(first)) / Number(step)) + 1
  }, 0)
}

/** The type that each job says, from `qstat -j`. */
export function gridEngineTypes(text: string): ReadonlyMap<string, string> {
  const types = new Map<string, string>()
  let id = ''
  for (const line of text.split('\n')) {
    id = /^job_number:\s+(\d+)/.exec(line)?.[1] ?? id
    const type = /^env_list:.*[\s,]WNOD_TYPE=([\w.-]+)/.exec(line)?.[1]
    if (type !== undefined) types.set(id, type)
  }
  return types
}

export const collectors: readonly Collector[] = [slurm, gridEngine]
