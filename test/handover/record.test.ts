/** What the bait keeps of its jobs on disk. */
import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { jobRecords, type JobRecord } from '../../bait/job/record.ts'
import { hostId } from '../../core/ids.ts'
import { createLog } from '../../kit/log.ts'
import type { Identity } from '../../wire/common.ts'
import { tempFolder } from '../harness/temp.ts'

const log = createLog({ program: 'test', level: 'silent' })
const alice: Identity = { user: 'alice', uid: 1000, gid: 1000, group: 'alice', groups: [] }
/** Whose record takes the disk longer than the short one that is written after it. */
const inManyGroups: Identity = { ...alice, groups: Array.from({ length: 10_000 }, (_, gid) => ({ gid, name: `group${gid}` })) }

test('what is asked for last is what stays, also where nobody waits for the writes before it', async () => {
  await using folder = await tempFolder()
  const records = jobRecords(folder.path, hostId('h1'), log)
  await records.load()
  const first = Array.from({ length: 20 }, (): JobRecord => ({
    v: 1, job: records.nextId(), identity: inManyGroups, name: 'true', submittedAtMs: 0, trace: null, state: 'starting', vwn: null, phases: {}, reused: false,
    want: { type: null, queue: null, project: null, batchSystem: null, batchJobId: null, cpus: null, memoryMib: null, scratchGib: null },
    scrubReceipt: null, end: null,
  }))
  const jobs = first.map(({ job }) => job)
  const saves = first.flatMap((record) => [records.save(record), records.save({ ...record, identity: alice, state: 'running' })])
  await Promise.all([...saves, records.forget(jobs.slice(0, 10))])
  const kept = jobs.slice(10)
  expect((await records.load()).map(({ job, state }) => ({ job, state }))).toEqual(kept.map((job) => ({ job, state: 'running' })))
  expect((await readdir(folder.path)).sort()).toEqual(['counter', ...kept.map((job) => `${job}.json`)].sort())
})
