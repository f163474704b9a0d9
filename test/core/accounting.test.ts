import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { accountOf, isAskedFor, sumKeys, sumsBy, type Accountable, type AccountingRecord } from '../../core/accounting.ts'
import { csvLine } from '../../core/csv.ts'
import { failure, type Outcome } from '../../core/failure.ts'
import { hostId, imageDigest, jobId, typeName, vwnId } from '../../core/ids.ts'
import { usageRecord, usageRecordsHead, usageRecordsTail } from '../../core/usage-record.ts'
import { outcomeSchema, phaseNames } from '../../wire/common.ts'
import { accountingRecordSchema } from '../../wire/accounting.ts'
import { usageRecordProblems } from '../harness/usage-record.ts'

const job: Accountable = {
  record: 7, job: jobId('h1-3'), host: hostId('h1'), name: 'make', identity: { user: 'ada', uid: 1001, group: 'users' },
  want: { queue: 'short', project: 'apollo', batchSystem: 'slurm', batchJobId: '4711' },
  type: typeName('el9'), vwn: vwnId('v2'), made: 'reused', image: imageDigest('a'.repeat(64)), shape: { cpus: 2, memoryMib: 1024, scratchGib: 4 },
  submittedAtMs: 1_800_000_000_000, endedAtMs: 1_800_000_010_000,
  phases: { wait: 10.4, stage: 100, start: 40, run: 9_000, collect: 50, scrub: 300 },
  outcome: { is: 'exited', code: 0 }, usage: { cpuUserMs: 8_000.2, cpuSystemMs: 500, memoryPeakBytes: 4_096, readBytes: 10, writtenBytes: null },
}

const anyText = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('=cmd|x', '+1', '-1', '@x', '\tx', '\r', 'a"b', 'a,b', 'a\nb', '\u0000', '\ud800', ']]>', '<x/>&'))
const anyOutcome: fc.Arbitrary<Outcome> = fc.oneof(
  fc.record({ is: fc.constant('exited' as const), code: fc.nat(255) }),
  fc.record({ is: fc.constant('signalled' as const), signal: fc.constantFrom('SIGKILL', 'SIGXCPU'), coreDumped: fc.boolean(), outOfMemory: fc.constantFrom(true as const, undefined) }),
  fc.record({ is: fc.constant('cancelled' as const), signal: fc.constantFrom('SIGTERM', null) }),
  fc.constantFrom<Outcome>({ is: 'bare' }, { is: 'refused', failure: failure('TYPE_UNKNOWN') }, { is: 'lost', failure: failure('VWN_DIED') }),
)
const anyMs = fc.oneof(fc.double({ min: 0, max: 1e9, noNaN: true }), fc.nat())
const anyJob: fc.Arbitrary<Accountable> = fc.record({
  ...Object.fromEntries(Object.entries(job).map(([name, value]) => [name, fc.constant(value)])) as { [Name in keyof Accountable]: fc.Arbitrary<Accountable[Name]> },
  record: fc.integer({ min: 1, max: 1e9 }),
  name: anyText,
  identity: fc.record({ user: anyText, uid: fc.nat(), group: fc.constantFrom('users', 'staff') }),
  want: fc.record({ queue: fc.option(anyText), project: fc.constantFrom(null, 'apollo', '=gemini'), batchSystem: fc.constantFrom(null, 'slurm'), batchJobId: fc.option(anyText) }),
  submittedAtMs: fc.nat(2_000_000_000_000),
  endedAtMs: fc.nat(2_000_000_000_000), // whatever the clock was set to meanwhile
  phases: fc.dictionary(fc.constantFrom(...phaseNames), anyMs),
  outcome: anyOutcome,
  usage: fc.option(fc.record({ cpuUserMs: fc.option(anyMs), cpuSystemMs: fc.option(anyMs), memoryPeakBytes: fc.option(fc.nat()), readBytes: fc.option(fc.nat()), writtenBytes: fc.option(fc.nat()) })),
})

const parts = ['waitMs', 'bootMs', 'contactMs', 'stageMs', 'startMs', 'runMs', 'collectMs', 'otherMs'] as const
const total = (numbers: readonly number[]): number => numbers.reduce((sum, each) => sum + each, 0)

describe('the record of a job', () => {
  test('has its time in parts, and what was not the user’s', () => {
    expect(accountOf(job)).toMatchObject({
      wallMs: 10_000, waitMs: 10, bootMs: 0, stageMs: 100, startMs: 40, runMs: 9_000, collectMs: 50, otherMs: 800, scrubMs: 300, overheadMs: 500,
      startedAtMs: 1_800_000_000_150, cpuUserMs: 8_000, memoryPeakBytes: 4_096, writtenBytes: null, cause: 'exited', exitCode: 0, made: 'reused', cpus: 2,
    })
  })

  test('never has a part that is negative, and always wall = parts, whatever the clocks did', () => {
    fc.assert(fc.property(anyJob, (one) => {
      const record = accountOf(one)
      expect(total(parts.map((part) => record[part]))).toBe(record.wallMs)
      expect(record.wallMs + record.scrubMs).toBe(record.overheadMs + record.runMs + record.otherMs)
      expect(record.wallMs).toBeGreaterThanOrEqual(record.endedAtMs - record.submittedAtMs)
      for (const [name, value] of Object.entries(record)) if (typeof value === 'number') expect([name, value >= 0]).toEqual([name, true])
      if (record.startedAtMs !== null) expect(record.startedAtMs).toBeGreaterThanOrEqual(record.submittedAtMs)
      expect(accountingRecordSchema.parse(record)).toEqual(record)
    }))
  })

  test('of a job that never got a place is a record of waiting', () => {
    const record = accountOf({ ...job, vwn: null, phases: {}, outcome: { is: 'cancelled', signal: null } })
    expect(record).toMatchObject({ waitMs: 10_000, otherMs: 0, wallMs: 10_000, startedAtMs: null, made: null, cause: 'cancelled' })
  })

  test.each([
    [{ is: 'exited', code: 3 }, 'exited'],
    [{ is: 'exited', code: 137, outOfMemory: true }, 'outOfMemory'],
    [{ is: 'exited', code: 0, outOfMemory: true }, 'exited'],
    [{ is: 'signalled', signal: 'SIGKILL', coreDumped: false }, 'signalled'],
    [{ is: 'signalled', signal: 'SIGKILL', coreDumped: false, outOfMemory: true }, 'outOfMemory'],
    [{ is: 'signalled', signal: 'SIGXCPU', coreDumped: true }, 'timeLimit'],
    [{ is: 'cancelled', signal: 'SIGTERM' }, 'cancelled'],
    [{ is: 'refused', failure: failure('TYPE_UNKNOWN') }, 'refused'],
    [{ is: 'lost', failure: failure('VWN_DIED') }, 'lost'],
    [{ is: 'bare' }, 'bare'],
  ] as const)('%j has the cause %s', (outcome, cause) => {
    expect(accountOf({ ...job, outcome: outcomeSchema.parse(outcome) }).cause).toBe(cause)
  })
})

describe('sums', () => {
  test('are the sums of their records, by whatever they are made', () => {
    fc.assert(fc.property(fc.array(anyJob, { maxLength: 12 }), fc.constantFrom(...sumKeys), (jobs, by) => {
      const records = jobs.map(accountOf)
      const sums = sumsBy(by)
      records.forEach((record) => sums.add(record))
      const rows = sums.rows()
      expect(new Set(rows.map(({ key }) => key))).toEqual(new Set(records.map((record) => record[by])))
      expect(total(rows.map((row) => row.jobs))).toBe(records.length)
      for (const name of ['wallMs', 'waitMs', 'runMs', 'overheadMs'] as const) expect(total(rows.map((row) => row[name]))).toBe(total(records.map((record) => record[name])))
      expect(total(rows.map((row) => row.cpuMs))).toBe(total(records.map(({ cpuUserMs, cpuSystemMs }) => (cpuUserMs ?? 0) + (cpuSystemMs ?? 0))))
      expect(rows.every((row) => row.failed <= row.jobs && row.reused <= row.jobs)).toBe(true)
    }), { numRuns: 40 })
  })

  test('are of the records that were asked for: from `since` on, before `until`', () => {
    const record = accountOf(job)
    const { endedAtMs } = record
    expect([
      {}, { sinceMs: endedAtMs }, { untilMs: endedAtMs }, { sinceMs: endedAtMs + 1 }, { user: 'ada', group: 'users', project: 'apollo', type: 'el9' }, { user: 'bob' },
    ].map((filter) => isAskedFor(record, filter))).toEqual([true, true, false, false, true, false])
  })
})

/** What RFC 4180 says that a line holds. */
const fieldsOf = (line: string): string[] =>
  [...`,${line.replace(/\r\n$/, '')}`.matchAll(/,(?:"((?:[^"]|"")*)"|([^",]*))/g)].map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? '')

test('a CSV line has as many fields as it was given, and none of them is a formula', () => {
  fc.assert(fc.property(fc.array(anyText, { minLength: 2, maxLength: 8 }), (cells) => {
    const fields = fieldsOf(csvLine(cells))
    expect(fields).toHaveLength(cells.length)
    fields.forEach((field, index) => {
      expect(field).not.toMatch(/^[=+\-@\t\r]/)
      expect(field.replace(/^'/, '')).toBe(cells[index]?.replace(/^'/, ''))
    })
  }))
  expect(csvLine(['=1+1', -1, null, true, 'a "b"\r\nc'])).toBe(`'=1+1,-1,,true,"a ""b""\r\nc"\r\n`)
})

test('usage records have the elements of their schema, in its order, whatever texts are in them', () => {
  const document = (records: readonly AccountingRecord[]): string => usageRecordsHead + records.map((record) => usageRecord(record, ' a  farm ')).join('') + usageRecordsTail
  expect(usageRecordProblems(document([]))).toEqual([])
  expect(document([accountOf(job)])).toContain('<urf:RecordIdentity urf:recordId="a farm/7" urf:createTime="2027-01-15T08:00:10.000Z"/>')
  expect(document([accountOf(job)])).toContain('<urf:CpuDuration urf:usageType="user">PT8S</urf:CpuDuration>')
  fc.assert(fc.property(fc.array(anyJob, { maxLength: 3 }), (jobs) => {
    expect(usageRecordProblems(document(jobs.map(accountOf)))).toEqual([])
  }), { numRuns: 40 })
})
