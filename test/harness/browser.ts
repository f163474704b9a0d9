/** A real Chromium without a screen. Leaving its scope ends it and removes its profile; what pages complained about is an assertion of the test's. */
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import puppeteer, { type Browser, type Page } from 'puppeteer-core'
import { until } from '../../kit/until.ts'
import { tempFolder } from './temp.ts'

const chromium = '/usr/bin/chromium'
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Debian has it; where it is missing nothing can be said of pages. */
export const hasBrowser = existsSync(chromium)

export interface TestBrowser extends AsyncDisposable {
  open(url: string, look?: Look): Promise<TestPage>
}

export interface Look {
  readonly width?: number
  readonly height?: number
  readonly theme?: 'light' | 'dark'
}

export interface TestPage {
  readonly page: Page
  /** Errors on the console, exceptions nobody caught, and answers that were refused. */
  readonly complaints: readonly string[]
  /** What is to be read on it. */
  text(selector?: string): Promise<string>
  /** Waits until this can be read there. */
  untilText(wanted: RegExp, selector?: string, withinMs?: number): Promise<string>
  /** Changes size and theme. */
  look(look: Look): Promise<void>
  /** Serious findings of axe, one line each. */
  axe(): Promise<readonly string[]>
}

/** A browser of the test's own. */
export async function startBrowser(): Promise<TestBrowser> {
  const profile = await tempFolder()
  const browser = await puppeteer.launch({
    executablePath: chromium, userDataDir: profile.path, headless: true, timeout: 60_000,
    // Root may have no sandbox; /dev/shm may be small; nothing else is asked of the network.
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-background-networking', '--no-first-run', '--lang=en'],
  })
  return {
    open: (url, look) => openPage(browser, url, look ?? {}),
    async [Symbol.asyncDispose]() {
      await browser.close()
      await profile[Symbol.asyncDispose]()
    },
  }
}

async function openPage(browser: Browser, url: string, look: Look): Promise<TestPage> {
  const page = await browser.newPage()
  const complaints: string[] = []
  page.on('console', (message) => { if (message.type() === 'error') complaints.push(`${message.text()} (${message.location().url ?? ''})`) })
  page.on('pageerror', (error) => complaints.push(String(error)))
  const show = async ({ width = 1280, height = 900, theme = 'light' }: Look): Promise<void> => {
    await page.setViewport({ width, height })
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }])
  }
  const text = (selector = 'body'): Promise<string> => page.$eval(selector, (element) => (element as unknown as { innerText: string }).innerText)
  await show(look)
  await page.goto(url, { waitUntil: 'domcontentloaded' })
  return {
    page, complaints, text, look: show,
    untilText: (wanted, selector, withinMs = 20_000) =>
      until(async () => {
        const now = await text(selector)
        if (wanted.test(now)) return now
        throw new Error(`still reads: ${now.slice(0, 2_000)}`)
      }, { withinMs, what: `${wanted} on the page` }),
    async axe() {
      await page.evaluate(axe)
      return page.evaluate(`axe.run().then(({ violations }) => violations
        .filter(({ impact }) => impact === 'serious' || impact === 'critical')
        .map(({ id, help, nodes }) => id + ': ' + help + ': ' + nodes.slice(0, 3).map(({ html, failureSummary }) => html.slice(0, 200) + ' ' + failureSummary).join(' | ')))`) as Promise<string[]>
    },
  }
}
