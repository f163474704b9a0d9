/** Pictures of the monitor, for docs/: always the same small farm, as far as a running thing can be the same. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { JobId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import { startBrowser, type TestPage } from './browser.ts'
import { startTestController, type TestController } from './controller.ts'
import { startFakeBait, type FakeBait } from './fake-bait.ts'
import { startNats } from './nats.ts'

const hosts = 12
const jobs = 34
const users = ['alice', 'bob', 'carol', 'dan']
const names = ['simulate.sh', 'fit', 'render', 'blast']

/** The files written. */
export async function makeScreens(folder: string): Promise<readonly string[]> {
  mkdirSync(folder, { recursive: true })
  await using nats = await startNats()
  await using controller = await startTestController({ natsUrl: nats.url })
  const baits: FakeBait[] = []
  for (let nth = 1; nth <= hosts; nth += 1) {
    baits.push(await startFakeBait({ url: nats.url, host: `node${nth}`, jobMs: null, capacity: { cpus: 6, memoryMib: 8_192, scratchGib: 200 }, boot: nth % 5 === 0 ? 'hang' : 'ready' }))
  }
  const ended = await fill(controller, baits)
  await using browser = await startBrowser()
  const shown = await browser.open(controller.now.url)
  const written: string[] = []
  const shoot = async (name: string, query: string, wanted: RegExp): Promise<void> => {
    await shown.page.goto(`${controller.now.url}/${query}`)
    await shown.untilText(wanted)
    written.push(await picture(shown, join(folder, `${name}.png`)))
  }
  await shoot('farm', '', /live[^]*node12/)
  await shown.look({ theme: 'dark', height: 800 })
  await shoot('filtered', '?user=alice', /live[^]*alice/)
  await shown.look({ theme: 'light', height: 800 })
  await shoot('job', `?page=job&id=${ended}`, /Why it got this[^]*decided/)
  await shoot('vwn', `?page=vwn&id=${(await controller.job(ended)).vwn}`, /Its life[^]*Clean when/)
  await shoot('times', '?page=times&hours=1', /jobs? ended[^]*standard/)
  for (const bait of baits) await bait.stop()
  return written
}

/** Jobs of several users run, wait and have ended; the one that has. */
async function fill(controller: TestController, baits: readonly FakeBait[]): Promise<JobId> {
  const given = Array.from({ length: jobs }, (_, nth) => {
    const bait = baits[nth % baits.length]
    const user = users[nth % users.length] ?? ''
    const job = bait?.submit({ user, uid: 1001 + (nth % users.length), name: names[nth % names.length] ?? '', want: { queue: nth % 3 === 0 ? 'long' : 'short', batchSystem: 'slurm', batchJobId: String(4711 + nth), ...(nth % 4 === 1 && { type: 'small' }) } })
    return { bait, job }
  })
  const first = given[0]
  if (first?.job === undefined) throw new Error('there is no job')
  await controller.untilJob(first.job, ({ state }) => state === 'running')
  first.bait?.finish(first.job)
  await controller.untilJob(first.job, ({ state }) => state === 'ended')
  await until(async () => (await controller.jobs('?state=running')).length >= jobs / 2, { withinMs: 30_000, what: 'half of the jobs run' })
  return first.job
}

async function picture({ page }: TestPage, path: string): Promise<string> {
  await page.screenshot({ path: path as `${string}.png`, optimizeForSpeed: false })
  return path
}
