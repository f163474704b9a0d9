/**
 * What this bait knows of its jobs, one file each, so that no accounting is lost whenever it dies: written when the job is accepted,
 * before the guest is told to run it, and when it has ended; removed when the controller has it in its history.
 */
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { jobStates } from '../../core/job.ts'
import { jobId, type HostId, type JobId } from '../../core/ids.ts'
import { readJson, removeLeftovers, tryReadJson, tryUnlink, writeJson } from '../../kit/atomic-file.ts'
import type { Log } from '../../kit/log.ts'
import { endedJobSchema, liveJobSchema } from '../../wire/bait.ts'

export const recordSchema = z.strictObject({
  v: z.literal(1),
  ...liveJobSchema.omit({ state: true }).shape,
  state: z.enum(jobStates),
  reused: z.boolean(),
  scrubReceipt: endedJobSchema.shape.scrubReceipt.default(null),
  /** How it ended; null while it lives. */
  end: z.strictObject({ outcome: endedJobSchema.shape.outcome, endedAtMs: endedJobSchema.shape.endedAtMs, usage: endedJobSchema.shape.usage }).nullable(),
})
export type JobRecord = z.output<typeof recordSchema>

export interface JobRecords {
  /** Every readable record, oldest job first; a damaged one is said to the log and left for people. */
  load(): Promise<readonly JobRecord[]>
  /** On disk when it resolves. */
  save(record: JobRecord): Promise<void>
  /** No job will get these numbers again. */
  forget(jobs: readonly JobId[]): Promise<void>
  /** A number that no job of this host had before. Call after `load`. */
  nextId(): JobId
}

const counterSchema = z.strictObject({ last: z.int().nonnegative() })

/** The records in this folder. */
export function jobRecords(folder: string, host: HostId, log: Log): JobRecords {
  const counterFile = join(folder, 'counter')
  const fileOf = (job: JobId): string => join(folder, `${job}.json`)
  let last = 0
  let lastSaved = 0
  const writing = new Map<JobId, Promise<unknown>>()
  /** What is written about one job is written in the order of asking: on a slow disk an older state must not come to lie over a newer one. */
  const inOrder = <T>(job: JobId, write: () => Promise<T>): Promise<T> => {
    const written = (writing.get(job) ?? Promise.resolve()).then(write, write)
    const over = (): void => {
      if (writing.get(job) === written) writing.delete(job)
    }
    writing.set(job, written)
    written.then(over, over)
    return written
  }
  return {
    async load() {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      await removeLeftovers(folder)
      lastSaved = (await tryReadJson(counterFile, counterSchema))?.content.last ?? 0
      last = lastSaved
      const records: JobRecord[] = []
      for (const name of await readdir(folder)) {
        if (!name.endsWith('.json')) continue
        last = Math.max(last, numberOf(name.slice(0, -5)))
        try {
          records.push(await readJson(join(folder, name), recordSchema))
        } catch (error) {
          log.error({ err: error }, 'job record cannot be read')
        }
      }
      return records.sort((a, b) => numberOf(a.job) - numberOf(b.job))
    },
    save: (record) => inOrder(record.job, () => writeJson(fileOf(record.job), record)),
    async forget(jobs) {
      const highest = Math.max(lastSaved, ...jobs.map(numberOf))
      if (highest > lastSaved) await writeJson(counterFile, { last: highest })
      lastSaved = highest
      for (const job of jobs) await inOrder(job, () => tryUnlink(fileOf(job)))
    },
    nextId() {
      last += 1
      return jobId(`${host}-${last}`)
    },
  }
}

const numberOf = (job: string): number => Number(/-(\d+)$/.exec(job)?.[1] ?? 0)
