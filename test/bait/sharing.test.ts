/** A bait's own door: who is let into which VWN, what is certified to him, and what becomes of a VWN whose scrub proves nothing. */
import { expect, test } from 'vitest'
import { freshHandle } from '../../bait/vwns/handles.ts'
import { objectionTo, scrubReceiptOf } from '../../bait/vwns/sharing.ts'
import { typeName, vwnId } from '../../core/ids.ts'
import { systemClock, type Clock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'
import { scrubReceiptSchema, type WantedVwn } from '../../wire/bait.ts'
import type { Assigned } from './played-jobs.ts'
import { baitLab, imageDigest, type BaitLab } from './lab.ts'

interface Who {
  readonly uid: number
  readonly gid?: number
  readonly project?: string | null
}
const ada: Who = { uid: 1000, gid: 100, project: 'higgs' }
const ben: Who = { uid: 1001, gid: 100, project: 'top' }
const cleo: Who = { uid: 1002, gid: 101, project: 'higgs' }
const root: Who = { uid: 0, gid: 100, project: 'higgs' }
const drifter: Who = { uid: 1003, gid: 100, project: null }

/** Orders that put this job into v1; the controller says whose it is, rightly or not. */
function send(lab: BaitLab, name: string, who: Who, changes: Partial<WantedVwn>): void {
  const job = lab.jobs.submit(name, who.uid, who.gid, who.project)
  lab.order(lab.wanted('v1', { job, ...changes }))
}

/** The job comes into v1. */
async function comesIn(lab: BaitLab, name: string, who: Who, changes: Partial<WantedVwn> = {}): Promise<Assigned> {
  send(lab, name, who, changes)
  return until(() => lab.jobs.assigned.find(({ job }) => job === name), { withinMs: 5_000, what: `${name} comes in` })
}

async function goesOut(lab: BaitLab, assigned: Assigned): Promise<void> {
  assigned.end()
  await lab.seen('v1', 'idle')
}

const refused: readonly [string, Partial<WantedVwn>, Who, Who][] = [
  ['another user, by same-user', { reuse: 'same-user' }, ada, ben],
  ['a job after the only one, by never', { reuse: 'never' }, ada, ada],
  ['another group, by same-group', { reuse: 'same-group' }, ada, cleo],
  ['another project, by same-project', { reuse: 'same-project' }, ada, ben],
  ['a job of no project, by same-project', { reuse: 'same-project' }, ada, drifter],
  ['a job of no project after another user of none, by same-project', { reuse: 'same-project' }, drifter, { uid: 1000, project: null }],
  ['root, by same-group', { reuse: 'same-group' }, ada, root],
  ['anybody after root, by same-project', { reuse: 'same-project' }, root, ada],
]

test.each(refused)('%s is not let in, whatever the controller says', async (_name, changes, first, second) => {
  await using lab = await baitLab()
  await lab.start()
  await goesOut(lab, await comesIn(lab, 'h1-1', first, changes))
  send(lab, 'h1-2', second, changes)
  await until(() => lab.jobs.answers.length === 1, { withinMs: 5_000 })
  expect(lab.jobs.answers[0]).toMatchObject({ job: 'h1-2', is: 'refused', failure: { code: 'VWN_NOT_OWNER' } })
  expect(lab.jobs.assigned).toHaveLength(1)
})

test('a guest without the agent is for one user, whatever its policy: its scrub looks less closely', () => {
  const spec = (contact: 'agent' | 'ssh') => ({ type: typeName('small'), image: imageDigest('a'.repeat(64)), contact, shape: { cpus: 1, memoryMib: 64, scratchGib: 1 }, network: 'isolated', bootMs: 1 }) as const
  const [owner, other] = [{ uid: 1000, gid: 100, project: null }, { uid: 1001, gid: 100, project: null }]
  const made = (contact: 'agent' | 'ssh') =>
    freshHandle({ vwn: vwnId('v1'), token: { term: 1, epoch: 1 }, spec: spec(contact), reuse: 'same-group', owner, bootId: 'b', accelerator: 'tcg', nowMs: 1 })
  expect(objectionTo(made('agent'), null, other)).toBeNull()
  expect(objectionTo(made('ssh'), null, other)).toContain('reuse is same-user')
  expect(objectionTo(made('ssh'), null, owner)).toBeNull()
  expect(scrubReceiptOf(made('ssh'), owner, 1)).toMatchObject({ policy: 'same-user' })
})

test('a policy that the Orders widen later widens nothing', async () => {
  await using lab = await baitLab()
  await lab.start()
  await goesOut(lab, await comesIn(lab, 'h1-1', ada, { reuse: 'same-user' }))
  send(lab, 'h1-2', ben, { reuse: 'same-group' })
  await until(() => lab.jobs.answers.length === 1, { withinMs: 5_000 })
  expect(lab.jobs.answers[0]).toMatchObject({ is: 'refused', failure: { code: 'VWN_NOT_OWNER', message: expect.stringContaining('reuse same-user, not same-group') as string } })
})

test('a VWN that is made for somebody takes nobody else first', async () => {
  await using lab = await baitLab()
  await lab.start()
  send(lab, 'h1-1', ben, { owner: { uid: 1000, gid: 100, project: 'higgs' } })
  await until(() => lab.jobs.answers.length === 1, { withinMs: 5_000 })
  expect(lab.jobs.assigned).toHaveLength(0)
})

test('each job is told what its VWN is and whose it was; a bait that is started again between two jobs still knows', async () => {
  await using lab = await baitLab()
  await lab.start()
  const changes = { reuse: 'same-group' } as const
  const receipts = async (name: string, who: Who) => {
    const assigned = await comesIn(lab, name, who, changes)
    await goesOut(lab, assigned)
    return scrubReceiptSchema.parse(assigned.facts.scrubReceipt)
  }
  const first = await receipts('h1-1', ada)
  expect(first).toMatchObject({ image: lab.spec.image, made: 'boot', template: null, policy: 'same-group', jobsBefore: 0, before: 'nobody', scrub: null })
  expect(first.overlay).toMatch(/^\w{10}$/)
  const second = await receipts('h1-2', ada)
  expect(second).toMatchObject({ jobsBefore: 1, before: 'same-user', overlay: first.overlay, scrub: { checked: ['processes'], tookMs: 3 } })
  expect(second.scrub?.atMs).toBeGreaterThan(first.atMs)

  await lab.stop()
  await lab.start()
  const third = await receipts('h1-3', ben)
  expect(third).toMatchObject({ jobsBefore: 2, before: 'same-group', overlay: first.overlay, scrub: { checked: ['processes'], tookMs: 3 } })
  expect(third.scrub?.atMs).toBeGreaterThan(second.scrub?.atMs ?? Infinity)
  await lab.stop()
  await lab.start()
  expect(await receipts('h1-4', ada)).toMatchObject({ jobsBefore: 3, before: 'same-group' })
})

test('a new VWN has an overlay of its own', async () => {
  await using lab = await baitLab()
  await lab.start()
  const [one, two] = [lab.jobs.submit('h1-1'), lab.jobs.submit('h1-2')]
  lab.order(lab.wanted('v1', { job: one }), lab.wanted('v2', { job: two }))
  await until(() => lab.jobs.assigned.length === 2, { withinMs: 5_000 })
  expect(new Set(lab.jobs.assigned.map(({ facts }) => facts.scrubReceipt.overlay)).size).toBe(2)
})

/** Everything is as long as it is, but what takes a minute and a half is soon over. */
const hasty: Clock = { ...systemClock, after: (ms, call) => systemClock.after(ms === 90_000 ? 50 : ms, call) }

test('a scrub that does not end in its time retires the VWN', async () => {
  await using lab = await baitLab({ clock: hasty })
  await lab.start()
  lab.jobs.scrub = (_place, signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
  const assigned = await comesIn(lab, 'h1-1', ada)
  assigned.end()
  expect(await lab.seen('v1', 'gone')).toMatchObject({ cause: { code: 'VWN_SILENT', message: expect.stringContaining('what=scrub') as string } })
  expect(await lab.audit()).toEqual([])
})
