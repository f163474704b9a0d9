/** The past as whoever does the accounts meets it: records over HTTP and in files, history as lines, times as numbers. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { accounting, acknowledgeRecords, exportRecords } from '../../cli/accounting.ts'
import { controllerApi, type Api } from '../../cli/client.ts'
import type { Context } from '../../cli/context.ts'
import { exportHistory, times } from '../../cli/history.ts'
import { until } from '../../kit/until.ts'
import { accountingReplySchema, makingReplySchema, timesReplySchema } from '../../wire/accounting.ts'
import { receiptSchema } from '../../wire/api.ts'
import { usualMapping, type TestController } from '../harness/controller.ts'
import type { FakeBait } from '../harness/fake-bait.ts'
import { startPlayedFarm, type PlayedFarm } from '../harness/played-farm.ts'
import { usageRecordProblems } from '../harness/usage-record.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })
/** A batch system that lets its users name what a spreadsheet would run. */
const hostile = '=HYPERLINK("x"),\r\n-1'
const mapping = usualMapping.replace('rules: []', 'rules:\n  - { name: theirs, match: { user: dave }, bare: true }').replace('scratch_gib: 1 }', 'scratch_gib: 1, reuse: never }')
let played: PlayedFarm
let controller: TestController
let bait: FakeBait
let folder = ''
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'wnod-p-'))
  played = await startPlayedFarm({ mapping })
  ;({ controller, bait } = played)
  const small = { type: 'small', batchSystem: 'slurm', batchJobId: '4711', project: hostile, queue: 'fast' }
  for (const job of [
    bait.submit({ want: small }), bait.submit({ want: small, name: 'make' }), bait.submit({ user: 'bob', uid: 1002, want: { type: 'small' } }),
    bait.submit({ want: { type: 'unknown' } }), bait.submit({ user: 'dave', uid: 1004 }),
  ]) await controller.untilJob(job, (view) => view.state === 'ended')
  await until(async () => (await page('')).records.length === 5, { withinMs: 30_000, what: 'a record of each job' })
})
afterAll(async () => {
  await played[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const page = (query: string) => controller.get(`/v1/accounting${query}`, accountingReplySchema)

/** A context whose output is kept, and whose pages are small. */
function context(over: Partial<Api> = {}): Context & { readonly printed: string[] } {
  const api = controllerApi(controller.home)
  const printed: string[] = []
  const get: Api['get'] = (path, schema, query) => api.get(path, schema, /^\/(accounting|history)/.test(path) ? { ...query, limit: 2 } : query)
  return { home: controller.home, api: { ...api, get, ...over }, json: false, width: null, colour: false, print: (text) => void printed.push(text), say: () => undefined, printed }
}

test('each ended job has one record, and it agrees with its receipt', async () => {
  const { records, farm, next, acknowledged } = await page('')
  expect([farm, next, acknowledged, records.map(({ record }) => record)]).toEqual(['wnod', null, 0, [1, 2, 3, 4, 5]])
  const byJob = new Map(records.map((record) => [String(record.job), record]))
  expect(byJob.get('h1-1')).toMatchObject({
    user: 'alice', project: hostile, queue: 'fast', batchSystem: 'slurm', batchJobId: '4711', host: 'h1', type: 'small', made: 'new', cpus: 1, memoryMib: 128, image: 'b'.repeat(64),
    cause: 'exited', exitCode: 0, cpuUserMs: 3, memoryPeakBytes: 4096, writtenBytes: 7, failure: null,
  })
  expect(byJob.get('h1-4')).toMatchObject({ cause: 'refused', failure: 'TYPE_UNKNOWN', vwn: null, image: null, cpus: null, startedAtMs: null })
  expect(byJob.get('h1-5')).toMatchObject({ cause: 'bare', vwn: null, user: 'dave' })
  for (const [job, { submittedAtMs, endedAtMs, wallMs, runMs }] of byJob) {
    const receipt = await controller.get(`/v1/jobs/${job}/receipt`, receiptSchema)
    expect({ submittedAtMs, endedAtMs, runMs }).toEqual({ submittedAtMs: receipt.submittedAtMs, endedAtMs: receipt.endedAtMs, runMs: receipt.phases.run ?? 0 })
    expect(wallMs).toBeGreaterThanOrEqual(receipt.totalMs ?? 0)
  }
})

test('records come in pages, and only those that are asked for', async () => {
  expect((await page('?limit=2')).next).toBe(2)
  expect((await page('?limit=2&after=2')).records.map(({ record }) => record)).toEqual([3, 4])
  expect((await page('?limit=2&after=4')).next).toBeNull()
  expect((await page('?user=bob')).records.map(({ job }) => job)).toEqual(['h1-3'])
  expect((await page(`?project=${encodeURIComponent(hostile)}&type=small`)).records).toHaveLength(2)
  const firstMs = Math.min(...(await page('')).records.map(({ endedAtMs }) => endedAtMs))
  expect((await page(`?since=${firstMs}&limit=5000`)).records).toHaveLength(5)
  expect((await page(`?until=${firstMs}`)).records).toEqual([])
  expect((await page(`?since=${Date.parse('2100-01-01')}`)).records).toEqual([])
  expect((await controller.call('GET', '/v1/accounting?limit=0')).status).toBe(400)
})

test('people read tables and sums; spreadsheets and accounting services read texts that stay texts', async () => {
  const shown = context()
  await accounting(shown, { query: {}, format: undefined, sumBy: undefined })
  expect(shown.printed.join('').split('\n')).toHaveLength(7)
  const sums = context()
  await accounting(sums, { query: { user: 'alice' }, format: 'jsonl', sumBy: 'user' })
  expect(JSON.parse(sums.printed.join(''))).toMatchObject({ user: 'alice', jobs: 3, failed: 1, writtenBytes: 14 })
  const csv = context()
  await accounting(csv, { query: { user: 'alice', type: 'small' }, format: 'csv', sumBy: undefined })
  expect(csv.printed.join('')).toMatch(/^record,job,batchSystem,batchJobId,[^\n]*failure\r\n\d,h1-1,slurm,4711,true,alice,1001,alice,"'=HYPERLINK\(""x""\),\r\n-1",fast,h1,small,/)
  const ur = context()
  await accounting(ur, { query: {}, format: 'ur', sumBy: undefined })
  expect(usageRecordProblems(ur.printed.join(''))).toEqual([])
  expect(ur.printed.join('').match(/<urf:JobUsageRecord>/g)).toHaveLength(5)
  await expect(accounting(context(), { query: {}, format: 'ur', sumBy: 'user' })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
})

test('times are counted, history is exported whole', async () => {
  const reply = await controller.get('/v1/times?hours=1', timesReplySchema)
  expect(reply.byType).toMatchObject([{ type: 'small', jobs: 3, made: { new: 3, ready: 0, reused: 0, bare: 0 } }, { type: null, jobs: 2, made: { bare: 1 } }])
  expect(reply.byType[0]?.waitMs?.p50).toBeGreaterThanOrEqual(0)
  expect([reply.perMinute.reduce((sum, { jobs }) => sum + jobs, 0), reply.errors]).toEqual([5, [{ code: 'TYPE_UNKNOWN', count: 1 }]])
  const shown = context()
  await times(shown, 1)
  expect(shown.printed.join('')).toMatch(/^5 jobs ended in 1 h 0 min\n\nTYPE/)

  const { types } = await controller.get('/v1/making?hours=1', makingReplySchema)
  expect(types).toMatchObject([{ type: 'small', made: { clone: { vwns: 3 }, boot: { vwns: 0 } }, failures: [] }])
  expect(types[0]?.made.clone.halfMs.filter((ms) => ms !== null).length).toBeGreaterThan(0)

  await until(async () => (await controller.vwns('?state=gone')).length === 3, { withinMs: 30_000, what: 'the VWNs gone' })
  const exported = context()
  await exportHistory(exported, undefined)
  const file = join(folder, 'history.jsonl')
  await exportHistory(context(), file)
  expect(readFileSync(file, 'utf8')).toBe(exported.printed.join(''))
  const kinds = exported.printed.join('').trimEnd().split('\n').map((line) => (JSON.parse(line) as { kind: string }).kind)
  expect([kinds.filter((kind) => kind === 'job').length, kinds.filter((kind) => kind === 'vwn').length]).toEqual([5, 3])
  expect(kinds.filter((kind) => kind === 'event').length).toBeGreaterThanOrEqual(3 * 6)
})

test('whatever moment an export dies at, the next ones bring every record once', async () => {
  const to = join(folder, 'records.jsonl')
  const taken = new Map<number, string>()
  /** Whoever does the accounts: keeps records by their numbers. */
  const take = (): void => {
    for (const line of readFileSync(to, 'utf8').trimEnd().split('\n')) {
      const { record, job } = JSON.parse(line) as { record: number; job: string }
      expect([undefined, job]).toContain(taken.get(record))
      taken.set(record, job)
    }
  }
  // Dies while it writes: the second page does not come.
  let pages = 0
  const dying = context({ get: (path, schema, query) => ((pages += 1) > 3 ? Promise.reject(new Error('killed')) : context().api.get(path, schema, query)) })
  await expect(exportRecords(dying, { to, format: 'jsonl' })).rejects.toThrow()
  expect([existsSync(to), readdirSync(folder).filter((name) => name.endsWith('.tmp'))]).toEqual([false, []])
  // Dies after it has written, and its file is taken, but nobody acknowledged: the same records come again, under the same numbers.
  await exportRecords(context(), { to, format: 'jsonl' })
  take()
  await exportRecords(context(), { to, format: 'jsonl' })
  take()
  expect([...taken.keys()]).toEqual([1, 2, 3, 4, 5])
  expect(new Set(taken.values())).toEqual(new Set(['h1-1', 'h1-2', 'h1-3', 'h1-4', 'h1-5']))
  // Said twice, and with less, it changes nothing; what there is not cannot be acknowledged.
  for (const record of [5, 5, 2]) await acknowledgeRecords(context(), record)
  expect((await page('')).acknowledged).toBe(5)
  await expect(acknowledgeRecords(context(), 6)).rejects.toMatchObject({ code: 'RECORD_NOT_FOUND', facts: { record: '6', newest: 5 } })
  expect((await controller.read('POST', '/v1/accounting/acknowledge/5')).status).toBe(404)
  // The next export has what came since, and nothing else.
  rmSync(to)
  await exportRecords(context(), { to, format: 'jsonl' })
  expect(existsSync(to)).toBe(false)
  await controller.untilJob(bait.submit({ want: { type: 'small' } }), (view) => view.state === 'ended')
  await until(async () => (await page('?after=5')).records.length === 1, { withinMs: 30_000, what: 'the record of the next job' })
  await controller.halt()
  await controller.start()
  await exportRecords(context(), { to, format: 'jsonl' })
  take()
  expect([taken.size, taken.get(6)]).toEqual([6, 'h1-6'])
})
