/**
 * A bait in a process of its own that dies by `kill -9` right after one effect. Its jobs are played: one waits from the start if
 * asked for, lets go of its VWN at once, and its scrub finds nothing. Bundled and run by test/integration/bait-crash.test.ts.
 */
import { createBait } from '../../bait/bait.ts'
import { baitSchema } from '../../bait/config.ts'
import type { TemplateEffect } from '../../bait/templates/build.ts'
import type { EffectName } from '../../bait/vwns/boot.ts'
import { systemClock } from '../../kit/clock.ts'
import { createLog } from '../../kit/log.ts'
import { homePaths } from '../../kit/paths.ts'
import { playedDoor } from '../bait/played-door.ts'
import { playedJobs } from '../bait/played-jobs.ts'

/** What the parent tells: one JSON text as the only argument. */
export interface ChildOrders {
  readonly home: string
  readonly images: string
  readonly nats: string
  readonly dieAfter: EffectName | TemplateEffect | null
  readonly job: string | null
  /** VWNs are cloned where that is possible. */
  readonly templates: boolean
}

const { home, images, nats, dieAfter, job, templates } = JSON.parse(process.argv[2] ?? '') as ChildOrders
/** A job that is to wake its VWN comes when that stands still. */
const wakes = dieAfter === 'woken'
const jobs = playedJobs({ endsAtOnce: true })
const settings = baitSchema(images).parse({ host: 'h1', nats: { servers: [nats] }, vm: { accelerator: 'tcg' }, report: { heartbeat_ms: 200 }, templates: { disk_gib: templates ? 8 : 0 } })
const kit = { clock: systemClock, log: createLog({ program: 'bait', level: 'debug' }), signal: new AbortController().signal }
const bait = createBait(kit, homePaths(home), settings, {
  openJobs: () => ({ jobs, clean: jobs.clean, door: playedDoor() }),
  after: dieAt,
  afterTemplate: dieAt,
})
function dieAt(effect: EffectName | TemplateEffect): void {
  if (effect === dieAfter) process.kill(process.pid, 'SIGKILL')
  if (effect === 'paused' && job !== null && wakes) jobs.submit(job)
}
await bait.start()
if (job !== null && !wakes) jobs.submit(job)
process.once('SIGTERM', () => void bait.stop().then(() => process.exit(0)))
