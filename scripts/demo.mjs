// The main job, shown: a local farm comes up, two users' jobs run in VWNs of two types, a third job reuses a warm VWN.
// Everything is done by the commands that a user would type; they are printed as they run.
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { imageStore } from './store.mjs'

const began = performance.now()
const wnod = new URL('../bin/wnod.js', import.meta.url).pathname
const home = mkdtempSync(join(tmpdir(), 'wnod-demo-'))
chmodSync(home, 0o755)
const env = {
  ...process.env,
  WNOD_HOME: home,
  WNOD_IMAGES: imageStore,
}
const say = (text = '') => process.stdout.write(`${text}\n`)
const bold = (text) => (process.stdout.isTTY ? `\u001b[1m${text}\u001b[0m` : text)
const quoted = (arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", String.raw`'\''`)}'`)

/** Runs `wnod …`; with `show`, what it says is seen as it comes. Rejects when the demo was interrupted. */
function run(args, { show = false } = {}) {
  const child = spawn(process.execPath, [wnod, ...args], { env, cwd: home, stdio: ['ignore', 'pipe', show ? 'inherit' : 'pipe'] })
  const out = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk) => (out.stdout += chunk))
  child.stderr?.on('data', (chunk) => (out.stderr += chunk))
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ ...out, code, signal }))
  })
}

/** Two users of this machine that exist on every Debian; without root, two projects of the one user there is. */
function parties() {
  if (process.getuid() !== 0) {
    return { by: 'project', first: 'alpha', second: 'beta', options: (project) => ['--project', project] }
  }
  const known = new Set(readFileSync('/etc/passwd', 'utf8').split('\n').map((line) => line.split(':')[0]))
  const [first, second] = ['games', 'news', 'man', 'mail', 'backup', 'nobody'].filter((user) => known.has(user))
  return { by: 'user', first, second, options: (user) => ['--as', user] }
}

const look = 'echo "I am $(id -un), uid $(id -u), on $(uname -n)"; . /etc/os-release; echo "in $PRETTY_NAME, Linux $(uname -r), $(nproc) cpu"; '
const jobs = ({ first, second }) => [
  { party: first, argv: ['sh', '-c', `${look}echo "my root is $(grep -o '^[^ ]* / [^ ]*' /proc/mounts | head -1)"; echo mine > /tmp/note`] },
  { party: second, argv: ['sh', '-c', `${look}echo "the other user's note: $(cat /tmp/note 2>/dev/null || echo not here)"; exit 7`] },
  { party: first, argv: ['sh', '-c', `${look}echo "the note of my job before: $(cat /tmp/note 2>/dev/null || echo scrubbed)"`] },
]

const mapping = ({ by, first, second }) => `types:
  debian: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 2 }
  tiny: { image: tiny, cpus: 1, memory_mib: 128, scratch_gib: 1 }
rules:
  - { name: first, match: { ${by}: ${first} }, type: debian }
  - { name: second, match: { ${by}: ${second} }, type: tiny }
`

async function runJob(job, who, number) {
  const report = join(home, `report-${number}.json`)
  writeFileSync(report, '')
  chmodSync(report, 0o666)
  const args = ['run', ...who.options(job.party), '--report', report, '--', ...job.argv]
  const end = await run(args)
  say(bold(`job ${number}: wnod ${['run', ...who.options(job.party)].map(quoted).join(' ')} -- sh -c '…'`))
  say(`${end.stdout}${end.stderr}`.replace(/^/gm, '  ').trimEnd())
  say()
  return { ...job, ...end, report: existsSync(report) && readFileSync(report, 'utf8') !== '' ? JSON.parse(readFileSync(report, 'utf8')) : null }
}

const ms = (value) => (value === undefined ? '-' : value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`)
const total = (phases, ...names) => names.map((name) => phases?.[name]).filter((value) => value !== undefined).reduce((sum, one) => sum + one, 0)

function table(ended, who) {
  const rows = [['JOB', who.by.toUpperCase(), 'VWN TYPE', 'VWN', 'REUSED?', 'WAIT', 'HAND-OVER', 'RUN', 'EXIT']]
  for (const { party, report, code, signal } of ended) {
    const phases = report?.phases
    rows.push([
      report?.job ?? '-', party, report?.type ?? '-', report?.vwn ?? '-', report?.reused ? 'reused' : 'new',
      ms(total(phases, 'wait', 'placement', 'boot', 'contact')), ms(total(phases, 'stage', 'start')), ms(phases?.run), String(code ?? signal),
    ])
  }
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  for (const row of rows) say(row.map((cell, i) => (i >= 5 ? cell.padStart(widths[i]) : cell.padEnd(widths[i]))).join('  ').trimEnd())
}

/** Nothing that mentions this home may be left. */
function leftovers() {
  const processes = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid).flatMap((pid) => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      return line.includes(home) ? [`process ${pid}: ${line}`] : []
    } catch {
      return []
    }
  })
  return [...processes, ...readdirSync(home).filter((name) => !name.startsWith('report-') && name !== 'etc').map((name) => `file ${join(home, name)}`)]
}

async function demo() {
  const who = parties()
  if (who.by === 'project') say('You are not root, so the two users are two projects of yours: VWNs are per type all the same.\n')
  mkdirSync(join(home, 'etc'), { recursive: true })
  writeFileSync(join(home, 'etc/mapping.yaml'), mapping(who))
  say(bold('wnod up --detach'))
  const up = await run(['up', '--detach', '--baits', '1'], { show: true })
  if (up.code !== 0) return 1
  say()
  const [one, two, three] = jobs(who)
  const ended = await Promise.all([runJob(one, who, 1), runJob(two, who, 2)])
  ended.push(await runJob(three, who, 3))
  table(ended, who)
  say()
  const audit = await run(['audit'])
  say(`${bold('wnod audit')}: ${audit.stdout.trim().split('\n').at(-1) ?? ''}`)
  const asMeant = ended.map(({ code }) => code).join() === '0,7,0' && ended[2].report?.reused === true && audit.code === 0
  if (!asMeant) say(`this is not as it should be\n${audit.stdout}${audit.stderr}`)
  return asMeant ? 0 : 1
}

let code = 1
const interrupted = new Promise((resolve) => process.once('SIGINT', () => resolve(130)))
try {
  code = await Promise.race([demo(), interrupted])
} finally {
  const keep = code !== 0 && code !== 130 && existsSync(join(home, 'log')) // what the farm logged says what went wrong
  say(bold('wnod down'))
  const down = spawnSync(process.execPath, [wnod, 'down', ...(keep ? ['--keep'] : [])], { env, stdio: 'inherit' })
  const left = keep ? [] : leftovers()
  for (const line of left) say(`left: ${line}`)
  if (down.status !== 0 || left.length > 0) code ||= 1
  if (keep || left.length > 0) say(`logs: ${home}/log`)
  else rmSync(home, { recursive: true, force: true })
}
say(`\n${code === 0 ? 'done' : 'failed'} in ${((performance.now() - began) / 1000).toFixed(1)} s`)
process.exit(code)
