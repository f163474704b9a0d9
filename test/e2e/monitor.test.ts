/** The monitor over a whole farm with a real guest: a job waits, runs and ends before the reader's eyes, and the controller dies meanwhile. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { vwnDetailSchema } from '../../wire/api.ts'
import { samplesReplySchema, type Sample } from '../../wire/look.ts'
import { hasBrowser, startBrowser } from '../harness/browser.ts'
import { startFarm } from '../harness/farm.ts'

const mapping = `
types:
  small: { image: tiny, cpus: 1, memory_mib: 128 }
rules: []
default: { type: small }
`
/** Emulated, on a busy host. */
const bootMs = 150_000

test.skipIf(!hasBrowser)('a job is seen to wait, to run through a restart of the controller, and to end', async () => {
  await using farm = await startFarm({ baits: 1, cpus: 1, memory: 512, mapping })
  const url = readFileSync(farm.home.controllerUrl, 'utf8').trim()
  await using browser = await startBrowser()
  const { page, text, untilText, axe, complaints } = await browser.open(`${url}/`)
  await untilText(/h1[^]*0\/1/, '.field')
  const first = farm.start(['sh', '-c', 'read line; echo "burns and writes" > /dev/console; dd if=/dev/zero of=/tmp/written bs=1M count=16; sync; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; read line; exit 3'])
  await untilText(/h1-1 sh[^]*Waits for v1, which is (requested|preparing|booting)/, '.jobs')
  await untilText(/Is running in v1 on h1/, '.jobs', bootMs)
  await untilText(/■/, '[data-vwn=v1]')
  const second = farm.start(['true'])
  await untilText(/h1-2 true/, '.jobs')
  expect(await axe()).toEqual([])

  await page.type('input[name=job]', 'h1-2')
  await untilText(/^(?![^]*h1-1 sh)[^]*h1-2 true/, '.jobs')
  expect(page.url()).toContain('job=h1-2')
  await page.click('.filter button')
  expect(complaints).toEqual([])

  // What it does is seen where its host measures it: from one sample to the next.
  await page.goto(`${url}/?page=vwn&id=v1`)
  const samples = async (): Promise<readonly Sample[]> => (await farm.api.get('/vwns/v1/samples', samplesReplySchema)).samples
  const before = await until(async () => (await samples()).at(-1), { withinMs: bootMs, what: 'a sample' })
  first.stdin?.write('go\n')
  await untilText(/burns and writes/, '.console', bootMs)
  const after = await until(async () => (await samples()).find(({ writtenBytes }) => (writtenBytes ?? 0) - (before.writtenBytes ?? 0) >= 16 * 1024 ** 2), { withinMs: bootMs, what: 'what it has written' })
  expect(after.cpuMs - before.cpuMs).toBeGreaterThan(200)
  expect(after.memoryBytes).toBeGreaterThan(16 * 1024 ** 2)
  expect(after.fromGuestBytes).toBeGreaterThan(0)
  await untilText(/What it uses[^]*processors \d+\.\d\d[^]*read \d+\.\d\d MiB\/s/, 'main', bootMs)
  expect((await farm.cli(['console', 'v1'])).stdout).toContain('burns and writes')
  expect(complaints).toEqual([])
  await page.goto(`${url}/`)
  await untilText(/h1-2 true/, '.jobs')

  await farm.kill('controller')
  await untilText(/stale/, '.fresh')
  await farm.restart('controller')
  await untilText(/live/, '.fresh', bootMs)
  first.stdin?.end('go\n')
  await untilText(/None\./, '.jobs', bootMs)
  expect([await ending(first), await ending(second)]).toEqual([3, 0])

  await page.goto(`${url}/?page=job&id=h1-1`)
  await untilText(/Ended: exit 3\.[^]*Where its time went[^]*boot[^]*run[^]*Why it got this[^]*the default rule/)
  expect(await axe()).toEqual([])
  await page.goto(`${url}/?page=vwn&id=v1`)
  expect(await untilText(/Its life[^]*requested[^]*busy[^]*Its jobs[^]*h1-1/)).toMatch(/tiny/)
  expect(await text('.fresh')).toBe('live')

  const { events } = await farm.api.get('/vwns/v1', vwnDetailSchema)
  await page.goto(`${url}/?at=${Math.ceil(events.find(({ to }) => to === 'busy')?.atMs ?? 0)}`)
  await untilText(/h1-1 sh[^]*Is running in v1/, '.jobs')
  await untilText(/v1 on h1 ■ busy/, '.events li[aria-current]')
  expect(complaints.filter((line) => !line.includes('net::ERR_'))).toEqual([])
})

const ending = (child: ReturnType<Awaited<ReturnType<typeof startFarm>>['start']>): Promise<number | null> =>
  child.exitCode === null ? new Promise((resolve) => child.once('exit', resolve)) : Promise.resolve(child.exitCode)
