import Sqlite from 'better-sqlite3'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { jobStates } from '../../wire/api.ts'
import { vwnStates } from '../../core/vwn.ts'
import { migrations } from '../../db/migrate.ts'
import { openDatabase } from '../../db/open.ts'
import { arrivalsSince, liveJobs } from '../../db/queries/job.ts'
import { nextTerm, nextVwnId } from '../../db/queries/meta.ts'
import { presentVwns } from '../../db/queries/vwn.ts'

let folder = ''
const file = (): string => join(folder, 'deep', 'controller.sqlite')
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'wnod-db-')) })
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test('a new database has the newest schema, and opening it again changes nothing', () => {
  openDatabase(file()).close()
  const db = openDatabase(file())
  expect(db.sql.pragma('user_version', { simple: true })).toBe(migrations.length)
  expect(db.sql.pragma('journal_mode', { simple: true })).toBe('wal')
  expect(db.sql.pragma('synchronous', { simple: true })).toBe(2)
  expect(db.sql.pragma('foreign_keys', { simple: true })).toBe(1)
  db.close()
  db.close()
})

test('rows of an older schema are there in the newer one', () => {
  mkdirSync(join(folder, 'deep'))
  const old = new Sqlite(file())
  old.exec(migrations[0] ?? '')
  old.pragma('user_version = 1')
  old.exec(`
    insert into host values ('h1', 'open', 'alive', 'b1', 's1', 1, 1, 1, 1, 1, 1, '{}');
    insert into vwn (id, host, type, image, contact, network, cpus, memory_mib, scratch_gib, boot_ms, reuse, jobs_run_max, age_ms_max, idle_ms_max, state, insist, term, epoch,
      generation, jobs_run, created_at_ms, state_since_ms)
    values ('v1', 'h1', 'el9', '${'a'.repeat(64)}', 'agent', 'isolated', 1, 512, 4, 1, 'same-user', 1, 1, 1, 'idle', 0, 1, 1, 1, 0, 1, 1);`)
  old.close()
  const db = openDatabase(file())
  expect(presentVwns(db)).toMatchObject([{ id: 'v1', pooled: false, owner: null }])
  expect(arrivalsSince(db, 0)).toEqual([])
  db.close()
})

test('a second owner is refused until the first has closed; a reader is not', () => {
  const first = openDatabase(file())
  expect(() => openDatabase(file())).toThrow(expect.objectContaining({ code: 'DATABASE_IN_USE' }))
  nextTerm(first)
  const reader = new Sqlite(file(), { readonly: true })
  expect(reader.prepare(`select value from meta where name = 'term'`).pluck().get()).toBe(1)
  reader.close()
  first.close()
  openDatabase(file()).close()
})

test('a file that is no database, or a newer one, is refused untouched', () => {
  openDatabase(file()).close()
  const newer = new Sqlite(file())
  newer.pragma(`user_version = ${migrations.length + 1}`)
  newer.close()
  expect(() => openDatabase(file())).toThrow(expect.objectContaining({ code: 'DATABASE_NEWER' }))

  const other = join(folder, 'garbage.sqlite')
  writeFileSync(other, 'this is no database, but long enough to be looked at as if it were one: '.repeat(20))
  expect(() => openDatabase(other)).toThrow(expect.objectContaining({ code: 'DATABASE_UNUSABLE' }))
  expect(() => openDatabase(join(other, 'x.sqlite'))).toThrow(expect.objectContaining({ code: 'DATABASE_UNUSABLE' }))
})

test('a database of before the reuse policies keeps its VWNs, their events and its jobs', () => {
  const [first = ''] = migrations
  mkdirSync(dirname(file()), { recursive: true })
  const old = new Sqlite(file())
  old.pragma('foreign_keys = on')
  old.exec(first)
  old.pragma('user_version = 1')
  old.exec(`
    insert into host (id, want, fact, session, started_at_ms, seq, seen_term, seen_generation, generation, facts) values ('h1', 'open', 'alive', 's', 1, 1, 0, 0, 0, '{}');
    insert into vwn (id, host, type, image, contact, network, cpus, memory_mib, scratch_gib, boot_ms, reuse, jobs_run_max, age_ms_max, idle_ms_max,
      owner_user, owner_uid, owner_group, state, insist, term, epoch, generation, jobs_run, created_at_ms, state_since_ms)
    values ('v1', 'h1', 'el9', '${'a'.repeat(64)}', 'agent', 'isolated', 1, 64, 1, 1, 'never', 1, 1, 1, 'ada', 1000, 'users', 'idle', 0, 1, 1, 1, 0, 1, 1),
      ('v2', 'h1', 'el9', '${'a'.repeat(64)}', 'agent', 'isolated', 1, 64, 1, 1, 'same-user', 9, 1, 1, null, null, null, 'booting', 0, 1, 1, 1, 0, 2, 2);
    insert into vwn_event (vwn, at_ms, event, from_state, to_state) values ('v1', 1, 'ready', 'booting', 'idle');
    insert into job (id, host, name, state, user, uid, gid, group_name, groups, submitted_at_ms, phases) values ('h1-1', 'h1', 'x', 'waiting', 'ada', 1000, 100, 'users', '[]', 1, '{}');`)
  old.close()
  const db = openDatabase(file())
  expect(presentVwns(db).map(({ limits, owner }) => [limits.reuse, owner])).toEqual([
    ['never', { user: 'ada', uid: 1000, gid: 4294967295, group: 'users', project: null }], ['same-user', null],
  ])
  expect(db.sql.prepare('select count(*) from vwn_event').pluck().get()).toBe(1)
  expect(liveJobs(db)).toMatchObject([{ job: 'h1-1', scrubReceipt: null }])
  expect(() => db.sql.prepare(`update vwn set reuse = 'everybody'`).run()).toThrow(/check/i)
  db.sql.prepare(`update vwn set reuse = 'same-project'`).run()
  db.close()
})

test('counters rise over restarts', () => {
  const first = openDatabase(file())
  expect([nextTerm(first), nextVwnId(first), nextVwnId(first)]).toEqual([1, 'v1', 'v2'])
  first.close()
  const second = openDatabase(file())
  expect([nextTerm(second), nextVwnId(second)]).toEqual([2, 'v3'])
  second.close()
})

test('the states that the database allows are the states that there are', () => {
  const db = openDatabase(file())
  const allowed = (table: string): string[] => {
    const sql = String(db.sql.prepare('select sql from sqlite_schema where name = ?').pluck().get(table))
    const list = /\bstate\s+text not null check \(state in \(([^)]*)\)\)/.exec(sql)?.[1] ?? ''
    return list.split(',').map((word) => word.trim().replaceAll("'", ''))
  }
  expect(allowed('vwn')).toEqual([...vwnStates])
  expect(allowed('job')).toEqual([...jobStates])
  db.close()
})
