/** Small farms that bring out different troubles: two hosts, up to three VWNs and two jobs each. */
import { hostId } from '../../core/ids.ts'
import { job, mappingWith, type Scenario } from './world.ts'

const h1 = hostId('h1')
const h2 = hostId('h2')
const two = { cpus: 2, memoryMib: 2, scratchGib: 2 }
const single = { cpus: 1, memoryMib: 1, scratchGib: 1 }

export const scenarios: readonly [Scenario, ...Scenario[]] = [
  {
    name: 'one user, room for two: a warm VWN is used again', capacity: two, mapping: mappingWith({ perType: null, reuse: 'same-user' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h1-2'), host: h1, uid: 1 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'two users, room for one: a warm VWN makes room', capacity: single, mapping: mappingWith({ perType: null, reuse: 'same-user' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h1-2'), host: h1, uid: 2 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'two hosts, one VWN allowed in all', capacity: single, mapping: mappingWith({ perType: 1, reuse: 'same-user' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h2-1'), host: h2, uid: 2 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'nothing is used again', capacity: single, mapping: mappingWith({ perType: null, reuse: 'never' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h1-2'), host: h1, uid: 1 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'two users of one group, room for one: a warm VWN is shared', capacity: single, mapping: mappingWith({ perType: null, reuse: 'same-group' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1, gid: 7 }, { id: job('h1-2'), host: h1, uid: 2, gid: 7 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'two users of no project: nothing is shared', capacity: single, mapping: mappingWith({ perType: null, reuse: 'same-project' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1, gid: 7 }, { id: job('h1-2'), host: h1, uid: 2, gid: 7 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'one is kept ready, room for two, one VWN to a user: taken, refilled, given up', capacity: two, mapping: mappingWith({ perType: null, reuse: 'same-user', ready: 1, perUser: 1 }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h1-2'), host: h1, uid: 1 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'one is kept ready on each host, one VWN allowed in all', capacity: single, mapping: mappingWith({ perType: 1, reuse: 'never', ready: 1 }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h2-1'), host: h2, uid: 2 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'two users, room for two, a processor for one: each waits for the other\'s', capacity: { ...two, cpus: 1 }, mapping: mappingWith({ perType: null, reuse: 'same-user' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h1-2'), host: h1, uid: 2 }], vwnsMax: 3, faults: 1,
  },
  {
    name: 'no guest starts on one of two hosts: its jobs run on the host itself', capacity: single, mapping: mappingWith({ perType: null, reuse: 'same-user', fallback: 'bare' }),
    jobs: [{ id: job('h1-1'), host: h1, uid: 1 }, { id: job('h2-1'), host: h2, uid: 2 }], vwnsMax: 3, faults: 1, broken: 'tcg: it hangs',
  },
]
