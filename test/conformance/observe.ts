/** Runs a case once, bare or through the job starter, and says what its caller could see. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, chownSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '../../kit/until.ts'
import { quoted, scriptOf, type Case, type Starter } from './case.ts'

export interface Observed {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly files: readonly string[]
}

/** Whose jobs they are: as root, jobs of a user who may do nothing; otherwise our own. */
export const user: { readonly uid?: number; readonly gid?: number } = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {}

/** A VWN needs longer than a child of ours: it may have to boot, and other tests run beside it. */
const withinMs = process.env['WNOD_CONFORMANCE'] === 'near' ? 40_000 : 150_000

/** Where spools are that a guest has nothing of. */
const spoolRoot = user.uid === undefined ? tmpdir() : '/var/spool'

/** What can be seen of the case; without a starter it is run bare. */
export async function observe(one: Case, starter: Starter | null): Promise<Observed> {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-case-'))
  const script = join(tmpdir(), `${folder.slice(tmpdir().length + 1)}.sh`)
  const spool = one.script === undefined ? null : mkdtempSync(join(spoolRoot, 'wnod-case-'))
  const spooled = spool === null ? null : spoolScript(spool, one.script ?? '')
  writeFileSync(script, scriptOf(one, starter, spooled))
  chmodSync(folder, 0o755)
  if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid)
  try {
    const seen = await play(one, folder, script)
    const text = (bytes: Buffer): string => bytes.toString('latin1').replaceAll(folder, 'DIRECTORY').replaceAll(spool ?? folder, 'SPOOL')
    const stdout = text(seen.stdout)
    return {
      code: seen.code,
      signal: seen.signal,
      stdout: one.tidy === undefined ? stdout : one.tidy(stdout),
      stderr: one.stderr === false ? '' : text(seen.stderr),
      files: one.files === true ? filesOf(folder) : [],
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
    rmSync(script, { force: true })
    if (spool !== null) {
      chmodSync(join(spool, 'job00007'), 0o755)
      rmSync(spool, { recursive: true })
    }
  }
}

/** As slurmd does it: the script is the user's, its folder is not. */
function spoolScript(spool: string, content: string | Buffer): string {
  const folder = join(spool, 'job00007')
  const path = join(folder, 'slurm_script')
  mkdirSync(folder)
  writeFileSync(path, content, { mode: 0o700 })
  if (user.uid !== undefined && user.gid !== undefined) chownSync(path, user.uid, user.gid)
  chmodSync(spool, 0o755)
  chmodSync(folder, 0o555) // also where the user of the jobs is ours
  return path
}

interface Seen {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: Buffer
  readonly stderr: Buffer
}

async function play(one: Case, folder: string, script: string): Promise<Seen> {
  const command = one.tty === true ? ['script', '-qefc', `stty rows 33 cols 101; exec bash ${quoted(script)}`, '/dev/null'] : ['bash', script]
  const [file = '', ...args] = command
  const child = spawn(file, args, { cwd: folder, detached: true, stdio: 'pipe', env: { PATH: process.env['PATH'], TERM: 'dumb' }, ...user })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
  child.stdin.on('error', () => undefined) // a job need not read
  const seen = (): string => Buffer.concat(stdout).toString('latin1')
  const ended = new Promise<Seen>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) }))
  })
  const late = AbortSignal.timeout(withinMs)
  late.addEventListener('abort', () => child.kill('SIGKILL'))
  const hung = new Promise<never>((_, reject) => late.addEventListener('abort', () => reject(new Error(`still running; stdout: ${seen().slice(-500)} stderr: ${Buffer.concat(stderr).toString().slice(-500)}`))))
  if (one.stdin !== null && one.tty !== true) child.stdin.end(one.stdin ?? '')
  const says = async (text: string): Promise<void> => {
    await Promise.race([until(() => seen().includes(text), { withinMs, what: `stdout has ${JSON.stringify(text)}, beside ${JSON.stringify(seen().slice(-200))}` }), ended.then((end) => {
      if (!end.stdout.toString('latin1').includes(text)) throw new Error(`it ended without ${JSON.stringify(text)}: ${JSON.stringify({ ...end, stdout: end.stdout.toString(), stderr: end.stderr.toString() })}`)
    })])
  }
  await one.talk?.({ child, seen, says })
  return Promise.race([ended, hung])
}

/** Every file below, one line each: what a user could compare with `ls -l` and `cat`. */
function filesOf(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort().map((name) => {
    const path = join(folder, name)
    const stat = lstatSync(path)
    const mode = (stat.mode & 0o7777).toString(8)
    if (stat.isSymbolicLink()) return `${name} -> ${readlinkSync(path)}`
    return stat.isDirectory() ? `${name}/ ${mode}` : `${name} ${mode} ${stat.size} ${createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12)}`
  })
}
