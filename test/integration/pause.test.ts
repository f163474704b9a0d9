/** VWNs that are nobody's, with real guests: they stand still, are right in time when they wake, and are given up when they do not. */
import { readdirSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import type { GuestSession } from '../../bait/contracts.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { connectGuest } from '../../bait/ssh/session.ts'
import { wakeMs } from '../../bait/vwns/wake.ts'
import { vwnId } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import { processOf } from '../../kit/process.ts'
import { until } from '../../kit/until.ts'
import { baitLab, type BaitLab } from '../bait/lab.ts'
import { workFor } from '../contract/hypervisor.ts'
import { testImages } from '../harness/images.ts'

const images = testImages()
const image = await images.named('debian12')
const bootMs = 90_000
/** What a guest's clock may be wrong by. */
const errorMsMax = 50

const owner = (uid: number) => ({ uid, gid: uid, project: null })
const handleOf = (lab: BaitLab, vwn: string) => lab.bait.parts.vwns.get(vwnId(vwn))?.handle
const pidOf = (lab: BaitLab, vwn: string): number => handleOf(lab, vwn)?.vm?.pid ?? 0

/** Milliseconds of processor that each thread has used, to the microsecond: stat(5) counts ticks of a hundredth of a second. */
const threadsOf = (pid: number): ReadonlyMap<string, number> =>
  new Map(readdirSync(`/proc/${pid}/task`).map((thread) => [thread, Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]) / 1e6]))

/** What they have used since then, together. */
const usedMs = (pid: number, before: ReadonlyMap<string, number>): number =>
  [...threadsOf(pid)].reduce((sum, [thread, ms]) => sum + ms - (before.get(thread) ?? 0), 0)

/** The guest's clock less the host's: the least and the most that it can be, from an exchange that took no longer than the error allowed. */
async function clockError(session: GuestSession): Promise<readonly [number, number]> {
  const channel = await session.exec("bash -c 'while read -r line; do echo $EPOCHREALTIME; done'")
  const lines = createInterface({ input: channel })
  try {
    return await until(async () => {
      const askedMs = systemClock.nowMs()
      channel.write('\n')
      const [said] = await once(lines, 'line') as [string]
      const heardMs = systemClock.nowMs()
      const guestMs = Number(said) * 1_000
      return heardMs - askedMs <= errorMsMax ? [guestMs - heardMs, guestMs - askedMs] as const : null
    }, { withinMs: 30_000, what: 'a quick answer of the guest' })
  } finally {
    channel.destroy()
  }
}

test.skipIf(image === null)(`ready VWNs stand still, wake with a right clock, and go when they cannot${image === null ? ': no image debian12' : ''}`, { timeout: 600_000 }, async () => {
  if (image === null) return
  await using lab = await baitLab({
    templates: true, contact: 'agent', deadlineMs: bootMs, hypervisor: qemu({ clock: systemClock }), images: images.store, image: image.digest, memoryMib: Math.max(256, image.manifest.minMemoryMib),
  })
  const still = new Set<string>()
  await lab.start({ connectGuest, after: (effect, { vwn }) => void (effect === 'paused' && still.add(vwn)) })
  const names = ['v1', 'v2', 'v3']
  lab.order(...names.map((name) => lab.wanted(name)))
  for (const name of names) await lab.seen(name, 'idle', 3 * bootMs)
  await until(() => still.size === names.length, { withinMs: 20_000, what: 'all stand still' })
  expect(names.map((name) => handleOf(lab, name)?.made)).toEqual(['clone', 'clone', 'clone'])
  const pausedAtMs = systemClock.nowMs()

  const before = names.map((name) => threadsOf(pidOf(lab, name)))
  workFor(500)
  await until(() => systemClock.nowMs() - pausedAtMs > 5_000, { withinMs: 10_000, what: 'guests that are late by seconds' })
  // QEMU itself looks after its network twice a second, which takes it less than a millisecond.
  const used = names.map((name, nth) => usedMs(pidOf(lab, name), before[nth] ?? new Map()))
  expect(used.filter((ms) => ms > 10), `used: ${used.join()} ms`).toEqual([])

  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1', { job, owner: owner(1000) }), lab.wanted('v2'), lab.wanted('v3'))
  const assigned = await until(() => lab.jobs.assigned[0], { withinMs: 20_000, what: 'the job in its VWN' })
  const [least, most] = await clockError(assigned.place.session)
  expect(least).toBeLessThanOrEqual(errorMsMax)
  expect(most).toBeGreaterThanOrEqual(-errorMsMax)
  expect(Math.abs((least + most) / 2)).toBeLessThanOrEqual(errorMsMax)
  assigned.end(false)

  process.kill(pidOf(lab, 'v2'), 'SIGKILL')
  expect(await lab.seen('v2', 'gone', 20_000)).toMatchObject({ cause: { code: 'VWN_DIED' } })

  const frozen = pidOf(lab, 'v3')
  process.kill(frozen, 'SIGSTOP')
  const next = lab.jobs.submit('h1-2', 1001)
  lab.order(lab.wanted('v1', { owner: owner(1000) }), lab.wanted('v3', { job: next, owner: owner(1001) }))
  expect(await lab.seen('v3', 'gone', wakeMs + 10_000)).toMatchObject({ cause: { code: 'VWN_SILENT', message: expect.stringContaining('what=wake') as string } })
  expect(processOf(frozen)).toBeNull()
  expect(lab.jobs.waits(next)).toBe(true)
  lab.order(lab.wanted('v1', { owner: owner(1000) }), lab.wanted('v4', { job: next, owner: owner(1001) }))
  await until(() => lab.jobs.assigned[1]?.place.vwn === 'v4', { withinMs: bootMs, what: 'the job in another VWN' })
  lab.jobs.assigned[1]?.end(false)
  lab.order()
  await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: 20_000, what: 'no VWN' })
  expect(await lab.audit()).toEqual([])
})
