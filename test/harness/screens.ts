/** Pictures of the monitor, for docs/: always the same small farm, as far as a running thing can be the same. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { vwnId, type JobId } from '../../core/ids.ts'
import { Undo } from '../../kit/undo.ts'
import { until } from '../../kit/until.ts'
import type { Sample } from '../../wire/look.ts'
import { startBrowser } from './browser.ts'
import { startTestController, type TestController } from './controller.ts'
import { startFakeBait, type FakeBait } from './fake-bait.ts'
import { startNats } from './nats.ts'

const hosts = 12
const jobs = 34
const users = ['alice', 'bob', 'carol', 'dan']
const names = ['simulate.sh', 'fit', 'render', 'blast']

/** Wide and narrow: what stands on a desk, and what is in a hand. */
const sizes = [{ width: 1280, height: 800 }, { width: 390, height: 844 }] as const
const themes = ['light', 'dark'] as const
const quality = 60
const mib = 1024 ** 2

/** Every page at every size in every theme, in a folder that has nothing else afterwards; the files. */
export async function makeScreens(folder: string): Promise<readonly string[]> {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  await using nats = await startNats()
  await using controller = await startTestController({ natsUrl: nats.url })
  await using baits = new Undo()
  const played: FakeBait[] = []
  for (let nth = 1; nth <= hosts; nth += 1) {
    const bait = await startFakeBait({ url: nats.url, host: `node${nth}`, jobMs: null, capacity: { cpus: 6, memoryMib: 8_192, scratchGib: 200 }, boot: nth % 5 === 0 ? 'hang' : 'ready' })
    baits.push('bait', () => bait.stop())
    played.push(bait)
  }
  const { job, vwn, ranAtMs } = await fill(controller, played)
  played[0]?.samples.set(vwnId(vwn), halfAnHour(Date.now()))
  played[0]?.consoles.set(vwnId(vwn), consoleText)
  const pages = {
    farm: ['', /live[^]*node12/],
    vwn: [`?page=vwn&id=${vwn}`, /^(?=[^]*memory \d+ MiB)(?=[^]*step 4000)[^]*Its life[^]*Clean when/],
    job: [`?page=job&id=${job}`, /Why it got this[^]*decided/],
    types: ['?page=types', /standard[^]*Images[^]*debian12/],
    times: ['?page=times&hours=1', /jobs? ended[^]*standard/],
    rewind: [`?at=${ranAtMs}`, /as it was at[^]*Around this moment[^]*busy/],
  } as const
  await using browser = await startBrowser()
  const shown = await browser.open(controller.now.url)
  const written: string[] = []
  for (const [name, [query, wanted]] of Object.entries(pages)) {
    await shown.page.goto(`${controller.now.url}/${query}`)
    for (const size of sizes) {
      for (const theme of themes) {
        await shown.look({ ...size, theme })
        await shown.untilText(wanted)
        const path = join(folder, `${name}-${size.width}-${theme}.webp`) as `${string}.webp`
        await shown.page.screenshot({ path, type: 'webp', quality })
        written.push(path)
      }
    }
  }
  return written
}

const [everyMs, periods] = [10_000, 180]
const consoleText = `[    0.41] virtio_blk virtio1: [vda] 1048576 512-byte logical blocks
[    0.62] EXT4-fs (vda): mounted filesystem without journal
[    2.18] wnod-guest: available
[  611.07] simulate.sh[312]: step 4000 of 20000
`

/** What a simulation uses that reads its input, computes, and writes now and then. */
function halfAnHour(nowMs: number): readonly Sample[] {
  let [cpuMs, readBytes, writtenBytes, toGuestBytes] = [0, 0, 0, 0]
  return Array.from({ length: periods }, (_, nth) => {
    cpuMs += nth < 12 ? 2_500 : 9_200 + 600 * Math.sin(nth / 6)
    readBytes += nth < 12 ? 90 * mib : mib
    writtenBytes += nth % 30 > 26 ? 64 * mib : mib / 4
    toGuestBytes += nth < 12 ? 8 * mib : 40_000
    return {
      atMs: nowMs - (periods - nth) * everyMs, cpuMs: Math.round(cpuMs), memoryBytes: Math.round(mib * Math.min(420, 96 + nth * 3)), readBytes, writtenBytes, toGuestBytes, fromGuestBytes: nth * 60_000,
    }
  })
}

/** Jobs of several users run, wait and have ended; the one that has, with its VWN and a moment when it ran. */
async function fill(controller: TestController, baits: readonly FakeBait[]): Promise<{ readonly job: JobId; readonly vwn: string; readonly ranAtMs: number }> {
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
  const { vwn } = await controller.job(first.job)
  const busy = vwn === null ? undefined : (await controller.vwn(vwn)).events.find(({ to }) => to === 'busy')
  if (vwn === null || busy === undefined) throw new Error(`${first.job} has ended and was in no VWN`)
  return { job: first.job, vwn, ranAtMs: Math.ceil(busy.atMs) }
}
