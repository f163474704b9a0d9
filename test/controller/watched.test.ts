/** Whatever happens to a farm in whatever order: who watches knows what it shows, and history says what it showed. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { changesMax, openWatchedFarm } from '../../controller/http/farm.ts'
import { historyBounds, pastFarm } from '../../controller/http/history.ts'
import { farmGeneration } from '../../db/queries/meta.ts'
import { farmSchema, type Farm } from '../../wire/farm.ts'
import { pastFarmSchema, type PastFarm } from '../../wire/history.ts'
import { eventsIn } from '../harness/event-stream.ts'
import { farmLife, happenings, type FarmLife } from '../harness/farm-life.ts'
import { farmWatcher, sorted, type FarmWatcher } from '../harness/farm-watcher.ts'

const farmNow = (life: FarmLife): Farm => farmSchema.parse(JSON.parse(Buffer.concat(openWatchedFarm(life).now().pieces).toString('utf8')))

/** One turn of the server for this watcher, which fetches the farm where it has to. */
function catchUp(life: FarmLife, watcher: FarmWatcher): void {
  const { text } = openWatchedFarm(life).changes.after(watcher.generation)
  for (const event of eventsIn(text)) if (!watcher.heard(event)) watcher.fetched(farmNow(life))
}

test('whoever catches up, from any generation, over restarts and forgotten history, knows what the farm shows', () => {
  const step = fc.record({ happening: happenings, who: fc.nat(15) })
  fc.assert(fc.property(fc.array(step, { minLength: 60, maxLength: 120 }), (steps) => {
    using life = farmLife()
    const watchers = [farmWatcher(), farmWatcher(), farmWatcher()]
    for (const { happening, who } of steps) {
      life.pass(1 + (happening.pick % 5))
      const before = farmGeneration(life.db)
      life.happen(happening)
      if (happening.is === 'beat') expect(farmGeneration(life.db)).toBe(before)
      watchers.forEach((watcher, index) => { if ((who >> index) % 2 === 1) catchUp(life, watcher) })
    }
    for (const watcher of watchers) {
      catchUp(life, watcher)
      expect(watcher.generation).toBe(farmGeneration(life.db))
      expect(watcher.rows()).toEqual(sorted(farmNow(life)))
    }
  }), { numRuns: 10, endOnFailure: true })
}, 60_000)

test('history says of each moment what the farm showed then', () => {
  fc.assert(fc.property(fc.array(happenings, { minLength: 60, maxLength: 100 }), (steps) => {
    using life = farmLife()
    const shown: { readonly atMs: number; readonly farm: Farm }[] = []
    for (const happening of steps) {
      life.pass(1 + (happening.pick % 5))
      life.happen(happening)
      shown.push({ atMs: life.kit.clock.nowMs(), farm: farmNow(life) })
    }
    const { fromMs, toMs } = historyBounds(life)
    for (const { atMs, farm } of shown) {
      if (atMs < fromMs) expect(() => pastFarm(life, atMs)).toThrow(expect.objectContaining({ code: 'HISTORY_UNKNOWN' }))
      else expect(kept(pastFarmSchema.parse(pastFarm(life, atMs)))).toEqual(kept(farm))
    }
    expect(() => pastFarm(life, toMs + 1)).toThrow(expect.objectContaining({ code: 'HISTORY_UNKNOWN' }))
  }), { numRuns: 10, endOnFailure: true })
}, 60_000)

/** What of a farm is written down for later. */
const kept = (farm: Farm | PastFarm): unknown => ({
  hosts: farm.hosts.map(({ host, used }) => ({ host, used })),
  vwns: farm.vwns.map(({ paused: _, ...vwn }) => vwn).sort((a, b) => (a.vwn < b.vwn ? -1 : 1)),
  jobs: farm.jobs.map(({ job, name, host, user, queue, batchSystem, batchJobId, submittedAtMs }) => ({ job, name, host, user, queue, batchSystem, batchJobId, submittedAtMs })).sort((a, b) => (a.job < b.job ? -1 : 1)),
})

test('whoever has missed very much is told to fetch the farm', () => {
  using life = farmLife()
  const watched = openWatchedFarm(life)
  const before = farmGeneration(life.db)
  life.db.sql.exec('begin')
  for (let pick = 0; pick < changesMax; pick += 1) life.happen({ is: 'submitted', pick })
  expect(watched.changes.after(before).text).toMatch(/^id: \d+\nevent: change\n/)
  life.happen({ is: 'submitted', pick: 0 })
  life.db.sql.exec('commit')
  expect(watched.changes.after(before).text).toMatch(/^event: reset\n/)
})

test('what a host holds is told when a VWN comes, and when it goes', () => {
  using life = farmLife()
  const watcher = farmWatcher()
  const used = (): unknown => {
    catchUp(life, watcher)
    return watcher.rows().hosts.map((host) => host.used.memoryMib)
  }
  expect(used()).toEqual([0, 0])
  life.happen({ is: 'requested', pick: 2 })
  expect(used()).toEqual([512, 0])
  life.happen({ is: 'moved', pick: 21 }) // rejected
  expect(watcher.rows().vwns).toHaveLength(1)
  expect(used()).toEqual([0, 0])
  expect(watcher.rows().vwns).toEqual([])
})
