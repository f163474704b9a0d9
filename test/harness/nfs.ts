/**
 * A real NFS server of the test's own, in user space, on a free port of loopback: it exports one folder, squashes root, and takes clients from
 * reserved ports only, as a farm's server does.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../../kit/socket.ts'
import { until } from '../../kit/until.ts'
import { removeFolder } from './temp.ts'

const program = '/usr/bin/ganesha.nfsd'

/** Why there can be none here; null where there can. */
export const missingNfs: string | null = process.getuid?.() !== 0 ? 'needs root' : existsSync(program) ? null : 'nfs-ganesha is not installed'

export interface NfsServer extends AsyncDisposable {
  readonly port: number
  /** The path that it exports `folder` as. */
  readonly path: string
  readonly folder: string
  /** Ends the server at once, as a crash would. */
  kill(): Promise<void>
  /** Brings a killed server back on the same port; it gives its former clients a moment to come back. */
  start(): Promise<void>
}

const settings = (port: number, folder: string, state: string): string => `
NFS_CORE_PARAM { NFS_Port = ${port}; NFS_Protocols = 4; Bind_addr = 127.0.0.1; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false; }
NFSV4 { Minor_Versions = 1,2; Only_Numeric_Owners = true; Lease_Lifetime = 5; Grace_Period = 5; RecoveryRoot = ${state}; }
EXPORT {
  Export_Id = 1; Path = ${folder}; Pseudo = /export; Access_Type = RW; Protocols = 4; Transports = TCP; SecType = sys;
  Squash = Root_Squash; PrivilegedPort = true; FSAL { Name = VFS; }
}
`

export async function startNfs(): Promise<NfsServer> {
  const home = mkdtempSync(join(tmpdir(), 'wnod-nfs-'))
  const [folder, state, file, log] = ['export', 'state', 'ganesha.conf', 'log'].map((name) => join(home, name)) as [string, string, string, string]
  chmodSync(home, 0o755)
  for (const each of [folder, state]) mkdirSync(each)
  const port = await freePort()
  writeFileSync(file, settings(port, folder, state))
  let child: ChildProcess | null = null
  const start = async (): Promise<void> => {
    // Dies with the test runner, however that dies.
    child = spawn('setpriv', ['--pdeathsig', 'KILL', program, '-F', '-f', file, '-L', log, '-N', 'NIV_EVENT', '-p', join(home, 'pid')], { stdio: 'ignore' })
    await until(() => accepts(port), { withinMs: 30_000, what: 'an NFS server' }).catch((cause: unknown) => {
      throw new Error(`the NFS server did not come up: ${existsSync(log) ? readFileSync(log, 'utf8').slice(-2000) : ''}`, { cause })
    })
  }
  const kill = async (): Promise<void> => {
    const ending = child
    child = null
    if (ending === null || ending.exitCode !== null) return
    const exit = once(ending, 'exit')
    ending.kill('SIGKILL')
    await exit
  }
  const stop = async (): Promise<void> => {
    await kill()
    await removeFolder(home)
  }
  try {
    await start()
  } catch (error) {
    await stop()
    throw error
  }
  return { port, path: '/export', folder, kill, start, [Symbol.asyncDispose]: stop }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    const answer = (is: boolean) => () => {
      socket.destroy()
      resolve(is)
    }
    socket.once('connect', answer(true)).once('error', answer(false))
  })
}
