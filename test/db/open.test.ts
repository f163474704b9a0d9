import Sqlite from 'better-sqlite3'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { jobStates } from '../../wire/api.ts'
import { vwnStates } from '../../core/vwn.ts'
import { migrations } from '../../db/migrate.ts'
import { openDatabase } from '../../db/open.ts'
import { nextTerm, nextVwnId } from '../../db/queries/meta.ts'

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

test('a second owner is refused until the first has closed; a reader is not', () => {
  const first = openDatabase(file())
  expect(() => openDatabase(file())).toThrow(expect.objectContaining({ code: 'DATABASE_IN_USE' }))
  nextTerm(first)
  const reader = new Sqlite(file(), { readonly: true })
  expect(reader.prepare('select value from meta').pluck().get()).toBe(1)
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
