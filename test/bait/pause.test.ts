/** VWNs that are nobody's: paused while they are, woken for a job, and what becomes of those that cannot be woken. */
import { expect, test } from 'vitest'
import type { EffectName } from '../../bait/vwns/boot.ts'
import type { Handle } from '../../bait/vwns/handles.ts'
import { wakeMs } from '../../bait/vwns/wake.ts'
import { VwnError } from '../../core/errors.ts'
import { vwnId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import { baitLab, type BaitLab } from './lab.ts'

const handleOf = (lab: BaitLab, vwn = 'v1'): Handle | undefined => lab.bait.parts.vwns.get(vwnId(vwn))?.handle
const vmOf = (lab: BaitLab, vwn = 'v1') => lab.hypervisor.vms.findLast(({ handle }) => handle.name.endsWith(`.${vwn}`))
const paused = (lab: BaitLab, vwn = 'v1') => until(() => handleOf(lab, vwn)?.paused === true && vmOf(lab, vwn)?.state === 'paused', { withinMs: 5_000, what: `${vwn} stands still` })
const assigned = (lab: BaitLab, count = 1) => until(() => lab.jobs.assigned[count - 1], { withinMs: 5_000, what: `job ${count} in its VWN` })

/** What the controller hears of it. */
const told = (lab: BaitLab, state: string, paused: boolean) =>
  until(() => lab.reports.at(-1)?.vwns.some((vwn) => vwn.vwn === 'v1' && vwn.state === state && vwn.paused === paused), { withinMs: 5_000, what: `v1 ${state}, ${paused ? 'paused' : 'running'}` })

/** A user with a group of the same number. */
const owner = (uid: number) => ({ uid, gid: uid, project: null })

/** A bait with one VWN that is nobody's, and stands still. */
async function lab(): Promise<BaitLab> {
  const made = await baitLab()
  await made.start()
  made.order(made.wanted('v1'))
  await made.seen('v1', 'idle')
  return made
}

test('a VWN that is nobody\'s stands still with its session open, and its guest runs and is right in time before a job is in it', async () => {
  await using it = await lab()
  await paused(it)
  expect(handleOf(it)).toMatchObject({ paused: true, owner: null, job: null })
  expect(it.jobs.sessions.map(({ still }) => still)).toEqual([true])
  await told(it, 'idle', true)
  await until(() => (vmOf(it)?.lateMs() ?? 0) > 100, { withinMs: 5_000, what: 'a clock that is late' })
  const job = it.jobs.submit('h1-1')
  it.order(it.wanted('v1', { job, owner: owner(1000) }))
  const { place } = await assigned(it)
  await told(it, 'busy', false)
  expect(vmOf(it)).toMatchObject({ state: 'running' })
  expect(vmOf(it)?.lateMs()).toBe(0)
  expect(place.session).toBe(it.jobs.sessions[0])
  expect(it.jobs.sessions.map(({ still }) => still)).toEqual([false])
})

test('once somebody\'s it is never paused again, nor is one that was made for a job', async () => {
  await using it = await lab()
  await paused(it)
  const job = it.jobs.submit('h1-1')
  it.order(it.wanted('v1', { job, owner: owner(1000) }), it.wanted('v2', { owner: owner(1001) }), it.wanted('v3', { job: it.jobs.submit('h1-2', 1001) }))
  const first = await assigned(it, 1)
  const second = await assigned(it, 2)
  first.end()
  second.end(false)
  for (const vwn of ['v1', 'v2', 'v3']) await it.seen(vwn, 'idle')
  await it.stop()
  expect(it.hypervisor.vms.map(({ state }) => state)).toEqual(['running', 'running', 'running'])
})

test('one with a job stands still for it and goes on right in time, and is woken before anybody else is let in', async () => {
  await using it = await lab()
  it.order(it.wanted('v1', { job: it.jobs.submit('h1-1'), owner: owner(1000) }))
  const { place, end } = await assigned(it)
  await place.stillness?.freeze()
  await place.stillness?.freeze()
  expect([vmOf(it)?.state, it.jobs.sessions.at(-1)?.still]).toEqual(['paused', true])
  await told(it, 'busy', true)
  await until(() => (vmOf(it)?.lateMs() ?? 0) > 100, { withinMs: 5_000, what: 'a clock that is late' })
  await place.stillness?.wake()
  await told(it, 'busy', false)
  expect([vmOf(it)?.state, vmOf(it)?.lateMs(), it.jobs.sessions.at(-1)?.still]).toEqual(['running', 0, false])
  await place.stillness?.freeze()
  let scrubbedWhile: string | undefined
  it.jobs.scrub = () => {
    scrubbedWhile = vmOf(it)?.state
    return Promise.resolve({ checked: ['processes'], left: [], tookMs: 1 })
  }
  end()
  await it.seen('v1', 'idle')
  expect([scrubbedWhile, vmOf(it)?.state]).toEqual(['running', 'running'])
})

test('one that stands still with its job and does not wake is removed, which the job hears', { timeout: wakeMs + 10_000 }, async () => {
  await using it = await lab()
  it.order(it.wanted('v1', { job: it.jobs.submit('h1-1'), owner: owner(1000) }))
  const { place } = await assigned(it)
  await place.stillness?.freeze()
  it.hypervisor.freeze(vmOf(it)?.handle.name ?? '')
  await place.stillness?.wake()
  await place.session.closed
  expect(await it.seen('v1', 'gone', wakeMs + 3_000)).toMatchObject({ cause: { code: 'VWN_SILENT' } })
  expect(await it.audit()).toEqual([])
})

test('a bait that comes back wakes one that stood still with its job, sets its clock, and scrubs it', async () => {
  await using it = await lab()
  it.order(it.wanted('v1', { job: it.jobs.submit('h1-1'), owner: owner(1000) }))
  const { place } = await assigned(it)
  await place.stillness?.freeze()
  await it.stop()
  expect(vmOf(it)?.state).toBe('paused')
  await until(() => (vmOf(it)?.lateMs() ?? 0) > 100, { withinMs: 5_000, what: 'a clock that is late' })
  await it.start()
  it.order(it.wanted('v1', { owner: owner(1000) }))
  await it.seen('v1', 'idle')
  expect(vmOf(it)?.state).toBe('running')
  expect(vmOf(it)?.lateMs()).toBeLessThan(100)
})

test('a paused one goes at once when it is told to, without a word to a guest that cannot hear', async () => {
  await using it = await lab()
  await paused(it)
  it.order(it.wanted('v1', { want: 'gone' }))
  await it.seen('v1', 'gone')
  expect(vmOf(it)).toMatchObject({ state: 'ended', asked: false })
  expect(await it.audit()).toEqual([])
})

test('a paused VM that ends is seen, and reported', async () => {
  await using it = await lab()
  await paused(it)
  await it.hypervisor.crash(vmOf(it)?.handle.name ?? '')
  expect(await it.seen('v1', 'gone')).toMatchObject({ cause: { code: 'VWN_DIED' } })
  expect(await it.audit()).toEqual([])
})

test('one that does not wake is removed for that reason within its deadline, and its job still waits', { timeout: wakeMs + 10_000 }, async () => {
  await using it = await lab()
  await paused(it)
  it.hypervisor.freeze(vmOf(it)?.handle.name ?? '')
  const job = it.jobs.submit('h1-1')
  it.order(it.wanted('v1', { job, owner: owner(1000) }))
  const gone = await it.seen('v1', 'gone', wakeMs + 3_000)
  expect(gone).toMatchObject({ cause: { code: 'VWN_SILENT', message: expect.stringContaining(`what=wake wakeMs=${wakeMs}`) as string } })
  expect(it.jobs.waits(job)).toBe(true)
  it.order(it.wanted('v2', { job, owner: owner(1000) }))
  expect((await assigned(it)).place.vwn).toBe('v2')
  expect(await it.audit()).toEqual([])
})

test('a session that breaks under a paused VWN is opened again, and the VWN paused again', async () => {
  await using it = await lab()
  await paused(it)
  it.jobs.sessions[0]?.breakOff()
  await until(() => it.jobs.sessions[1]?.still === true, { withinMs: 5_000, what: 'a new session, at rest' })
  await paused(it)
  const job = it.jobs.submit('h1-1')
  it.order(it.wanted('v1', { job }))
  expect((await assigned(it)).place.session).toBe(it.jobs.sessions[1])
})

test('a bait that comes back wakes what was paused, sets its clock, and pauses it again', async () => {
  await using it = await lab()
  for (const vwn of ['v2', 'v3', 'v4']) {
    it.order(...['v1', 'v2', 'v3', 'v4'].filter((name) => name <= vwn).map((name) => it.wanted(name)))
    await it.seen(vwn, 'idle')
  }
  for (const vwn of ['v1', 'v2', 'v3', 'v4']) await paused(it, vwn)
  const ran = it.hypervisor.vms.map((vm) => vm.ranMs())
  await it.stop()
  expect(it.hypervisor.vms.map(({ state }) => state)).toEqual(['paused', 'paused', 'paused', 'paused'])
  await until(() => it.hypervisor.vms.every((vm) => vm.lateMs() > 100), { withinMs: 5_000, what: 'clocks that are late' })
  await it.start()
  await until(() => it.hypervisor.vms.every((vm, nth) => vm.state === 'paused' && vm.ranMs() > (ran[nth] ?? 0) && vm.lateMs() < 100), { withinMs: 5_000, what: 'all woken and paused again' })
  const job = it.jobs.submit('h1-1')
  it.order(...['v1', 'v2', 'v4'].map((name) => it.wanted(name)), it.wanted('v3', { job }))
  expect((await assigned(it)).place.vwn).toBe('v3')
  expect(await it.audit()).toEqual([])
})

test.each(['paused', 'woken'] as const)('a failure right after %s is undone whole', async (effect: EffectName) => {
  await using it = await baitLab()
  let failed = false
  await it.start({
    after: (now) => {
      if (now !== effect || failed) return
      failed = true
      throw new VwnError('DISK_FULL', { effect })
    },
  })
  it.order(it.wanted('v1'))
  if (effect === 'woken') {
    await paused(it)
    it.order(it.wanted('v1', { job: it.jobs.submit('h1-1') }))
  }
  expect(await it.seen('v1', 'gone')).toMatchObject({ cause: { code: 'DISK_FULL' } })
  expect(it.hypervisor.vms.every((vm) => vm.state === 'ended')).toBe(true)
  expect(await it.audit()).toEqual([])
})

test('a job that comes while its VWN is being paused gets it running', async () => {
  await using it = await baitLab()
  let order = (): void => undefined
  await it.start({ after: (effect) => void (effect === 'ready' && order()) })
  order = () => it.order(it.wanted('v1', { job: it.jobs.submit('h1-1') }))
  it.order(it.wanted('v1'))
  await assigned(it)
  expect(vmOf(it)).toMatchObject({ state: 'running' })
})
