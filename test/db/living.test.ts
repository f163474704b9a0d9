/** What lives is in memory as it is in its rows. */
import Sqlite from 'better-sqlite3'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { HostId } from '../../core/ids.ts'
import type { Database } from '../../db/open.ts'
import { countJobs, listJobs, liveJobs, liveJobsOn, saveDecision, waitingJobs, type JobRecord } from '../../db/queries/job.ts'
import { countVwns, listVwns, presentVwns, presentVwnsOn, saveVwn } from '../../db/queries/vwn.ts'
import { transaction } from '../../db/statement.ts'
import { farmLife, happenings, type FarmLife } from '../harness/farm-life.ts'

/** All that there is, by this connection. */
const alive = (db: Database): unknown => ({
  vwns: presentVwns(db).sort((a, b) => (a.id < b.id ? -1 : 1)),
  jobs: liveJobs(db).sort((a, b) => (a.job < b.job ? -1 : 1)),
})

/** The same, by a connection that remembers nothing. */
function inRows({ db: { sql: { name } } }: FarmLife): unknown {
  const sql = new Sqlite(name, { readonly: true })
  try {
    return alive({ sql, close: () => undefined })
  } finally {
    sql.close()
  }
}

const counted = (rows: readonly { readonly state: string }[]): Record<string, number> =>
  rows.reduce<Record<string, number>>((sum, { state }) => ({ ...sum, [state]: (sum[state] ?? 0) + 1 }), {})

interface Page<T> {
  list(page: { readonly limit: number; readonly afterMs?: number; readonly afterId?: string }): readonly T[]
  placeOf(row: T): { readonly afterMs: number; readonly afterId: string }
}
function pageByPage<T>({ list, placeOf }: Page<T>): T[] {
  const rows = [...list({ limit: 3 })]
  for (let last = rows.at(-1); last !== undefined; ) {
    const more = list({ limit: 3, ...placeOf(last) })
    rows.push(...more)
    last = more.at(-1)
  }
  return rows
}

test('whatever happens, memory, rows, lists and counts say the same', () => {
  const steps = fc.array(happenings, { minLength: 60, maxLength: 120 })
  fc.assert(fc.property(steps, (happened) => {
    using life = farmLife()
    for (const happening of happened) {
      life.pass(1 + (happening.pick % 5))
      life.happen(happening)
    }
    const { db } = life
    expect(alive(db)).toEqual(inRows(life))
    for (const host of ['h1', 'h2'] as HostId[]) {
      expect(new Set(presentVwnsOn(db, host))).toEqual(new Set(presentVwns(db).filter((vwn) => vwn.host === host)))
      expect(new Set(liveJobsOn(db, host))).toEqual(new Set(liveJobs(db).filter((job) => job.host === host)))
    }
    expect(new Set(waitingJobs(db))).toEqual(new Set(liveJobs(db).filter((job) => job.state === 'waiting' && job.refusal === null && !job.bare)))
    const [everyVwn, everyJob] = [listVwns(db, { gone: true, limit: 1_000 }), listJobs(db, { limit: 1_000 })]
    expect(pageByPage({ list: (page) => listVwns(db, { gone: false, ...page }), placeOf: ({ createdAtMs, id }) => ({ afterMs: createdAtMs, afterId: id }) }))
      .toEqual(everyVwn.filter(({ state }) => state !== 'gone'))
    expect(pageByPage({ list: (page) => listJobs(db, { only: 'live', ...page }), placeOf: ({ submittedAtMs, job }) => ({ afterMs: submittedAtMs, afterId: job }) }))
      .toEqual(everyJob.filter(({ state }) => state !== 'ended'))
    expect(listJobs(db, { only: 'ended', limit: 1_000 })).toEqual(everyJob.filter(({ state }) => state === 'ended'))
    for (const state of new Set(everyVwn.map((vwn) => vwn.state))) {
      expect(listVwns(db, { state, gone: true, limit: 1_000 })).toEqual(everyVwn.filter((vwn) => vwn.state === state))
    }
    for (const state of [...new Set(everyJob.map((job) => job.state)), undefined]) {
      for (const user of [...new Set(everyJob.map(({ identity }) => identity.user)), undefined]) {
        for (const only of ['live', 'ended', undefined] as const) {
          const fits = (job: JobRecord): boolean => (state ?? job.state) === job.state && (user ?? job.identity.user) === job.identity.user && (only === undefined || (only === 'ended') === (job.state === 'ended'))
          expect(listJobs(db, { state, user, only, limit: 1_000 })).toEqual(everyJob.filter(fits))
        }
      }
    }
    expect(countVwns(db)).toEqual(counted(everyVwn))
    expect(countJobs(db)).toEqual(counted(everyJob))
  }), { numRuns: 10, endOnFailure: true })
}, 60_000)

test('what a failed transaction has written is forgotten with it', () => {
  using life = farmLife()
  for (const is of ['requested', 'submitted'] as const) life.happen({ is, pick: 1 })
  const before = alive(life.db)
  expect(() => transaction(life.db, () => {
    for (const vwn of presentVwns(life.db)) saveVwn(life.db, { ...vwn, state: 'gone', endedAtMs: 1 })
    for (const { job } of liveJobs(life.db)) saveDecision(life.db, job, { type: null, rule: null, why: 'because', refusal: null, bare: false, placementMs: 1, made: null })
    expect(presentVwns(life.db)).toEqual([])
    throw new Error('no')
  })).toThrow('no')
  expect(alive(life.db)).toEqual(before)
})
