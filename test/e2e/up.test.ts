/** `wnod up` as a user has it: it restarts what dies, is taken over when it dies itself, and leaves nothing when it goes. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { controllerApi } from '../../cli/client.ts'
import { Undo } from '../../kit/undo.ts'
import { chooseImageStore } from '../../kit/image-store.ts'
import { homePaths, type Home } from '../../kit/paths.ts'
import { readPidFile } from '../../kit/pid-file.ts'
import { commandLine, findProcesses, isAlive, killAndWait, signalProcess } from '../../kit/process.ts'
import { run } from '../../kit/command.ts'
import { until } from '../../kit/until.ts'
import { hostsReplySchema } from '../../wire/api.ts'
import { ended, type Ended } from '../harness/farm.ts'
import { tempFolder } from '../harness/temp.ts'

const bin = join(import.meta.dirname, '../../bin/wnod.js')

interface Site extends AsyncDisposable {
  readonly home: Home
  start(...args: string[]): ChildProcess
  wnod(...args: string[]): Promise<Ended>
}

/** A home for one farm, and `wnod` in it; whatever happens, nothing runs there afterwards. */
async function site(): Promise<Site> {
  const folder = await tempFolder()
  const home = homePaths(join(folder.path, 'h'), { images: chooseImageStore('', process.env) })
  const env = { ...process.env, WNOD_HOME: home.home, WNOD_IMAGES: home.images }
  const start = (...args: string[]): ChildProcess => spawn(process.execPath, [bin, ...args], { env, stdio: 'pipe' })
  return {
    home,
    start,
    wnod: (...args) => ended(start(...args)),
    async [Symbol.asyncDispose]() {
      await ended(start('down'))
      const left = findProcesses((args) => args.some((arg) => arg.includes(`${home.home}/`)))
      const lines = left.map((ref) => commandLine(ref.pid)?.join(' '))
      for (const ref of left) await killAndWait(ref)
      await folder[Symbol.asyncDispose]()
      expect(lines).toEqual([])
    },
  }
}

const pidOf = async (home: Home, program: string) => {
  const ref = await readPidFile(home.pid(program))
  if (ref === null) throw new Error(`${program} does not run`)
  return ref
}

test('programs that are killed come back, a killed supervisor is replaced, and down leaves nothing', async () => {
  await using here = await site()
  const { home } = here
  expect(await here.wnod('up', '--detach', '--baits', '2')).toMatchObject({ code: 0, stderr: expect.stringMatching(/bait-h2 is ready .*\nthe farm is up, http:\/\/127\.0\.0\.1:\d+ shows it in a browser/) as string })
  expect(await here.wnod('up', '--detach')).toMatchObject({ code: 1, stderr: expect.stringContaining('FARM_UP') as string })

  for (const program of ['nats', 'controller', 'bait-h2']) {
    const before = await pidOf(home, program)
    signalProcess(before, 'SIGKILL')
    await until(async () => (await pidOf(home, program)).pid !== before.pid, { withinMs: 30_000, what: `${program} runs again` })
  }
  const api = controllerApi(home)
  const alive = async (): Promise<boolean> => (await api.get('/hosts', hostsReplySchema)).hosts.filter((host) => host.fact === 'alive').length === 2
  await until(alive, { withinMs: 60_000, what: 'both hosts are heard again' })

  const [supervisor, bait] = [await pidOf(home, 'farm'), await pidOf(home, 'bait-h1')]
  signalProcess(supervisor, 'SIGKILL')
  await until(() => !isAlive(supervisor), { withinMs: 10_000 })
  expect(await here.wnod('up', '--detach', '--baits', '3')).toMatchObject({ code: 1, stderr: expect.stringContaining('FARM_UP') as string })
  expect(await here.wnod('up', '--detach')).toMatchObject({ code: 0, stderr: expect.stringContaining('taken over') as string })
  expect(await pidOf(home, 'bait-h1')).toEqual(bait)

  expect(await here.wnod('down')).toMatchObject({ code: 0, stderr: 'the farm is stopped and removed\n' })
  expect(existsSync(home.home)).toBe(false)
})

test('in the foreground Ctrl-C takes it down; --keep keeps what is worth keeping', async () => {
  await using here = await site()
  const { home } = here
  const up = here.start('up')
  const said: Buffer[] = []
  up.stderr?.on('data', (chunk: Buffer) => said.push(chunk))
  await until(() => Buffer.concat(said).toString().includes('the farm is up'), { withinMs: 120_000, what: 'the farm is up' })
  const end = ended(up)
  up.kill('SIGINT')
  expect(await end).toMatchObject({ code: 0 })
  expect(existsSync(home.home)).toBe(false)

  expect(await here.wnod('up', '--detach')).toMatchObject({ code: 0 })
  expect(await here.wnod('down', '--keep')).toMatchObject({ code: 0, stderr: 'the farm is stopped\n' })
  expect(readdirSync(home.home).sort()).toEqual(expect.arrayContaining(['db', 'etc', 'farm.json', 'hosts', 'log']))
  expect(await here.wnod('up', '--detach')).toMatchObject({ code: 0 })
})

test('a farm that cannot come up says why and runs nothing', async () => {
  await using here = await site()
  mkdirSync(here.home.etc, { recursive: true })
  writeFileSync(here.home.mapping, 'types: { a: { image: no-such-image } }\ndefault: { type: a }\n')
  const end = await here.wnod('up', '--detach')
  expect(end.code).not.toBe(0)
  expect(end.stderr).toMatch(/no-such-image/)
  expect(end.stderr).toMatch(/\(MAPPING_REFUSED\)\nhint: /)
})

// A disk that is full is made of a small tmpfs, which only root can mount.
test.skipIf(process.getuid?.() !== 0)('a home on a full disk is refused', async () => {
  await using undo = new Undo()
  const folder = await tempFolder()
  undo.push('folder', () => folder[Symbol.asyncDispose]())
  await run('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'wnod-test', folder.path])
  undo.push('mount', () => run('umount', [folder.path]))
  const end = await ended(spawn(process.execPath, [bin, 'up', '--home', join(folder.path, 'h')], { env: process.env, stdio: 'pipe' }))
  expect(end).toMatchObject({ code: 75, stderr: expect.stringContaining('DISK_FULL') as string })
  expect(readdirSync(folder.path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())).toEqual([])
})
