/** `wnod up` and `wnod down` before and after there is a farm: what they refuse, and what they leave alone. */
import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { defaultMapping } from '../../cli/farm/mapping.ts'
import { prepareFarm } from '../../cli/farm/prepare.ts'
import { startProgram, supervisor, type FarmProgram } from '../../cli/farm/supervisor.ts'
import { programFile } from '../../cli/programs.ts'
import { takeAs } from '../../cli/run-as.ts'
import { systemClock } from '../../kit/clock.ts'
import { captureLog } from '../../kit/log.ts'
import { homePaths } from '../../kit/paths.ts'
import { readPidFile } from '../../kit/pid-file.ts'
import { isAlive, killAndWait, signalProcess } from '../../kit/process.ts'
import { listenTcp } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { mappingFileSchema } from '../../wire/mapping.ts'
import { ended } from '../harness/farm.ts'
import { tempFolder } from '../harness/temp.ts'

const bin = join(import.meta.dirname, '../../bin/wnod.js')
const wnod = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  ended(spawn(process.execPath, [bin, ...args], { env: { ...process.env, ...env }, stdio: 'pipe' }))

const images = [
  { name: 'tiny', contact: 'ssh' as const, minMemoryMib: 64 },
  { name: 'debian12', contact: 'agent' as const, minMemoryMib: 256 },
]

test('the mapping of a new farm is valid and offers every image, those with our agent first', () => {
  const mapping = mappingFileSchema.parse(parse(defaultMapping(images)))
  expect(Object.keys(mapping.types)).toEqual(['debian12', 'tiny'])
  expect(mapping.default).toMatchObject({ type: 'debian12', allow: ['tiny'] })
})

test('preparing twice keeps the ports, a changed mapping, and makes new keys', async () => {
  await using folder = await tempFolder()
  const home = homePaths(join(folder.path, 'home'))
  const first = await prepareFarm(home, { baits: 2 }, images)
  const creds = readFileSync(home.creds('bait-h2'), 'utf8')
  writeFileSync(home.mapping, 'types: {}\n')
  const second = await prepareFarm(home, {}, images)
  expect(second).toEqual({ ...first, mapping: null })
  expect(readFileSync(home.mapping, 'utf8')).toBe('types: {}\n')
  expect(readFileSync(home.creds('bait-h2'), 'utf8')).not.toBe(creds)
})

test('a port that another program has is refused, and nothing is written but the folders', async () => {
  await using folder = await tempFolder()
  const home = homePaths(join(folder.path, 'home'))
  const server = createServer()
  const port = await listenTcp(server, 0)
  await expect(prepareFarm(home, { natsPort: port }, images)).rejects.toMatchObject({ code: 'PORT_IN_USE' })
  await new Promise((resolve) => server.close(resolve))
  expect(readdirSync(home.home, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())).toEqual([])
})

test('a home that somebody else made is left alone by up and down', async () => {
  await using folder = await tempFolder()
  mkdirSync(join(folder.path, 'etc'))
  writeFileSync(join(folder.path, 'etc/controller.toml'), '# mine\n')
  for (const args of [['up', '--home', folder.path], ['down', '--home', folder.path]]) {
    const end = await wnod(args)
    expect(end).toMatchObject({ code: 1, stdout: '' })
    expect(end.stderr).toMatch(/^wnod: this home was not made by `wnod up` .*\(FARM_FOREIGN\)\nhint: /)
  }
  expect(readdirSync(folder.path, { recursive: true })).toEqual(['etc', 'etc/controller.toml'])
})

test('down where nothing is up says so and is content', async () => {
  await using folder = await tempFolder()
  expect(await wnod(['down', '--home', folder.path])).toMatchObject({ code: 0, stderr: `no farm is up in ${folder.path}\n` })
})

test.each(['nats-server', 'qemu-system-x86_64'])('without %s the farm is refused with the name of what is missing', async (missing) => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'bin')
  mkdirSync(path)
  for (const command of ['nats-server', 'qemu-system-x86_64'].filter((one) => one !== missing)) symlinkSync('/bin/true', join(path, command))
  const end = await wnod(['up', '--home', join(folder.path, 'home')], { PATH: path })
  expect(end.code).toBe(1)
  expect(end.stderr).toContain(`wnod: a command is not installed (command=${missing}) (COMMAND_MISSING)\nhint: \`wnod doctor\``)
  expect(existsSync(join(folder.path, 'home'))).toBe(false)
})

test.each([
  [['hosts'], 75, /the controller does not answer .*CONTROLLER_AWAY/],
  [['hosts', '--colour'], 2, /unknown option '--colour'/],
  [['frobnicate'], 2, /unknown command 'frobnicate'/],
  [['up', '--baits', 'many'], 2, /--baits.*OPTION_INVALID/],
  [['explain'], 2, /name either a job or --user.*OPTION_INVALID/],
  [['show', 'Ünfug'], 2, /no id of a VWN.*OPTION_INVALID/],
  [['run', '--as', 'no-such-user', '--', 'true'], 1, /no such user|only root/],
  [['hosts', '--home', `/tmp/${'x'.repeat(120)}`], 2, /too long a path.*HOME_PATH_TOO_LONG/],
] as const)('wnod %j exits %i', async (args, code, words) => {
  await using folder = await tempFolder()
  const end = await wnod(args, { WNOD_HOME: folder.path })
  expect(end.stderr).toMatch(words)
  expect(end).toMatchObject({ code, stdout: '' })
})

test('--as is taken out of the options and never out of the command', () => {
  expect(takeAs(['--type', 't', '--as', 'eve', '--', 'sh', '--as', 'x'])).toEqual({ user: 'eve', rest: ['--type', 't', '--', 'sh', '--as', 'x'] })
  expect(takeAs(['--as=eve', 'true'])).toEqual({ user: 'eve', rest: ['true'] })
  expect(takeAs(['--', 'sh', '--as', 'x'])).toBeNull()
  expect(() => takeAs(['--as', '--', 'x'])).toThrow(/a user is wanted/)
})

// Only root can become somebody else.
test.skipIf(process.getuid?.() !== 0)('--as needs no way for the user to the clone or to Node: both may be in root\'s own home', async () => {
  await using folder = await tempFolder() // mode 0700
  mkdirSync(join(folder.path, 'dist'))
  for (const program of ['wnod.js', 'starter.cjs'] as const) copyFileSync(programFile(program), join(folder.path, 'dist', program))
  copyFileSync(process.execPath, join(folder.path, 'node'))
  const end = await ended(spawn(join(folder.path, 'node'), [join(folder.path, 'dist/wnod.js'), 'run', '--as', 'nobody', '--version'], { stdio: 'pipe' }))
  expect(end).toMatchObject({ code: 0, stdout: expect.stringMatching(/^wnod-starter \d/) as string, stderr: '' })
})

test('the supervisor starts what died, takes over what runs, and leaves all running when it stops', async () => {
  await using folder = await tempFolder()
  const program: FarmProgram = {
    name: 'nap', command: ['sleep', '1000'], log: join(folder.path, 'nap.log'), pidFile: join(folder.path, 'nap.pid.json'),
  }
  const first = await startProgram(program)
  const { log, lines } = captureLog()
  const kit = { clock: systemClock, log, signal: new AbortController().signal }
  const keeper = supervisor(kit, [program])
  await keeper.start()
  await until(() => lines.some((line) => line.msg === 'running program taken over'), { withinMs: 5_000 })
  expect(await readPidFile(program.pidFile)).toEqual(first)

  if (first !== null) signalProcess(first, 'SIGKILL')
  const again = async () => {
    const ref = await readPidFile(program.pidFile)
    return ref?.pid === first?.pid ? null : ref
  }
  const second = await until(again, { withinMs: 10_000, what: 'it runs again' })
  expect(keeper.deaths('nap')).toBe(1)
  await keeper.stop()
  expect(isAlive(second)).toBe(true)
  await killAndWait(second)
})
