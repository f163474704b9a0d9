import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fits } from '../../core/amount.ts'
import { isHopeless, type ErrorCode } from '../../core/errors.ts'
import { failure } from '../../core/failure.ts'
import { hostId, imageDigest, jobId, typeName, vwnId } from '../../core/ids.ts'
import type { Host } from '../../core/host.ts'
import { fallbacks, type Mapping, type Rule, type VwnType } from '../../core/mapping.ts'
import { held, imageOn, place, type PlacementWant } from '../../core/placement.ts'
import { attemptsMax, concerning, explainPlacement, plan, readyFailuresMax, retired, type Decision, type Farm, type WaitingJob } from '../../core/schedule.ts'
import { isReservedFor, isUnclaimed, requestVwn, step, type Vwn } from '../../core/vwn.ts'
import { anna, ben, digest, h1, h2, hostWith, jobWith, limits, owner, shuffled, token, type, vwnWith } from './samples.ts'

const want = (facts: Partial<PlacementWant> = {}): PlacementWant => ({ type, shape: type.shape, owner: anna, pinnedHost: h1, perUser: null, takesReady: true, ...facts })
const warm = (name: string, facts: Partial<Vwn> = {}): Vwn => vwnWith({ id: vwnId(name), state: 'idle', job: null, ...facts })
const ready = (name: string, facts: Partial<Vwn> = {}): Vwn => warm(name, { owner: null, pooled: true, ...facts })
const busy = (name: string, facts: Partial<Vwn> = {}): Vwn => vwnWith({ id: vwnId(name), state: 'busy', job: jobId('h1-90'), ...facts })

describe('a job', () => {
  test('takes the warm VWN of its user that has run fewest jobs', () => {
    const vwns = [warm('v1', { jobsRun: 2 }), warm('v2', { jobsRun: 1 }), warm('v3', { jobsRun: 1 }), warm('v4', { owner: ben, jobsRun: 0 })]
    expect(place(want(), [hostWith()], vwns, [], 0)).toMatchObject({ is: 'reuse', vwn: 'v2', made: 'reused', why: 'v2 is warm' })
  })

  test('prefers a VWN that is being cleaned for its user to a new one, but not to a clean one', () => {
    expect(place(want(), [hostWith()], [warm('v1', { state: 'cleaning' })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v1' })
    expect(place(want(), [hostWith()], [warm('v1', { state: 'cleaning' }), warm('v2', { jobsRun: 2 })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v2' })
  })

  test('takes what was being made for a job that was cancelled', () => {
    expect(place(want(), [hostWith()], [warm('v1', { state: 'requested' }), warm('v2', { state: 'booting' })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v2', why: "v2 is booting, and anna's next" })
    expect(place(want(), [hostWith()], [vwnWith({ state: 'booting' }), warm('v2', { state: 'stopping' })], [], 0)).toMatchObject({ is: 'boot' })
  })

  test.each<[string, Partial<Vwn>]>([
    ['another user', { owner: ben }],
    ['another type', { type: typeName('other') }],
    ['an older image', { image: imageDigest('b'.repeat(64)) }],
    ['another network', { network: 'outbound' }],
    ['another size', { shape: { ...type.shape, memoryMib: 1024 } }],
    ['too many jobs', { jobsRun: limits.jobsRunMax }],
    ['one job, never reused', { limits: { ...limits, reuse: 'never' }, jobsRun: 1 }],
    ['too great an age', { createdAtMs: -limits.ageMsMax }],
    ['a job already', { job: jobId('h1-9') }],
  ])('never takes a warm VWN with %s', (_what, facts) => {
    expect(place(want(), [hostWith()], [warm('v1', facts)], [], 0)).toMatchObject({ is: 'boot', host: 'h1' })
  })

  test('takes a ready VWN that is nobody\'s where it has no warm one, and before it waits for a scrub', () => {
    expect(place(want(), [hostWith()], [ready('v1'), warm('v2', { jobsRun: 1 })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v2', made: 'reused' })
    expect(place(want(), [hostWith()], [ready('v1'), warm('v2', { owner: ben }), ready('v3')], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v1', made: 'ready', why: "v1 is ready, nobody's yet" })
    expect(place(want(), [hostWith()], [ready('v1'), warm('v2', { state: 'cleaning' })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v1' })
    expect(place(want(), [hostWith()], [ready('v1', { state: 'booting' }), warm('v2', { state: 'cleaning' })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v2' })
    expect(place(want(), [hostWith()], [ready('v1', { state: 'booting' })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v1', made: 'new', why: "v1 is booting, nobody's yet" })
    const once = { ...type, limits: { ...limits, reuse: 'never' as const } }
    expect(place(want({ type: once }), [hostWith()], [ready('v1', { limits: once.limits })], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v1' })
  })

  test('takes no ready VWN that has another size, that its user may not have, or after those that failed it', () => {
    expect(place(want(), [hostWith()], [ready('v1', { shape: { ...type.shape, cpus: 1 } })], [], 0)).toMatchObject({ is: 'boot' })
    expect(place(want({ takesReady: false }), [hostWith()], [ready('v1')], [], 0)).toMatchObject({ is: 'boot' })
    const one = { max: 1, types: [type.name] }
    expect(place(want({ perUser: one }), [hostWith()], [ready('v1'), busy('v2')], [], 0)).toMatchObject({ is: 'wait', why: 'h1: anna has 1 of 1 VWNs' })
    expect(place(want({ perUser: one }), [hostWith()], [ready('v1'), warm('v2', { jobsRun: 3 })], [], 0)).toMatchObject({ is: 'makeRoom', evict: ['v2'] })
    expect(place(want({ perUser: one }), [hostWith()], [ready('v1')], [], 0)).toMatchObject({ is: 'reuse', vwn: 'v1' })
  })

  test('that asks for less than its type gives has the type\'s size all the same, while memory is not what the host is short of', () => {
    const small = { cpus: 2, memoryMib: 200, scratchGib: 1 }
    const hostOf = (memoryMib: number): Host => hostWith({ capacity: { cpus: 4, memoryMib, scratchGib: 64 } })
    const taking = (vwns: readonly Vwn[], memoryMib: number, facts: Partial<PlacementWant> = {}) => place(want({ shape: small, ...facts }), [hostOf(memoryMib)], vwns, [], 0)
    expect(taking([], 1024)).toMatchObject({ is: 'boot', shape: type.shape })
    expect(taking([ready('v1')], 1024)).toMatchObject({ is: 'reuse', vwn: 'v1', made: 'ready' })
    expect(taking([busy('v2'), ready('v1')], 1024)).toMatchObject({ is: 'reuse', vwn: 'v1' })
    // the two processors that are left would find 511 MiB, or the type's scratch not at all
    expect(taking([ready('v1')], 1023)).toMatchObject({ is: 'boot', shape: small })
    expect(place(want({ shape: small }), [hostWith({ capacity: { cpus: 4, memoryMib: 4096, scratchGib: 7 } })], [], [], 0)).toMatchObject({ is: 'boot', shape: small })
    // a warm one of ben's holds what a job may have; one that runs does not
    expect(taking([ready('v1'), warm('v2', { owner: ben })], 1024)).toMatchObject({ is: 'reuse', vwn: 'v1' })
    expect(taking([warm('v1'), busy('v2', { owner: ben, shape: { ...type.shape, cpus: 1 } })], 1279)).toMatchObject({ is: 'boot', shape: small })
    expect(taking([warm('v1'), busy('v2', { owner: ben, shape: { ...type.shape, cpus: 1 } })], 1280)).toMatchObject({ is: 'reuse', vwn: 'v1' })
    // more than the type gives is made, and never taken for less
    expect(taking([warm('v1', { shape: { ...type.shape, memoryMib: 513 } })], 4096)).toMatchObject({ is: 'boot', shape: type.shape })
    expect(taking([ready('v1')], 4096, { shape: { ...small, memoryMib: 600 } })).toMatchObject({ is: 'boot', shape: { cpus: 2, memoryMib: 600, scratchGib: 4 } })
  })

  test('in a guest without an agent has the very size that it asked for: nothing else bounds it', () => {
    const host = hostWith({ images: [{ digest, name: 'el9', contact: 'ssh' }] })
    const small = { ...type.shape, memoryMib: 200 }
    expect(place(want({ shape: small }), [host], [ready('v1', { contact: 'ssh' })], [], 0)).toMatchObject({ is: 'boot', shape: small })
  })

  test('has what is nobody\'s give way first, half made before ready, and does not wait for other room then', () => {
    const host = hostWith({ capacity: { cpus: 9, memoryMib: 1536, scratchGib: 64 } })
    const vwns = [warm('v1', { owner: ben }), ready('v2', { stateSinceMs: 10 }), ready('v3', { state: 'preparing', stateSinceMs: 20 })]
    const wide = (times: number): PlacementWant => want({ shape: { ...type.shape, memoryMib: 256 * times } })
    expect(place(wide(1), [host], vwns, [], 50)).toMatchObject({ is: 'makeRoom', evict: ['v3'], why: 'half-made v3 must go first' })
    expect(place(wide(4), [host], vwns, [], 50)).toMatchObject({ is: 'makeRoom', evict: ['v3', 'v2'], why: 'half-made v3 and ready v2 must go first' })
    expect(place(wide(5), [host], vwns, [], 50)).toMatchObject({ is: 'makeRoom', evict: ['v3', 'v2', 'v1'], why: 'half-made v3 and ready v2 and idle v1 of ben must go first' })
    expect(place(wide(1), [host], [warm('v1', { state: 'stopping' }), busy('v2'), ready('v3')], [], 50)).toMatchObject({ is: 'makeRoom', evict: ['v3'] })
    expect(place(wide(1), [host], [warm('v1', { state: 'stopping' }), busy('v2'), ready('v3', { host: h2 }), busy('v4')], [], 50)).toMatchObject({ is: 'wait' })
  })

  test('needs nobody to go for processors: what is warm or ready has none, what has a job or is made for one has its own', () => {
    const host = hostWith({ capacity: { cpus: 4, memoryMib: 4096, scratchGib: 64 } })
    const spare = [warm('v1', { owner: ben }), ready('v2'), ready('v3', { state: 'booting' }), warm('v4', { owner: ben, state: 'cleaning' })]
    expect(place(want({ shape: { ...type.shape, cpus: 4 } }), [host], spare, [], 0)).toMatchObject({ is: 'boot' })
    expect(place(want(), [host], [...spare, busy('v5'), vwnWith({ id: vwnId('v6'), state: 'booting' })], [], 0)).toMatchObject({ is: 'wait' })
  })

  test('waits with its warm VWN in hand for processors that other jobs have, or are to have', () => {
    const host = hostWith({ capacity: { cpus: 5, memoryMib: 4096, scratchGib: 64 } })
    const vwns = [warm('v1'), busy('v2', { owner: ben }), busy('v3', { owner: ben })]
    const hold = { host: h1, amount: { cpus: 2, memoryMib: 0, scratchGib: 0 }, vwns: ['v1'] }
    expect(place(want(), [host], vwns, [], 0)).toMatchObject({ is: 'wait', hold, why: 'h1: v1 is warm, but 2 cpus wanted, 1 free' })
    expect(place(want(), [host], vwns.slice(0, 2), [{ ...hold, vwns: [] }], 0)).toMatchObject({ is: 'wait', hold })
    expect(place(want(), [host], vwns.slice(0, 2), [], 0)).toMatchObject({ is: 'reuse', vwn: 'v1' })
    expect(place(want({ pinnedHost: null }), [host, hostWith({ id: h2 })], vwns, [], 0)).toMatchObject({ is: 'boot', host: 'h2' })
  })

  test('without a host goes where the hole is tightest', () => {
    const hosts = [hostWith(), hostWith({ id: h2, capacity: { cpus: 3, memoryMib: 4096, scratchGib: 64 } })]
    expect(place(want({ pinnedHost: null }), hosts, [], [], 0)).toMatchObject({ is: 'boot', host: 'h2', perHost: [{ host: 'h1', why: 'it has room' }, { host: 'h2', why: 'it has room' }] })
  })

  test('makes idle VWNs of others give way, oldest first and no more than needed', () => {
    const host = hostWith({ capacity: { cpus: 8, memoryMib: 1536, scratchGib: 64 } })
    const vwns = [warm('v1', { owner: ben, stateSinceMs: 30 }), warm('v2', { owner: ben, stateSinceMs: 10 }), warm('v3', { owner: ben, stateSinceMs: 20 })]
    expect(place(want(), [host], vwns, [], 50)).toMatchObject({ is: 'makeRoom', evict: ['v2'], why: 'idle v2 of ben must go first' })
    expect(place(want({ shape: { ...type.shape, memoryMib: 1024 } }), [host], vwns, [], 50)).toMatchObject({ is: 'makeRoom', evict: ['v2', 'v3'] })
  })

  test('waits for room that is on its way instead of ending another warm VWN', () => {
    const host = hostWith({ capacity: { cpus: 8, memoryMib: 1024, scratchGib: 64 } })
    const placement = place(want(), [host], [vwnWith({ state: 'stopping', owner: ben }), warm('v2', { owner: ben })], [], 0)
    expect(placement).toMatchObject({ is: 'wait', why: 'h1: room is on its way: v1 of ben must be gone first' })
  })

  test('does not wait for a job that runs on in a VWN which is to go', () => {
    const host = hostWith({ capacity: { cpus: 8, memoryMib: 1024, scratchGib: 64 } })
    expect(place(want(), [host], [vwnWith({ state: 'fencing', owner: ben }), warm('v2', { owner: ben })], [], 0)).toMatchObject({ is: 'makeRoom', evict: ['v2'] })
  })

  test('counts its limits, and lets idle VWNs go for them too', () => {
    const two = { max: 1, types: [type.name] }
    expect(place(want({ perUser: two }), [hostWith()], [busy('v1')], [], 0)).toMatchObject({ is: 'wait', hold: null, why: 'h1: anna has 1 of 1 VWNs' })
    expect(place(want({ perUser: two }), [hostWith()], [warm('v1', { jobsRun: 3 })], [], 0)).toMatchObject({ is: 'makeRoom', evict: ['v1'] })
    const limited: VwnType = { ...type, limit: 1 }
    expect(place(want({ type: limited }), [hostWith()], [busy('v1', { host: h2, owner: ben })], [], 0)).toMatchObject({ is: 'wait', why: 'h1: 1 of 1 VWNs of type el9 exist' })
    expect(place(want({ type: limited }), [hostWith(), hostWith({ id: h2 })], [warm('v1', { host: h2, owner: ben })], [], 0)).toMatchObject({ is: 'makeRoom', host: 'h1', evict: ['v1'] })
  })

  test.each<[string, Partial<Host>, string]>([
    ['drains', { want: 'draining' }, 'it is draining: it finishes its jobs and takes no more'],
    ['is silent', { fact: 'silent' }, 'its bait is silent'],
    ['was never heard', { fact: 'silent', heardAtMs: null }, 'its bait has not been heard yet'],
    ['was fenced', { fact: 'fenced' }, 'it was declared dead and has not been heard since'],
  ])('waits while its host %s, even for a warm VWN', (_what, facts, why) => {
    expect(place(want(), [hostWith(facts)], [warm('v1')], [], 0)).toMatchObject({ is: 'wait', perHost: [{ host: 'h1', why }] })
  })

  test.each<[string, Partial<Host>, Partial<PlacementWant>, string, string]>([
    ['closed', { want: 'closed' }, {}, 'HOST_CLOSED', 'an operator has closed it'],
    ['without the image', { images: [] }, {}, 'IMAGE_NOT_ON_HOST', 'it does not have image el9'],
    ['too small', { capacity: { cpus: 1, memoryMib: 512, scratchGib: 1 } }, {}, 'HOST_TOO_SMALL', '2 cpus wanted, 1 there, 4 GiB of scratch wanted, 1 there'],
    ['under a limit of 0', {}, { type: { ...type, limit: 0 } }, 'LIMIT_IS_ZERO', 'type el9 has limit 0'],
  ])('is refused when its host is %s', (_what, facts, wanting, code, why) => {
    expect(place(want(wanting), [hostWith(facts)], [], [], 0)).toMatchObject({ is: 'refused', failure: { code }, perHost: [{ host: 'h1', why }] })
  })

  test('waits for a host that is not known yet', () => {
    expect(place(want(), [hostWith({ id: h2 })], [], [], 0)).toMatchObject({ is: 'wait', why: 'its host h1 is not known' })
    expect(place(want({ pinnedHost: null }), [], [], [], 0)).toMatchObject({ is: 'wait', why: 'there is no host' })
  })

  test('finds its image by name or by digest', () => {
    expect(imageOn(hostWith(), 'el9')?.digest).toBe(digest)
    expect(imageOn(hostWith(), digest)?.name).toBe('el9')
    expect(imageOn(hostWith(), 'el8')).toBeNull()
  })
})

const mapping = (types: readonly VwnType[] = [type]): Mapping => ({
  types, rules: [], default: { name: 'default', match: {}, type: types[0]?.name ?? type.name, allow: types.map(({ name }) => name), limits: { perUser: null }, fallback: 'requeue' },
})
const farm = (facts: Partial<Farm> = {}): Farm => ({ hosts: [hostWith()], vwns: [], mapping: mapping(), ...facts })

describe('a turn', () => {
  test('never gives the same warm VWN or the same room twice', () => {
    const jobs = [jobWith(), jobWith({ id: jobId('h1-2') }), jobWith({ id: jobId('h1-3') })]
    const host = hostWith({ capacity: { cpus: 4, memoryMib: 4096, scratchGib: 64 } })
    expect(plan(jobs, farm({ hosts: [host], vwns: [warm('v1')] }), 0).map(({ is }) => is)).toEqual(['reuse', 'boot', 'wait'])
  })

  test('goes by arrival, then by number', () => {
    const jobs = [jobWith({ id: jobId('h1-10') }), jobWith({ id: jobId('h1-9') }), jobWith({ id: jobId('h1-1'), submittedAtMs: 5 })]
    expect(plan(jobs, farm(), 9).map(({ job }) => job)).toEqual(['h1-9', 'h1-10', 'h1-1'])
  })

  test('leaves jobs alone that have a VWN', () => {
    expect(plan([jobWith()], farm({ vwns: [vwnWith()] }), 0)).toEqual([])
  })

  test('keeps the room that a wide job waits for, and the warm VWNs that it will need', () => {
    const wide = jobWith({ memoryMib: 800, owner: ben })
    const later = jobWith({ id: jobId('h1-2') })
    const host = hostWith({ capacity: { cpus: 8, memoryMib: 1024, scratchGib: 64 } })
    const decisions = plan([wide, later], farm({ hosts: [host], vwns: [busy('v1'), warm('v2')] }), 0)
    expect(decisions).toMatchObject([{ is: 'wait', evict: [] }, { is: 'wait', evict: [] }])
    expect(plan([wide, later], farm({ hosts: [host], vwns: [warm('v1'), warm('v2')] }), 0)).toMatchObject([{ is: 'wait', evict: ['v1', 'v2'] }, { is: 'wait', evict: [] }])
  })

  test('gives a job back when VWNs for it did not come up', () => {
    const failed = [1, 2].map((number) => vwnWith({ id: vwnId(`v${number}`), state: 'gone', cause: failure('VWN_BOOT_TIMEOUT') }))
    expect(failed).toHaveLength(attemptsMax)
    expect(plan([jobWith()], farm({ vwns: failed.slice(1) }), 0)).toMatchObject([{ is: 'boot' }])
    expect(plan([jobWith()], farm({ vwns: failed }), 0)).toMatchObject([{ is: 'refused', why: 'v1, v2 did not come up', failure: { code: 'VWN_BOOT_TIMEOUT' } }])
  })

  test('does not blame a job for ready VWNs that failed it, but gives it no third', () => {
    const spoilt = (count: number): Vwn[] => Array.from({ length: count }, (_, index) => ready(`v${index + 1}`, { state: 'gone', owner: anna, job: jobId('h1-1'), cause: failure('VWN_DIED') }))
    expect(plan([jobWith()], farm({ vwns: [...spoilt(1), ready('v9')] }), 0)).toMatchObject([{ is: 'reuse', vwn: 'v9', made: 'ready' }])
    expect(plan([jobWith()], farm({ vwns: [...spoilt(readyFailuresMax), ready('v9')] }), 0)).toMatchObject([{ is: 'boot' }])
    const own = vwnWith({ id: vwnId('v8'), state: 'gone', cause: failure('VWN_BOOT_TIMEOUT') })
    expect(plan([jobWith()], farm({ vwns: [...spoilt(2), own] }), 0)).toMatchObject([{ is: 'boot' }])
    expect(plan([jobWith()], farm({ vwns: [...spoilt(2), own, { ...own, id: vwnId('v7') }] }), 0)).toMatchObject([{ is: 'refused', why: 'v7, v8 did not come up' }])
  })

  test('does not blame a job for warm VWNs that the job before has soiled', () => {
    const soiled = [1, 2].map((number) => vwnWith({ id: vwnId(`v${number}`), state: 'gone', jobsRun: 1, cause: failure('VWN_DIRTY') }))
    expect(plan([jobWith()], farm({ vwns: soiled }), 0)).toMatchObject([{ is: 'boot' }])
  })

  test('refuses what the mapping refuses', () => {
    expect(plan([jobWith({ type: typeName('el7') })], farm(), 0)).toMatchObject([{ is: 'refused', failure: { code: 'TYPE_UNKNOWN' } }])
  })

  test('asks for a VWN of the size that the job wants', () => {
    expect(plan([jobWith({ cpus: 3 })], farm(), 0)).toMatchObject([{ is: 'boot', request: { shape: { cpus: 3, memoryMib: 512, scratchGib: 4 }, job: 'h1-1', owner: anna, image: digest, contact: 'agent' } }])
  })

  test('retires idle VWNs of hosts that take no more jobs', () => {
    expect(retired([ready('v1'), ready('v2', { state: 'booting' }), vwnWith({ id: vwnId('v3'), state: 'booting' })], [hostWith({ want: 'draining' })])).toEqual(['v1', 'v2'])
    expect(retired([warm('v1'), busy('v2'), warm('v3', { host: h2 })], [hostWith({ want: 'draining' }), hostWith({ id: h2 })])).toEqual(['v1'])
  })

  test('can be asked without a job', () => {
    const { placement } = explainPlacement({ ...jobWith(), host: null }, farm({ hosts: [hostWith(), hostWith({ id: h2, fact: 'silent' })] }), 0)
    expect(placement).toMatchObject({ is: 'boot', host: 'h1', perHost: [{ host: 'h1' }, { host: 'h2', why: 'its bait is silent' }] })
  })
})

// ── properties ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

const users = [anna, ben, owner('cleo')]
const hostIds = ['h1', 'h2', 'h10'].map(hostId)
const types: readonly VwnType[] = [
  type, { ...type, name: typeName('wide'), shape: { cpus: 4, memoryMib: 1024, scratchGib: 4 }, limit: 2 }, { ...type, name: typeName('once'), limits: { ...limits, reuse: 'never' } },
]
describe('a host where no guest can be started', () => {
  const ruled = (facts: Partial<Rule>): Mapping => ({ ...mapping([type]), default: { name: 'default', match: {}, type: type.name, allow: [], limits: { perUser: null }, fallback: 'requeue', ...facts } })
  const brokenHost = hostWith({ broken: 'tcg: it hangs' })
  const decided = (facts: Partial<Rule>, more: Partial<Farm> = {}): Decision | undefined => plan([jobWith()], { hosts: [brokenHost], vwns: [], mapping: ruled(facts), ...more }, 0)[0]

  test('keeps no job waiting: it is given back, runs on the host itself, or is refused for good', () => {
    expect(decided({})).toMatchObject({ is: 'refused', why: 'h1: tcg: it hangs', failure: { code: 'ACCELERATOR_UNUSABLE' } })
    expect(decided({ fallback: 'bare' })).toMatchObject({ is: 'bare', why: 'h1: tcg: it hangs; rule default then runs it on the host itself' })
    expect(decided({ fallback: 'refuse' })).toMatchObject({ is: 'refused', failure: { code: 'FALLBACK_REFUSED' } })
    expect(['ACCELERATOR_UNUSABLE', 'FALLBACK_REFUSED'].map(isHopeless)).toEqual([false, true])
  })

  test('still gives its warm VWNs', () => {
    expect(decided({ fallback: 'bare' }, { vwns: [warm('v1')] })).toMatchObject({ is: 'reuse', vwn: 'v1' })
  })

  test('is one as well whose hypervisor starts nothing any more, though nobody says so', () => {
    const failed = (code: ErrorCode): readonly Vwn[] => [1, 2].map((number) => vwnWith({ id: vwnId(`v${number}`), state: 'gone', cause: failure(code) }))
    for (const code of ['HYPERVISOR_FAILED', 'HYPERVISOR_MISSING'] as const) expect(decided({ fallback: 'bare' }, { hosts: [hostWith()], vwns: failed(code) })).toMatchObject({ is: 'bare' })
    expect(decided({ fallback: 'bare' }, { hosts: [hostWith()], vwns: failed('VWN_BOOT_TIMEOUT') })).toMatchObject({ is: 'refused', failure: { code: 'VWN_BOOT_TIMEOUT' } })
  })

  test('a rule falls back for that reason alone, and says nothing about who waits for room', () => {
    const facts = fc.record({ broken: fc.constantFrom(null, 'tcg: it hangs'), fact: fc.constantFrom('alive', 'silent'), cpus: fc.constantFrom(0, 1, 8), images: fc.constantFrom([], hostWith().images) })
    fc.assert(fc.property(facts, fc.constantFrom(...fallbacks), ({ cpus, ...host }, fallback) => {
      const hosts = [hostWith({ ...host, capacity: { cpus, memoryMib: 4096, scratchGib: 64 } })]
      const [usual, fallen] = (['requeue', fallback] as const).map((each) => decided({ fallback: each }, { hosts }))
      const isHosts = usual?.is === 'refused' && usual.failure.code === 'ACCELERATOR_UNUSABLE'
      if (!isHosts || fallback === 'requeue') expect(fallen).toEqual({ ...usual, resolution: fallen?.resolution })
      else expect(fallen).toMatchObject(fallback === 'bare' ? { is: 'bare' } : { is: 'refused', failure: { code: 'FALLBACK_REFUSED' } })
    }))
  })

  test('is asked for in the same way by who has no job yet', () => {
    expect(explainPlacement(jobWith(), { hosts: [brokenHost], vwns: [], mapping: ruled({ fallback: 'bare' }) }, 0).placement).toMatchObject({ is: 'bare' })
  })
})

describe('a job that its rule runs on the host itself', () => {
  const onHost: Mapping = { types: [], rules: [], default: { name: 'default', match: {}, type: null, allow: [], limits: { perUser: null }, fallback: 'requeue' } }
  test.each<[string, Partial<Host>, object]>([
    ['does so at once', {}, { is: 'bare', why: 'rule default runs it on the host itself' }],
    ['does so also where no guest can be started', { broken: 'tcg: it hangs' }, { is: 'bare' }],
    ['waits while the host is draining', { want: 'draining' }, { is: 'wait', evict: [], hold: null, why: expect.stringContaining('draining') as unknown }],
    ['waits while its bait is silent', { fact: 'silent' }, { is: 'wait' }],
    ['is given back by a host that an operator has closed', { want: 'closed' }, { is: 'refused', failure: { code: 'HOST_CLOSED' } }],
  ])('%s', (_what, facts, decision) => {
    expect(plan([jobWith()], { hosts: [hostWith(facts)], vwns: [], mapping: onHost }, 0)).toMatchObject([decision])
    expect(explainPlacement(jobWith(), { hosts: [hostWith(facts)], vwns: [], mapping: onHost }, 0).resolution.is).toBe('bare')
  })
})

const manyRules: Mapping = { ...mapping(types), rules: [{ name: 'ben', match: { users: ['ben'] }, type: type.name, allow: types.map(({ name }) => name), limits: { perUser: 2 }, fallback: 'requeue' }] }

const anyHost = (id: Host['id']): fc.Arbitrary<Host> =>
  fc.record({
    cpus: fc.integer({ min: 1, max: 9 }), memory: fc.integer({ min: 1, max: 9 }), fact: fc.constantFrom('alive' as const, 'alive' as const, 'alive' as const, 'silent' as const),
    want: fc.constantFrom('open' as const, 'open' as const, 'open' as const, 'draining' as const, 'closed' as const),
  }).map(({ cpus, memory, fact, want }) => hostWith({ id, fact, want, capacity: { cpus, memoryMib: 256 * memory, scratchGib: 64 } }))
const anyVwn = fc.record({
  host: fc.constantFrom(...hostIds), of: fc.constantFrom(...types), owner: fc.constantFrom(...users), jobsRun: fc.nat(3), stateSinceMs: fc.nat(50),
  unclaimed: fc.boolean(),
  state: fc.constantFrom('idle' as const, 'idle' as const, 'busy' as const, 'cleaning' as const, 'stopping' as const, 'booting' as const, 'fencing' as const),
})
const anyJob = fc.record({ host: fc.constantFrom(...hostIds), owner: fc.constantFrom(...users), type: fc.constantFrom(null, ...types.map(({ name }) => name)), cpus: fc.constantFrom(null, null, 1, 3, 6), memoryMib: fc.constantFrom(null, null, 256, 1536), submittedAtMs: fc.nat(5) })

/** A farm in which nothing is overcommitted yet, and its waiting jobs. */
const anyFarm = fc.record({ hosts: fc.tuple(...hostIds.map(anyHost)), vwns: fc.array(anyVwn, { maxLength: 9 }), jobs: fc.array(anyJob, { minLength: 1, maxLength: 6 }) }).map(({ hosts, vwns, jobs }) => {
  const rows: Vwn[] = []
  for (const [index, { of, unclaimed, ...facts }] of vwns.entries()) {
    const pooled = unclaimed && facts.state !== 'busy' && facts.state !== 'cleaning'
    const reserved = facts.state === 'busy' || (facts.state === 'booting' && !pooled) ? jobId(`h1-${90 + index}`) : null
    const row = vwnWith({ ...facts, ...(pooled ? { pooled, owner: null, jobsRun: 0 } : {}), id: vwnId(`v${index + 1}`), type: of.name, shape: of.shape, limits: of.limits, job: reserved })
    const host = hosts.find(({ id }) => id === row.host)
    if (host !== undefined && fits(held([...rows, row], row.host), host.capacity)) rows.push(row)
  }
  const waiting: WaitingJob[] = jobs.map((job, index) => jobWith({ ...job, id: jobId(`${job.host}-${index + 1}`) }))
  return { farm: { hosts, vwns: rows, mapping: manyRules }, jobs: waiting }
})

/** What the farm is after a turn was carried out. */
function carriedOut(farm: Farm, jobs: readonly WaitingJob[], decisions: readonly Decision[]): readonly Vwn[] {
  let rows = farm.vwns
  let next = 100
  const deliver = (id: Vwn['id'], event: Parameters<typeof step>[1]): void => {
    rows = rows.map((row) => {
      if (row.id !== id) return row
      const verdict = step(row, event, token, { nowMs: 50, generation: 9 })
      if (verdict.is !== 'moved') throw new Error(`${id}: ${verdict.why}`) // a plan is always possible
      return verdict.next
    })
  }
  for (const decision of decisions) {
    if (decision.is === 'boot') rows = [...rows, requestVwn(decision.request, vwnId(`v${(next += 1)}`), token, { nowMs: 50, generation: 9 })]
    if (decision.is === 'reuse') deliver(decision.vwn, { kind: 'assigned', job: decision.job, owner: jobs.find(({ id }) => id === decision.job)?.owner ?? anna })
    if (decision.is === 'wait') for (const id of decision.evict) deliver(id, { kind: 'stop', cause: null })
  }
  return rows
}

describe('whatever the farm looks like', () => {
  test('a plan can be carried out and overcommits nothing', () => {
    fc.assert(fc.property(anyFarm, ({ farm, jobs }) => {
      const before = farm.vwns
      const rows = carriedOut(farm, jobs, plan(jobs, farm, 50))
      for (const host of farm.hosts) expect(fits(held(rows, host.id), host.capacity)).toBe(true)
      const wide = (vwns: readonly Vwn[]) => vwns.filter((row) => row.type === 'wide' && row.state !== 'gone').length
      expect(wide(rows)).toBeLessThanOrEqual(Math.max(2, wide(before)))
      const bens = (vwns: readonly Vwn[]) => vwns.filter((row) => row.owner?.user === 'ben').length
      expect(bens(rows)).toBeLessThanOrEqual(Math.max(2, bens(before)))
      for (const { id, owner } of jobs) for (const row of rows) if (isReservedFor(row, id)) expect(row.owner?.uid).toBe(owner.uid)
      for (const job of jobs) expect(rows.filter((row) => isReservedFor(row, job.id)).length).toBeLessThanOrEqual(1)
    }), { numRuns: 300 })
  })

  test('the order in which hosts, VWNs and jobs are named does not matter', () => {
    const both = anyFarm.chain(({ farm, jobs }) => fc.tuple(fc.constant({ farm, jobs }), shuffled(farm.hosts), shuffled(farm.vwns), shuffled(jobs)))
    fc.assert(fc.property(both, ([{ farm, jobs }, hosts, vwns, others]) => {
      expect(plan(others, { ...farm, hosts, vwns }, 50)).toEqual(plan(jobs, farm, 50))
    }), { numRuns: 300 })
  })

  test('VWNs that do not concern its jobs change nothing', () => {
    const unlimited: Mapping = { ...mapping(types.map((each) => ({ ...each, limit: null }))), rules: [] }
    fc.assert(fc.property(anyFarm, fc.constantFrom(manyRules, { ...manyRules, rules: [] }, unlimited), ({ farm, jobs }, ruled) => {
      const whole: Farm = { ...farm, mapping: ruled }
      const vwns = concerning(jobs, ruled, { all: () => farm.vwns, on: (id) => farm.vwns.filter(({ host }) => host === id) })
      expect(plan(jobs, { ...whole, vwns }, 50)).toEqual(plan(jobs, whole, 50))
      const here = new Set(jobs.map(({ host }) => host))
      if (ruled === unlimited) expect(vwns.every(({ host }) => here.has(host))).toBe(true)
    }), { numRuns: 300 })
  })

  test('every decision has a reason, and its host a sentence', () => {
    fc.assert(fc.property(anyFarm, ({ farm, jobs }) => {
      for (const decision of plan(jobs, farm, 50)) {
        expect(decision.why).not.toBe('')
        if (decision.resolution.is === 'refused') continue
        expect(decision.perHost.map(({ host }) => host)).toEqual(jobs.filter(({ id }) => id === decision.job).map(({ host }) => host))
        for (const { why } of decision.perHost) expect(why).toMatch(/\w/)
        if (decision.is === 'refused') expect(decision.failure.message).not.toBe('')
      }
    }), { numRuns: 200 })
  })

  test('the first job of a host never waits for VWNs that nobody uses', () => {
    fc.assert(fc.property(anyFarm, ({ farm, jobs }) => {
      const [first] = [...jobs].sort((a, b) => a.submittedAtMs - b.submittedAtMs || (a.id < b.id ? -1 : 1))
      const unused = { ...farm, hosts: farm.hosts.map((host) => ({ ...host, fact: 'alive' as const, want: 'open' as const })), vwns: farm.vwns.filter(({ state }) => state === 'idle') }
      const [decision] = first === undefined ? [] : plan([first], unused, 50)
      if (decision?.is === 'wait') expect(decision.evict).not.toEqual([])
    }), { numRuns: 300 })
  })

  test('no job runs later for VWNs that are kept ready', () => {
    /** The jobs that have a VWN when all that was stopped for them is gone, and all that was scrubbed is clean. */
    const placed = (farm: Farm, jobs: readonly WaitingJob[]): readonly WaitingJob[] => {
      let { vwns } = farm
      for (let turn = 0; turn <= jobs.length + farm.vwns.length; turn += 1) {
        const before = vwns
        vwns = carriedOut({ ...farm, vwns }, jobs, plan(jobs, { ...farm, vwns }, 50))
          .filter((row) => !['stopping', 'fencing'].includes(row.state) || before.includes(row))
          .map((row) => (row.state === 'cleaning' && row.job === null ? { ...row, state: 'idle' } : row))
      }
      return jobs.filter(({ id }) => vwns.some((row) => isReservedFor(row, id)))
    }
    const unlimited = { ...manyRules, rules: [], types: types.map((each) => ({ ...each, limit: null })) }
    const seen = { taken: 0, evicted: 0 } // or the property has seen nothing
    fc.assert(fc.property(anyFarm, fc.boolean(), fc.boolean(), ({ farm, jobs }, withLimits, usual) => {
      const queue = jobs.map((job) => (usual ? { ...job, cpus: null, memoryMib: null } : job)).sort((a, b) => a.submittedAtMs - b.submittedAtMs || (a.id < b.id ? -1 : 1))
      const mine = withLimits ? queue.slice(0, 1) : queue // under a limit, one that is served earlier may take the place of a later one
      const hosts = farm.hosts.map((host) => ({ ...host, fact: 'alive' as const, want: 'open' as const }))
      const over: Farm = { ...farm, hosts, mapping: withLimits ? farm.mapping : unlimited }
      const bare = { ...over, vwns: over.vwns.filter((row) => !isUnclaimed(row)) }
      const atOnce = plan(mine, bare, 50).filter(({ is }) => is === 'reuse' || is === 'boot').map(({ job }) => job)
      expect(placed(over, mine).map(({ id }) => id)).toEqual(expect.arrayContaining(atOnce))
      for (const decision of plan(mine, over, 50)) {
        if (decision.is === 'reuse' && decision.made === 'ready') seen.taken += 1
        if (decision.is === 'wait' && decision.evict.some((id) => over.vwns.some((row) => row.id === id && isUnclaimed(row)))) seen.evicted += 1
      }
    }), { numRuns: 500 })
    expect([seen.taken > 3, seen.evicted > 3]).toEqual([true, true])
  })

  test('a wide job is not starved by a stream of small ones', () => {
    const tiny: VwnType = { ...type, shape: { cpus: 1, memoryMib: 64, scratchGib: 1 }, limits: { ...limits, jobsRunMax: 99 } }
    const turnsOfAJob = 3
    const anyWidth = fc.constantFrom({ cpus: 4 }, { memoryMib: 90 }, { cpus: 4, memoryMib: 90 })
    fc.assert(fc.property(fc.array(fc.nat(turnsOfAJob - 1), { minLength: 4, maxLength: 4 }), fc.boolean(), anyWidth, fc.constantFrom(256, 4096), (begun, sameUser, width, memoryMib) => {
      const host = hostWith({ capacity: { cpus: 4, memoryMib, scratchGib: 64 } })
      const wide = jobWith({ id: jobId('h1-1'), ...width, owner: sameUser ? anna : ben, submittedAtMs: 1 })
      let vwns: readonly Vwn[] = begun.map((since, index) => busy(`v${index + 1}`, { shape: tiny.shape, limits: tiny.limits, job: jobId(`h1-9${index}`), stateSinceMs: since - turnsOfAJob }))
      for (let turn = 0; turn < 3 * turnsOfAJob; turn += 1) {
        vwns = vwns.map((row) => (row.state === 'busy' && turn - row.stateSinceMs >= turnsOfAJob ? { ...row, state: 'idle', job: null } : row))
        const stream = [0, 1].map((number) => jobWith({ id: jobId(`h1-${10 * turn + number + 2}`), submittedAtMs: turn + 2 }))
        vwns = carriedOut({ hosts: [host], vwns, mapping: mapping([tiny]) }, [wide, ...stream], plan([wide, ...stream], { hosts: [host], vwns, mapping: mapping([tiny]) }, 50))
        if (vwns.some((row) => isReservedFor(row, wide.id))) return
        vwns = vwns.flatMap((row) => (row.state === 'stopping' ? [] : row.state === 'requested' || row.stateSinceMs === 50 ? [{ ...row, state: 'busy' as const, stateSinceMs: turn }] : [row]))
      }
      throw new Error('the wide job has no VWN yet')
    }), { numRuns: 50 })
  })
})
