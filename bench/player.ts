/**
 * Plays the baits of a large farm, in a process of its own so that what it costs is not the controller's. Every VWN slot has a user of its
 * own: his job ends, he rests for a while, and comes again to the VWN that he left warm.
 *
 *     fork('bench-player.js', [nats url, hosts, VWNs a host])      says { full } when every slot has its job, is told { perSecond }
 */
import { connect } from 'nats'
import type { JobId } from '../core/ids.ts'
import { systemClock } from '../kit/clock.ts'
import { until } from '../kit/until.ts'
import { startFakeBait, type FakeBait } from '../test/harness/fake-bait.ts'

/** What the bench says to the player: so many jobs end in a second, and as many come. */
export interface Told {
  readonly perSecond: number
}

interface Slot {
  readonly bait: FakeBait
  readonly user: string
  readonly uid: number
  job: JobId
}

const users = 97
const resting = 100
const tickMs = 10
const handedOverAtOnce = 200
const settings = { jobMs: null, bootMs: 200, cleanMs: 300, heartbeatMs: 2_000 } as const

const [url = '', hosts = 0, perHost = 0] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const connection = await connect({ servers: url })
const baits: FakeBait[] = []
for (let nth = 1; nth <= hosts; nth += 1) {
  baits.push(await startFakeBait({ ...settings, url: connection, host: `node${nth}`, capacity: { cpus: perHost + 2, memoryMib: (perHost + 2) * 1_024, scratchGib: 1_000 } }))
}

/** One slot of every host, then the next of every host: whoever looks at a part of the farm sees as much of it move as of the whole. */
const slots: Slot[] = []
for (let nth = 0; nth < perHost; nth += 1) {
  for (const [index, bait] of baits.entries()) {
    const of = (index * perHost + nth) % users
    slots.push({ bait, user: `user${of}`, uid: 2_000 + of, job: handOver(bait, `user${of}`, 2_000 + of) })
    if (slots.length % handedOverAtOnce === 0) await until(() => slots.filter(({ bait: on, job }) => on.jobs.get(job)?.state === 'waiting').length < handedOverAtOnce, { withinMs: 600_000, what: 'the jobs before have started' })
  }
}
await until(() => slots.every(isRunning), { withinMs: 600_000, what: 'all jobs run' })

let perSecond = 0
let [due, next] = [0, 0]
const out: Slot[] = []
systemClock.every(tickMs, () => {
  for (due += (perSecond * tickMs) / 1_000; due >= 1; due -= 1) turn()
})
process.on('message', (told: Told) => { ({ perSecond } = told) })
process.on('disconnect', () => process.exit(0))
process.send?.({ full: slots.length })

function turn(): void {
  const leaving = slots[next]
  next = (next + 1) % slots.length
  if (leaving !== undefined && isRunning(leaving)) {
    leaving.bait.finish(leaving.job)
    out.push(leaving)
  }
  if (out.length <= resting) return
  const back = out.shift()
  if (back !== undefined) back.job = handOver(back.bait, back.user, back.uid)
}

function isRunning({ bait, job }: Slot): boolean {
  return bait.jobs.get(job)?.state === 'running'
}

function handOver(bait: FakeBait, user: string, uid: number): JobId {
  return bait.submit({ user, uid, name: 'simulate.sh', want: { queue: uid % 3 === 0 ? 'long' : 'short', batchSystem: 'slurm', batchJobId: String(100_000 + uid) } })
}
