/** The bait as a process: what it says and how it exits, before it does anything. */
import { execFile } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { claimPidFile } from '../../kit/pid-file.ts'
import { homePaths } from '../../kit/paths.ts'
import { version } from '../../kit/version.ts'

const folder = mkdtempSync(join(tmpdir(), 'wnod-'))
const program = join(folder, 'bait.mjs')

beforeAll(async () => {
  const banner = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url); const __dirname = import.meta.dirname;"
  await build({ entryPoints: ['bait/main.ts'], outfile: program, bundle: true, platform: 'node', format: 'esm', target: 'node20', logLevel: 'silent', external: ['cpu-features', '*.node'], banner: { js: banner } })
}, 60_000)
afterAll(() => rm(folder, { recursive: true }))

const bait = (...args: string[]): Promise<{ exit: number; stdout: string; stderr: string }> =>
  new Promise((resolve) =>
    execFile(process.execPath, [program, ...args], { env: { ...process.env, WNOD_HOME: join(folder, 'home'), WNOD_IMAGES: join(folder, 'images') }, timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ exit: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, stdout, stderr }),
    ),
  )

test('--version and --check-config answer and touch nothing', { timeout: 30_000 }, async () => {
  expect(await bait('--version')).toMatchObject({ exit: 0, stdout: `${version}\n` })
  const checked = await bait('--config', 'bait/bait.example.toml', '--check-config')
  expect(checked).toMatchObject({ exit: 0, stderr: '' })
  expect(checked.stdout).toMatch(/^host += "node017" +# bait\/bait\.example\.toml:5$/m)
  expect(checked.stdout).toMatch(/^images .*# default$/m)
  expect(await readdir(folder)).toEqual(['bait.mjs'])
})

test('bad input gets its code, a hint, and an exit status that tells usage from failure', { timeout: 60_000 }, async () => {
  const bad = join(folder, 'bad.toml')
  await writeFile(bad, 'host = "h1"\nimage = "x"\n')
  const unknown = await bait('--config', bad)
  expect(unknown.exit).toBe(2)
  expect(unknown.stderr).toMatch(/nearest=images[\s\S]*CONFIG_UNKNOWN_KEY/)
  expect(await bait('--config', join(folder, 'none.toml'))).toMatchObject({ exit: 2, stderr: expect.stringContaining('CONFIG_UNREADABLE') as string })
  expect(await bait()).toMatchObject({ exit: 2, stderr: expect.stringContaining('key=host') as string })
  expect(await bait('--nonsense')).toMatchObject({ exit: 2 })
  expect(await bait('--home', `/${'x'.repeat(100)}`, '--host', 'h1')).toMatchObject({ exit: 2, stderr: expect.stringContaining('HOME_PATH_TOO_LONG') as string })
})

test('a second bait of the same host is refused', { timeout: 30_000 }, async () => {
  const home = homePaths(join(folder, 'home'))
  await using _holder = await claimPidFile(home.host('h1').pid)
  expect(await bait('--host', 'h1')).toMatchObject({ exit: 1, stderr: expect.stringContaining('PROGRAM_RUNNING') as string })
})

test('audit of an unused home is 0, and doctor says what is missing', { timeout: 60_000 }, async () => {
  expect(await bait('audit', '--json')).toMatchObject({ exit: 0, stdout: expect.stringContaining('"unexplained": 0') as string })
  const report = await bait('doctor', '--json')
  expect(report.exit).toBe(1)
  expect(JSON.parse(report.stdout)).toMatchObject({ fit: false })
})
