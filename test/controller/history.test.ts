/** History has an end: by age, by size, and not before the accounts are done. */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { pruneHistory, stepRows, type HistoryBounds } from '../../controller/history.ts'
import { openDatabase, type Database } from '../../db/open.ts'
import { recordsAfter, settleRecords } from '../../db/queries/accounting.ts'
import { usedBytes } from '../../db/queries/history.ts'
import { acknowledgeRecord, newestRecord } from '../../db/queries/meta.ts'
import { fakeClock } from '../../kit/clock.ts'
import { captureLog } from '../../kit/log.ts'

vi.setConfig({ testTimeout: 120_000 })
const dayMs = 86_400_000
const nowMs = 1_800_000_000_000
const tables = ['job', 'explanation', 'vwn', 'vwn_event'] as const
let folder = ''
let db: Database
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'wnod-h-'))
  db = openDatabase(join(folder, 'c.sqlite'))
  db.sql.pragma('synchronous = off') // nobody pulls the plug here
  db.sql.exec('create temp table gone (rows integer); insert into gone values (0)')
  for (const table of tables) db.sql.exec(`create temp trigger ${table}_gone after delete on main.${table} begin update gone set rows = rows + 1; end`)
  db.sql.exec(`insert into host (id, want, fact, session, started_at_ms, seq, seen_term, seen_generation, generation, facts) values ('h1', 'open', 'alive', 's', 1, 1, 0, 0, 0, '{}')`)
})
afterEach(() => {
  db.close()
  rmSync(folder, { recursive: true, force: true })
})

interface Filled {
  readonly jobs: number
  readonly vwns: number
  readonly eventsEach: number
}

/** One thing ended every second, the last of them a day ago. */
function fill({ jobs, vwns, eventsEach }: Filled): void {
  const numbers = (count: number): string => `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${count})`
  const ended = nowMs - dayMs
  db.sql.exec(`
    begin;
    ${numbers(jobs)} insert into job (id, host, name, state, user, uid, gid, group_name, groups, submitted_at_ms, phases, outcome, ended_at_ms)
      select 'h1-' || i, 'h1', 'make', 'ended', 'ada', 1001, 100, 'users', '[]', ${ended} - (${jobs} - i) * 1000 - 500, '{"wait":1,"start":2,"run":3}', '{"is":"exited","code":0}', ${ended} - (${jobs} - i) * 1000 from n;
    insert into explanation select id, 1, '{}' from job;
    ${numbers(vwns)} insert into vwn (id, host, type, image, contact, network, cpus, memory_mib, scratch_gib, boot_ms, reuse, jobs_run_max, age_ms_max, idle_ms_max,
        state, insist, term, epoch, generation, jobs_run, created_at_ms, state_since_ms, ended_at_ms)
      select 'v' || i, 'h1', 'el9', '${'a'.repeat(64)}', 'agent', 'isolated', 1, 64, 1, 1, 'never', 1, 1, 1, 'gone', 0, 1, 1, 1, 0, 1, 1, ${ended} - (${vwns} - i) * 1000 from n;
    ${numbers(eventsEach)} insert into vwn_event (vwn, at_ms, event, from_state, to_state) select vwn.id, 1, 'ready', 'booting', 'idle' from vwn, n;
    commit;`)
}

const rowsOf = (table: string): number => Number(db.sql.prepare(`select count(*) from ${table}`).pluck().get())
const rows = (): number => tables.reduce((sum, table) => sum + rowsOf(table), 0)
const settleAll = (): void => { while (settleRecords(db, nowMs) > 0); }

/** Prunes once; how many rows went between one pause of the pruner and the next. */
async function prune(bounds: Partial<HistoryBounds>): Promise<{ readonly steps: readonly number[]; readonly warnings: readonly unknown[] }> {
  const steps: number[] = []
  db.sql.prepare('update gone set rows = 0').run()
  const gone = db.sql.prepare('select rows from gone').pluck()
  let before = 0
  const { log, lines } = captureLog()
  const clock = { ...fakeClock(nowMs), sleep: () => {
    const now = Number(gone.get())
    steps.push(now - before)
    before = now
    return Promise.resolve()
  } }
  const usual = { ageMs: 365 * dayMs, bytesMax: 2 ** 40, unacknowledgedMs: 0 }
  await pruneHistory({ db, kit: { clock, log, signal: new AbortController().signal }, bounds: { ...usual, ...bounds } }, new AbortController().signal)
  return { steps, warnings: lines.filter(({ level }) => level === 'warn') }
}

test('two hundred thousand rows go in steps that are all small, and the file with them', async () => {
  fill({ jobs: 20_000, vwns: 8_000, eventsEach: 19 })
  expect(rows()).toBe(200_000)
  db.sql.pragma('wal_checkpoint(truncate)')
  const fullBytes = statSync(join(folder, 'c.sqlite')).size
  const kept = 1_000
  const ageMs = dayMs + (kept - 1) * 1_000
  const { steps } = await prune({ ageMs })
  expect(Math.max(...steps)).toBeLessThanOrEqual(stepRows)
  expect(tables.map(rowsOf)).toEqual([kept, kept, kept, 19 * kept])
  expect(steps.reduce((sum, each) => sum + each, 0)).toBe(200_000 - 22 * kept)
  expect(statSync(join(folder, 'c.sqlite')).size).toBeLessThan(fullBytes / 2)
  expect(await prune({ ageMs })).toEqual({ steps: [], warnings: [] })
})

test('a VWN with more events than a step may drop goes in several steps', async () => {
  fill({ jobs: 1, vwns: 2, eventsEach: 3 * stepRows })
  const { steps } = await prune({ ageMs: 1 })
  expect(Math.max(...steps)).toBeLessThanOrEqual(stepRows)
  expect(rows()).toBe(0)
})

test('where the database is too large the oldest go first, and no more than must', async () => {
  fill({ jobs: 4_000, vwns: 2_000, eventsEach: 2 })
  const bytesMax = Math.round(usedBytes(db) / 2)
  const { steps, warnings } = await prune({ bytesMax })
  expect([usedBytes(db) <= bytesMax, warnings]).toEqual([true, []])
  expect(Math.max(...steps)).toBeLessThanOrEqual(stepRows)
  expect(rowsOf('job')).toBeGreaterThan(1_000)
  const oldest = Number(db.sql.prepare(`select min(ended_at_ms) from job`).pluck().get())
  expect(rowsOf('job')).toBe((nowMs - dayMs - oldest) / 1_000 + 1)
})

test('a job whose record nobody has acknowledged stays, whatever its age and whatever the size, until the hard bound', async () => {
  fill({ jobs: 40, vwns: 3, eventsEach: 1 })
  settleAll()
  expect(newestRecord(db)).toBe(40)
  acknowledgeRecord(db, 25)
  acknowledgeRecord(db, 7)
  const bounds = { ageMs: dayMs / 2, bytesMax: 0, unacknowledgedMs: 30 * dayMs }
  const { warnings } = await prune(bounds)
  expect(tables.map(rowsOf)).toEqual([15, 15, 0, 0])
  expect(recordsAfter(db, { after: 0, upTo: 100, limit: 100 }).map(({ record }) => record)).toEqual(Array.from({ length: 15 }, (_, index) => 26 + index))
  expect(warnings).toHaveLength(1)
  await prune({ ...bounds, unacknowledgedMs: dayMs + 5_000 })
  expect(rowsOf('job')).toBe(6)
  await prune({ ...bounds, unacknowledgedMs: 0 })
  expect(rows()).toBe(0)
})

test('a record is numbered once nothing more will be told of its job, and keeps its number', () => {
  fill({ jobs: 6, vwns: 6, eventsEach: 0 })
  const set = (job: number, state: string, more = ''): void => {
    db.sql.exec(`update job set vwn = 'v${job}' ${more} where id = 'h1-${job}'; update vwn set state = '${state}', job = 'h1-${job}', state_since_ms = ${nowMs} where id = 'v${job}'`)
  }
  set(1, 'busy')
  set(2, 'cleaning')
  set(3, 'idle')
  set(4, 'stopping')
  set(5, 'cleaning', `, phases = '{"scrub":12}'`)
  const recorded = (): unknown[] => db.sql.prepare('select id from job where record is not null order by record').pluck().all()
  expect([settleRecords(db, nowMs), recorded()]).toEqual([3, ['h1-4', 'h1-5', 'h1-6']])
  expect([settleRecords(db, nowMs), recorded().length]).toEqual([0, 3])
  expect([settleRecords(db, nowMs + 5_000), recorded().at(-1)]).toEqual([1, 'h1-3'])
  db.sql.exec(`update vwn set job = 'h1-99' where id = 'v1'; update vwn set state = 'gone' where id = 'v2'`)
  expect([settleRecords(db, nowMs), recorded()]).toEqual([2, ['h1-4', 'h1-5', 'h1-6', 'h1-3', 'h1-1', 'h1-2']])
  expect(recordsAfter(db, { after: 1, upTo: 2, limit: 9 })).toMatchObject([{ record: 2, job: 'h1-5', image: 'a'.repeat(64), shape: { cpus: 1, memoryMib: 64, scratchGib: 1 } }])
})
