/** Things that tests of core/ talk about, and arbitrary ones. */
import fc from 'fast-check'
import { failure } from '../../core/failure.ts'
import { newHost, type Host } from '../../core/host.ts'
import { hostId, imageDigest, jobId, typeName, vwnId } from '../../core/ids.ts'
import type { LeaseToken } from '../../core/lease.ts'
import type { VwnType } from '../../core/mapping.ts'
import { noPool } from '../../core/pool.ts'
import type { ReuseLimits } from '../../core/reuse.ts'
import type { WaitingJob } from '../../core/schedule.ts'
import { requestVwn, type Owner, type Vwn } from '../../core/vwn.ts'

export const h1 = hostId('h1')
export const h2 = hostId('h2')
export const el9 = typeName('el9')
export const digest = imageDigest('a'.repeat(64))
export const token: LeaseToken = { term: 1, epoch: 1 }
export const limits: ReuseLimits = { reuse: 'same-user', jobsRunMax: 3, ageMsMax: 1_000_000, idleMsMax: 60_000 }
export const type: VwnType = { name: el9, image: 'el9', shape: { cpus: 2, memoryMib: 512, scratchGib: 4 }, network: 'isolated', mounts: [], directory: null, limits, bootMs: 60_000, limit: null, pool: noPool }
export const cause = failure('VWN_DIED')
export const owner = (name: string): Owner => ({ user: name, uid: 1000 + (name.codePointAt(0) ?? 0), gid: 100, group: 'users', project: null })
export const anna = owner('anna')
export const ben = owner('ben')
export const job = jobId
export const vwn = vwnId

/** A VWN that was just requested for anna's job h1-1, changed as told. */
export const vwnWith = (facts: Partial<Vwn> = {}): Vwn => ({
  ...requestVwn({ host: h1, type: el9, image: digest, contact: 'agent', network: 'isolated', shape: type.shape, bootMs: type.bootMs, limits, owner: anna, job: job('h1-1') }, vwn('v1'), token, { nowMs: 0, generation: 1 }),
  ...facts,
})

/** An open host that is heard and has the image, changed as told. */
export const hostWith = (facts: Partial<Host> = {}): Host => ({
  ...newHost(h1), fact: 'alive', heardAtMs: 0, bootId: 'b1', session: 's1', startedAtMs: 1,
  capacity: { cpus: 8, memoryMib: 4096, scratchGib: 64 }, images: [{ digest, name: 'el9', contact: 'agent' }], ...facts,
})

/** Anna's job without wishes, changed as told. */
export const jobWith = (facts: Partial<WaitingJob> = {}): WaitingJob => ({
  id: job('h1-1'), host: h1, owner: anna, groups: ['users'], queue: null, batchSystem: null, type: null, cpus: null, memoryMib: null, scratchGib: null, submittedAtMs: 0, ...facts,
})

/** The same values in another order. */
export const shuffled = <T>(values: readonly T[]): fc.Arbitrary<T[]> => fc.shuffledSubarray([...values], { minLength: values.length })
