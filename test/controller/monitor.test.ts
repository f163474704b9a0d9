/** The monitor as its reader meets it: a real browser, the real server, and a bait that is played. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { freePort } from '../../kit/socket.ts'
import { jobId, vwnId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import type { Sample } from '../../wire/look.ts'
import { hasBrowser, startBrowser, type TestBrowser, type TestPage } from '../harness/browser.ts'
import { startTestController, type TestController } from '../harness/controller.ts'
import { startFakeBait, type FakeBait } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'
import { tempFolder } from '../harness/temp.ts'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

describe.skipIf(!hasBrowser)('in a browser', () => {
  let nats: NatsServer
  let controller: TestController
  let bait: FakeBait
  let browser: TestBrowser
  const url = (query = ''): string => `${controller.now.url}/${query}`
  beforeAll(async () => {
    nats = await startNats()
    controller = await startTestController({ natsUrl: nats.url, settings: { http: { host: '127.0.0.1', port: await freePort(), tokenFile: null } } })
    bait = await startFakeBait({ url: nats.url, host: 'h1', jobMs: null, capacity: { cpus: 4, memoryMib: 16_384, scratchGib: 100 } })
    browser = await startBrowser()
  })
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]()
    await bait?.stop()
    await controller?.[Symbol.asyncDispose]()
    await nats?.stop()
  })
  /** Every diagram of the page has two axes, and something between them. */
  const drawn = (page: TestPage['page']): Promise<boolean> => page.evaluate(`[...document.querySelectorAll('.curve')].every((curve) => {
    const canvas = curve.querySelector('canvas')
    const colours = new Set(new Uint32Array(canvas.getContext('2d').getImageData(60, 0, canvas.width - 60, canvas.height - 30).data.buffer))
    return curve.querySelectorAll('.u-axis:not(.u-off)').length === 2 && colours.size > 2
  })`) as Promise<boolean>
  /** From now on `window.shifts` has everything of the page that moves by itself. */
  const watchShifts = (page: TestPage['page']): Promise<unknown> =>
    page.evaluate('window.shifts = []; new PerformanceObserver((list) => window.shifts.push(...list.getEntries().map(({ value, sources }) => value + " " + sources.map(({ node }) => node?.className)))).observe({ type: "layout-shift" })')
  const block = (vwn: string | null): string => `[data-vwn="${vwn}"]`

  test('a job is seen to wait, to run and to end, and a click leads from its VWN to it', async () => {
    const { page, text, untilText, complaints } = await browser.open(url())
    await untilText(/live/, '.fresh')
    const running = ['a.sh', 'b.sh'].map((name) => bait.submit({ name, want: { queue: 'fast', batchSystem: 'slurm', batchJobId: `47${name}` } }))
    for (const job of running) await controller.untilJob(job, ({ state }) => state === 'running')
    const waiting = bait.submit({ user: 'bob', uid: 1002, name: 'patient.sh' })
    await untilText(/patient\.sh bob.*\n.*(room|cpus|full)/i, '.jobs')
    const [first] = running
    const { vwn } = await controller.job(first ?? '')
    await until(async () => (await page.$eval(block(vwn), (element) => element.getAttribute('aria-label')))?.startsWith(`${vwn} busy, standard, alice, job ${first}, 2 cpus`), { withinMs: 20_000 })

    await page.select('select[name=user]', 'bob')
    await until(async () => !(await text('.jobs')).includes('a.sh'), { withinMs: 20_000 })
    expect(page.url()).toContain('?user=bob')
    await page.goBack()
    await page.goto(url('?job=47a.sh'))
    await untilText(/a\.sh/, '.jobs')
    expect(await text('.jobs')).not.toContain('b.sh')

    await page.click(block(vwn))
    await untilText(new RegExp(`VWN ${vwn}[^]*state\\s+■ busy[^]*Its life[^]*requested[^]*Its jobs[^]*a\\.sh`))
    await page.click(`a[href*="id=${first}"]`)
    await untilText(new RegExp(`Job ${first}[^]*Is running in ${vwn} on h1[^]*Why it got this[^]*the default rule`))
    bait.finish(jobId(first ?? ''), { is: 'exited', code: 7 })
    await untilText(/Ended: exit 7\.[^]*Where its time went[^]*run[^]*in all[^]*Clean when it came in/)
    await controller.untilJob(waiting, ({ state }) => state === 'running')
    for (const job of [...bait.jobs.keys()]) bait.finish(job)
    expect(complaints).toEqual([])
    await page.close()
  })

  test('it says when it is stale, comes back by itself after the controller, and has missed nothing', async () => {
    const { page, untilText, complaints } = await browser.open(url())
    await untilText(/live/, '.fresh')
    await controller.halt()
    await untilText(/stale: the controller was last heard .* ago; trying again/, '.fresh')
    expect(complaints.filter((line) => !line.includes('net::ERR_'))).toEqual([]) // the browser itself says that nobody answers
    await controller.start()
    await until(async () => (await controller.hosts())[0]?.fact === 'alive', { withinMs: 20_000 })
    const job = bait.submit({ name: 'later.sh', want: { type: 'small' } })
    await untilText(/live/, '.fresh')
    await untilText(/later\.sh/, '.jobs')
    bait.finish(job)
    await until(async () => !(await page.$eval('.jobs', (element) => element.textContent))?.includes('later.sh'), { withinMs: 20_000 })
    await page.close()
  })

  test('arrow keys go from VWN to VWN, and Enter opens one', async () => {
    const { page, untilText } = await browser.open(url())
    await untilText(/live/, '.fresh')
    const here = (): Promise<string | null> => page.evaluate('document.activeElement.dataset.vwn ?? null') as Promise<string | null>
    await until(async () => (await page.$$('[data-vwn]')).length >= 2, { withinMs: 20_000 })
    await page.focus('[data-vwn]')
    const first = await here()
    await page.keyboard.press('ArrowRight')
    const second = await here()
    expect([first, second, first === second]).toEqual([expect.stringMatching(/^v\d/), expect.stringMatching(/^v\d/), false])
    await page.keyboard.press('ArrowLeft')
    expect(await here()).toBe(first)
    await page.keyboard.press('Enter')
    await untilText(new RegExp(`VWN ${first}`))
    await page.close()
  })

  test('the farm is shown as it was, with what happened around that moment, and the link says when', async () => {
    const job = bait.submit({ name: 'past.sh', user: 'erin', uid: 1009, want: { type: 'small', queue: 'fast' } })
    await controller.untilJob(job, ({ state }) => state === 'running')
    const { vwn } = await controller.job(job)
    bait.finish(job)
    await controller.untilJob(job, ({ state }) => state === 'ended')
    const busy = (await controller.vwn(vwn ?? '')).events.findLast(({ to }) => to === 'busy')
    const { page, untilText, text, axe, complaints } = await browser.open(url(`?at=${Math.ceil(busy?.atMs ?? 0)}&user=erin`))
    await untilText(/past\.sh erin[^]*Is running in/, '.jobs')
    await untilText(new RegExp(`${vwn} on h1 ■ busy`), '.events li[aria-current]')
    expect(await page.$eval(block(vwn), (element) => element.getAttribute('aria-label'))).toContain(`${vwn} busy`)
    for (const width of [1280, 390]) {
      await page.setViewport({ width, height: 900 })
      expect(await axe()).toEqual([])
    }
    await page.$eval('.rewind button', (button) => (button as unknown as { click: () => void }).click()) // to the event before
    await until(() => Number(new URL(page.url()).searchParams.get('at')) < (busy?.atMs ?? 0), { withinMs: 20_000 })
    expect(page.url()).toContain('user=erin')
    await page.$eval('.then a', (link) => (link as unknown as { click: () => void }).click())
    await until(() => !page.url().includes('at='), { withinMs: 20_000 })
    await untilText(/None\./, '.jobs')
    expect(await text('.top')).toContain('Rewind')
    expect(complaints).toEqual([])
    await page.close()
  })

  test('what a VWN uses and says is shown as it comes, with what its bait was told; nothing moves, and a host that is away is named', async () => {
    const job = bait.submit({ name: 'burn.sh', want: { type: 'small' } })
    const { vwn } = await controller.untilJob(job, ({ state }) => state === 'running')
    const id = vwnId(vwn ?? '')
    const sample = (atMs: number, cpuMs: number, writtenBytes: number): Sample => ({ atMs, cpuMs, memoryBytes: 96 * 1024 ** 2, readBytes: 0, writtenBytes, toGuestBytes: null, fromGuestBytes: null })
    bait.samples.set(id, [sample(Date.now() - 20_000, 0, 0), sample(Date.now() - 10_000, 7_500, 50 * 1024 ** 2)])
    const said = 'a line of the guest\n'.repeat(60)
    bait.consoles.set(id, said)
    const { page, untilText, complaints } = await browser.open(url(`?page=vwn&id=${vwn}`))
    await untilText(/What it uses[^]*processors 0\.75[^]*memory 96 MiB[^]*read 0\.00 MiB\/s, written 5\.00 MiB\/s[^]*to the guest not known[^]*Its console[^]*a line of the guest[^]*What its bait was told[^]*make it/)
    await until(async () => (await page.$$('.diagrams .curve canvas')).length === 4 && drawn(page), { withinMs: 20_000, what: 'four diagrams' })
    await watchShifts(page)
    const place = (): Promise<readonly [number, boolean]> => page.evaluate('(() => { const { scrollTop, scrollHeight, clientHeight } = document.querySelector(".console"); return [scrollTop, scrollTop + clientHeight >= scrollHeight - 4] })()') as Promise<readonly [number, boolean]>
    expect((await place())[1]).toBe(true)
    bait.consoles.set(id, `${said}comes last\n`)
    await untilText(/comes last/, '.console')
    expect((await place())[1]).toBe(true)
    await page.$eval('.console', (pane) => { (pane as unknown as { scrollTop: number }).scrollTop = 40 })
    await until(async () => (await place())[0] === 40, { withinMs: 20_000 })
    bait.consoles.set(id, `${said}comes last\nstill later\n`)
    await untilText(/still later/, '.console')
    expect(await place()).toEqual([40, false])
    expect(await page.evaluate('window.shifts')).toEqual([])
    expect(complaints).toEqual([])
    bait.mute()
    await untilText(/the bait of that host does not answer[^]*HOST_AWAY/)
    bait.unmute()
    await until(async () => !/HOST_AWAY/.test(await page.$eval('main', (main) => main.textContent ?? '')), { withinMs: 30_000, what: 'the host is back' })
    bait.finish(job)
    await page.close()
  })

  test('where the controller wants a token, the page asks for it, and tells nothing without', async () => {
    await using folder = await tempFolder()
    const tokenFile = join(folder.path, 'token')
    writeFileSync(tokenFile, 'aGVsbG8+d29ybGQ/123=')
    await using guarded = await startTestController({ natsUrl: nats.url, settings: { http: { host: '127.0.0.1', port: 0, tokenFile } } })
    const { page, untilText, axe } = await browser.open(guarded.now.url)
    await untilText(/This farm wants a token/)
    expect(await axe()).toEqual([])
    for (const [said, wanted] of [['of another farm', /wants a token/], ['aGVsbG8+d29ybGQ/123=', /live[^]*Jobs/]] as const) {
      await page.$eval('input[name=token]', (input) => { (input as unknown as { value: string }).value = '' })
      await page.type('input[name=token]', said)
      await page.keyboard.press('Enter')
      await untilText(wanted)
    }
    await page.close()
  })

  test('nothing of it moves while the farm changes', async () => {
    const { page, untilText } = await browser.open(url())
    await untilText(/live/, '.fresh')
    await watchShifts(page)
    const job = bait.submit({ name: 'moves.sh', want: { type: 'small' } })
    await untilText(/moves\.sh/, '.jobs')
    await controller.untilJob(job, ({ state }) => state === 'running')
    bait.finish(job)
    await until(async () => !(await page.$eval('.jobs', (element) => element.textContent))?.includes('moves.sh'), { withinMs: 20_000 })
    expect(await page.evaluate('window.shifts')).toEqual([])
    await page.close()
  })

  test('the curve of jobs that ended is drawn, with its times', async () => {
    const { page, untilText } = await browser.open(url('?page=times&hours=1'))
    await untilText(/jobs? ended/)
    await until(() => drawn(page), { withinMs: 20_000, what: 'lines of two axes and a curve' })
    await page.close()
  })

  test('every page can be read by everybody: both themes, wide and narrow', async () => {
    const shown: TestPage = await browser.open(url())
    const [vwn] = await controller.vwns()
    const [job] = await controller.jobs('?only=ended')
    const pages = [['', /h1/], [`?page=vwn&id=${vwn?.vwn}`, /Its life/], [`?page=job&id=${job?.job}`, /Why it got this[^]*decided/], ['?page=types', /standard[^]*Images[^]*debian12/], ['?page=times&hours=1', /\d+ jobs? ended[^]*standard[^]*h1/]] as const
    for (const [query, wanted] of pages) {
      await shown.page.goto(url(query))
      await shown.untilText(wanted)
      for (const theme of ['light', 'dark'] as const) {
        for (const width of [1280, 390]) {
          await shown.look({ theme, width })
          expect(await shown.axe(), `${query} ${theme} ${width}`).toEqual([])
          expect(await shown.page.evaluate('document.documentElement.scrollWidth <= innerWidth'), `${query} fits into ${width}`).toBe(true)
        }
      }
    }
    expect(shown.complaints).toEqual([])
    await shown.page.close()
  })
})
