// Everything that must be there before the project can run, each step only where it is needed:
//   Debian packages → npm ci ┬→ build → guest images          node scripts/setup.mjs --for demo|test|bench|image [--yes]
//                            └→ compile the native modules
// Plain Node without dependencies: it runs before node_modules exists.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { imageStore } from './store.mjs'

const root = new URL('..', import.meta.url).pathname
process.chdir(root)
const began = performance.now()
const seconds = (since) => ((performance.now() - since) / 1000).toFixed(1)
const say = (line) => process.stderr.write(`setup: ${line}\n`)

/** Ends the run: a sentence, what to do about it, and an exit status (1 refused, 2 usage). */
function refuse(message, hint, code = 1) {
  process.stderr.write(`setup: ${message}\nhint: ${hint}\n`)
  process.exit(code)
}

const images = ['debian12', 'tiny']
const purposes = { demo: images, test: images, bench: images, image: [] }

function options() {
  const args = process.argv.slice(2)
  const at = args.indexOf('--for')
  const purpose = at === -1 ? 'demo' : args[at + 1]
  const rest = args.filter((_, i) => at === -1 || (i !== at && i !== at + 1))
  const unknown = rest.find((arg) => arg !== '--yes')
  if (!Object.hasOwn(purposes, purpose ?? '') || unknown !== undefined) {
    refuse(`usage: node scripts/setup.mjs [--for ${Object.keys(purposes).join('|')}] [--yes]`, `${unknown ?? purpose} is not known`, 2)
  }
  return { purpose, yes: rest.includes('--yes') }
}

/** Steps that run at present, for one line of progress; more than one where neither waits for the other. */
const running = new Set()
let ticking = null
const terminal = process.stderr.isTTY

function showProgress() {
  const lines = [...running].map(({ name, since, last }) => `${name} … ${seconds(since)} s  ${last}`)
  if (!terminal) return void process.stderr.write(lines.map((line) => `setup: ${line.slice(0, 150)}\n`).join(''))
  const width = Math.floor((Math.max(20, (process.stderr.columns ?? 100) - 1) - 'setup: '.length) / Math.max(1, lines.length)) - 3
  process.stderr.write(`\r\u001b[K${lines.length === 0 ? '' : `setup: ${lines.map((line) => line.slice(0, width)).join(' · ')}`}`)
}

/** Runs a command, shows how far it is (its last line and the seconds), and its last words if it fails. */
async function step(name, command, args, env = {}) {
  const tail = []
  const child = spawn(command, args, { stdio: ['inherit', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  const self = { name, since: performance.now(), last: '', child }
  const take = (chunk) => {
    for (const line of chunk.toString().split(/[\r\n]+/)) {
      if (line.trim() === '') continue
      self.last = line.trim()
      tail.push(self.last)
      if (tail.length > 60) tail.shift()
    }
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  say(`${name} …`)
  running.add(self)
  ticking ??= setInterval(showProgress, terminal ? 200 : 5000)
  const failure = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message))
    child.once('close', (code, signal) => resolve(code === 0 ? null : (signal ?? `exit ${code}`)))
  })
  running.delete(self)
  if (running.size === 0) {
    clearInterval(ticking)
    ticking = null
  }
  if (terminal) process.stderr.write('\r\u001b[K')
  if (failure === null) {
    say(`${name}: done in ${seconds(self.since)} s`)
    return
  }
  process.stderr.write(tail.map((line) => `  ${line}\n`).join(''))
  for (const other of running) other.child.kill()
  refuse(`${name} failed after ${seconds(self.since)} s (${failure})`, `run it by hand to see more: ${[command, ...args].join(' ')}`)
}

// ---------------------------------------------------------------- node

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major > 20 || (major === 20 && minor >= 19)) return
  refuse(`Node ${process.versions.node} is too old`, 'install Node 20.19 or newer, then run this again')
}

// ---------------------------------------------------------------- Debian packages

function missingPackages(purpose) {
  const wanted = JSON.parse(readFileSync('scripts/packages.json', 'utf8')).packages.filter((p) => p.for.includes(purpose))
  const asked = spawnSync('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\n', ...wanted.map((p) => p.name)], { encoding: 'utf8' })
  if (asked.error !== undefined) {
    // Not Debian or Ubuntu: the commands themselves are what counts.
    const lost = wanted.filter((p) => p.command !== null && !onPath(p.command))
    if (lost.length === 0) return []
    return refuse('this is no Debian or Ubuntu, and commands are missing', `install ${lost.map((p) => `${p.command} (${p.why})`).join(', ')}`)
  }
  const installed = new Set(asked.stdout.split('\n').filter((line) => line.endsWith(' installed')).map((line) => line.split(' ')[0]))
  return wanted.filter((p) => !installed.has(p.name))
}

const onPath = (command) =>
  `${process.env.PATH ?? ''}:/usr/sbin:/sbin`.split(':').some((folder) => folder !== '' && existsSync(join(folder, command)))

async function installPackages(missing, yes) {
  const names = missing.map((p) => p.name)
  const asRoot = process.getuid() === 0
  const command = [...(asRoot ? [] : ['sudo']), join('scripts', 'install-packages.sh'), ...names]
  say('these Debian packages are missing:')
  const width = Math.max(...names.map((name) => name.length))
  for (const { name, why } of missing) process.stderr.write(`  ${name.padEnd(width)}  ${why}\n`)
  say('to install them (no daemon is started meanwhile) this runs:')
  process.stderr.write(`  ${command.join(' ')}\n  which is: apt-get install --yes --no-install-recommends -- ${names.join(' ')}   (after apt-get update where needed)\n`)
  if (!asRoot) await becomeAble(yes, command)
  await step('Debian packages', command[0], command.slice(1))
}

/** The user's consent and sudo's, both before anything runs: sudo's question for a password must not meet our progress line. */
async function becomeAble(yes, command) {
  const forRoot = `let root run: ${[join(root, command[1]), ...command.slice(2)].join(' ')}`
  if (!onPath('sudo')) refuse('there is no sudo here', forRoot)
  if (!yes) {
    if (!process.stdin.isTTY) refuse('cannot ask for your consent without a terminal', `run this yourself, or give --yes: ${command.join(' ')}`)
    if (!/^y(es)?$/i.test((await ask('setup: run it? [y/N] ')).trim())) refuse('nothing was installed', `when you are ready: ${command.join(' ')}`)
  }
  // `sudo -v` asks even those who need no password, if they are in a group that does.
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return
  if (spawnSync('sudo', ['-v'], { stdio: 'inherit' }).status !== 0) refuse('sudo did not let you, nothing was installed', forRoot)
}

/** One line from the terminal; an empty one where the user ends the input or interrupts. */
function ask(question) {
  const reader = createInterface({ input: process.stdin, output: process.stderr })
  return new Promise((resolve) => {
    const leave = () => {
      process.stderr.write('\n')
      resolve('')
    }
    reader.once('close', leave)
    reader.question(question, (answer) => {
      reader.off('close', leave)
      reader.close()
      resolve(answer)
    })
  })
}

// ---------------------------------------------------------------- node_modules

/** Why `npm ci` must run, or null: npm's own record of what it installed is compared with package-lock.json. */
function modulesReason() {
  const record = readJson('node_modules/.package-lock.json')
  if (record === null) return 'node_modules is not there'
  const lock = readJson('package-lock.json')
  for (const [path, { version }] of Object.entries(record.packages)) {
    if (lock.packages[path]?.version !== version) return `${path} is not in package-lock.json`
  }
  const lost = Object.entries(lock.packages).find(([path, entry]) => path !== '' && !entry.optional && !entry.link && record.packages[path] === undefined)
  return lost === undefined ? null : `${lost[0]} is not installed`
}

/** Why the one native module must be compiled again, or null: made for another Node, or its install script was not run. */
function nativeReason() {
  try {
    const require = createRequire(join(root, 'package.json'))
    process.dlopen({ exports: {} }, require.resolve('better-sqlite3/build/Release/better_sqlite3.node'))
    return null
  } catch (error) {
    return error.message.split('\n')[0]
  }
}

function readJson(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return null
  }
}

// ---------------------------------------------------------------- build

const sourceFolders = ['bait', 'bench', 'cli', 'controller', 'core', 'db', 'hooks', 'images', 'kit', 'monitor', 'vwn-agent', 'wire']
const stampFile = 'dist/.stamp'

/** One digest over everything that a build reads. */
function sourceDigest() {
  const hash = createHash('sha256').update(process.versions.modules)
  const files = ['package.json', 'package-lock.json', 'tsconfig.json', 'scripts/build.mjs']
  for (const folder of sourceFolders) {
    if (!existsSync(folder)) continue
    for (const name of readdirSync(folder, { recursive: true }).sort()) {
      const file = join(folder, name)
      if (statSync(file).isFile()) files.push(file)
    }
  }
  for (const file of files) hash.update(`${file}\0`).update(readFileSync(file)).update('\0')
  return hash.digest('hex')
}

async function buildIfNeeded() {
  const digest = sourceDigest()
  const stamp = existsSync(stampFile) ? readFileSync(stampFile, 'utf8').trim() : null
  if (stamp === digest) return
  rmSync(stampFile, { force: true })
  await step('build', process.execPath, ['scripts/build.mjs'])
  mkdirSync('dist', { recursive: true })
  writeFileSync(stampFile, `${digest}\n`)
}

// ---------------------------------------------------------------- guest images

/** The store that all farms of this user share. The builder rebuilds what has changed; where nothing can have, it is not even asked. */
async function buildImages(recipes) {
  const state = () => {
    const hash = createHash('sha256').update(readFileSync(stampFile))
    for (const recipe of recipes) hash.update(`${recipe}\0${readText(join(imageStore, 'names', recipe))}\0`)
    return hash.digest('hex')
  }
  const stamp = join(imageStore, 'setup.stamp')
  if (recipes.every((recipe) => existsSync(join(imageStore, 'names', recipe))) && readText(stamp) === state()) return
  await step(`guest images ${recipes.join(', ')}`, process.execPath, ['dist/image.js', 'build', ...recipes], { WNOD_IMAGES: imageStore })
  writeFileSync(stamp, state())
}

function readText(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}

// ---------------------------------------------------------------- all of it

const { purpose, yes } = options()
checkNode()
const missing = missingPackages(purpose)
if (missing.length > 0) await installPackages(missing, yes)
const reason = modulesReason()
if (reason !== null) {
  say(`npm ci, because ${reason}`)
  await step('npm ci', 'npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'])
}
// Neither needs the other, and SQLite alone takes a core for a minute.
const compiling = reason !== null || nativeReason() !== null ? step('compile native modules', 'npm', ['rebuild'], { JOBS: 'max' }) : null
await buildIfNeeded()
const wanted = purposes[purpose]
if (wanted.length > 0) await buildImages(wanted)
await compiling
say(`ready in ${seconds(began)} s`)
