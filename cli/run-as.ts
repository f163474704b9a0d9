/**
 * `wnod run --as USER`, for root: the job starter as that user. Only an execve could make this very process the starter, and node
 * has none; so we stay as its parent, hand every signal on, die with it as it died, and it dies with us.
 */
import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { VwnError } from '../core/errors.ts'
import { distFolder } from '../kit/dist.ts'
import { programFile } from './programs.ts'

interface Account {
  readonly name: string
  readonly uid: number
  readonly gid: number
  readonly homeFolder: string
  readonly shell: string
}

/** Signals that the starter passes to the job; the others it must see itself, or nobody can. */
const passed = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGCONT', 'SIGTSTP', 'SIGWINCH', 'SIGXCPU', 'SIGURG'] as const

/** The user of `--as`, taken out of the starter's arguments; null when there is none before the command. */
export function takeAs(args: readonly string[]): { user: string; rest: readonly string[] } | null {
  const end = args.indexOf('--') === -1 ? args.length : args.indexOf('--')
  const at = args.slice(0, end).findIndex((arg) => arg === '--as' || arg.startsWith('--as='))
  const found = args[at]
  if (at === -1 || found === undefined) return null
  const inline = found.startsWith('--as=')
  const user = inline ? found.slice('--as='.length) : args[at + 1]
  if (user === undefined || user === '' || user === '--') throw new VwnError('OPTION_INVALID', { option: '--as', problem: 'a user is wanted' })
  return { user, rest: [...args.slice(0, at), ...args.slice(at + (inline ? 1 : 2))] }
}

/** Runs the starter as the user; this process ends as it did. */
export async function runAs(user: string, rest: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  if (process.getuid?.() !== 0) throw new VwnError('ONLY_ROOT', { option: '--as' })
  const account = findAccount(user)
  if (account === null) throw new VwnError('USER_NOT_FOUND', { user })
  const { name, uid, gid, homeFolder, shell } = account
  // The bytes of arguments and environment cannot go through node's strings: the starter reads them where they are whole, in our own.
  const surroundings = { HOME: homeFolder, USER: name, LOGNAME: name, SHELL: shell, WNOD_CMDLINE: `/proc/${process.pid}/cmdline`, WNOD_ENVIRON_FD: '5', WNOD_EXEC: '/proc/self/fd/6' }
  // What is closed to the user is handed over as open files: the starter as 3 and Node as 4, for a clone, or a Node, in root's own home;
  // the environment as 5; what the starter becomes a job by as 6, where it is built. Our command line anybody may read.
  const exec = join(distFolder(), 'wnod-exec.node')
  const files = [programFile('starter.cjs'), process.execPath, '/proc/self/environ', ...(existsSync(exec) ? [exec] : [])].map((path) => openSync(path, 'r'))
  const starter = ['/proc/self/fd/4', '--preserve-symlinks-main', '/proc/self/fd/3']
  const child = spawn('setpriv', [`--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--pdeathsig=KILL', '--', ...starter, ...rest], {
    stdio: ['inherit', 'inherit', 'inherit', ...files],
    env: { ...env, ...surroundings },
  })
  for (const file of files) closeSync(file)
  for (const signal of passed) process.on(signal, () => child.kill(signal))
  const end = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', (cause) => reject(new VwnError('COMMAND_MISSING', { command: 'setpriv' }, { cause })))
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
  if (end.signal === null) return void (process.exitCode = end.code ?? 70)
  for (const signal of passed) process.removeAllListeners(signal)
  process.kill(process.pid, end.signal)
}

/** The user as /etc/passwd has him, or by his number. */
function findAccount(user: string): Account | null {
  for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
    const [name, , uid, gid, , homeFolder, shell] = line.split(':')
    if (name === undefined || (name !== user && uid !== user)) continue
    return { name, uid: Number(uid), gid: Number(gid), homeFolder: homeFolder || '/', shell: shell || '/bin/sh' }
  }
  return null
}
