/** Rows of a farm that does not exist. */
import { hostId, imageDigest, jobId, typeName, vwnId } from '../../core/ids.ts'
import type { Farm as FarmRows, FarmHost, FarmJob, FarmVwn } from '../../wire/farm.ts'

export const aHost = (change: Partial<FarmHost> = {}): FarmHost => ({
  host: hostId('h1'), want: 'open', fact: 'alive', capacity: { cpus: 16, memoryMib: 65_536, scratchGib: 500 }, used: { cpus: 0, memoryMib: 0, scratchGib: 0 }, broken: null, ...change,
})

export const aVwn = (change: Partial<FarmVwn> = {}): FarmVwn => ({
  vwn: vwnId('v1'), host: hostId('h1'), type: typeName('standard'), state: 'idle', paused: false, sinceMs: 1_000, job: null, user: null, cpus: 2, memoryMib: 1_024, scratchGib: 4,
  image: imageDigest('a'.repeat(64)), cause: null, ...change,
})

export const aJob = (change: Partial<FarmJob> = {}): FarmJob => ({
  job: jobId('h1-1'), name: 'true', host: hostId('h1'), user: 'alice', queue: null, state: 'waiting', type: null, vwn: null, batchSystem: null, batchJobId: null,
  submittedAtMs: 1_000, endedAtMs: null, made: null, why: null, outcome: null, ...change,
})

export const rows = (change: Partial<FarmRows> = {}): FarmRows => ({ generation: 1, nowMs: 1_000, hosts: [], vwns: [], jobs: [], ...change })
