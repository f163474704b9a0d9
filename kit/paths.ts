import { createHash } from 'node:crypto'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { VwnError } from '../core/errors.ts'

/** Linux keeps a unix socket's path in 108 bytes, the last of them zero. */
export const socketPathBytesMax = 107

/** What the longest socket below a home needs: a host and a VWN with names of usual length. */
const longestSocket = '/hosts/host-name-of-16c/vms/v9999999/serial.sock'

/** Everything one VWN has on its host. */
export interface VmPaths {
  readonly folder: string
  readonly handle: string
  readonly scratch: string
  readonly seed: string
  readonly qmpSocket: string
  readonly agentSocket: string
  readonly serialSocket: string
  /** Where a clone's state passes. */
  readonly stateSocket: string
  readonly serialLog: string
}

/** Everything one bait has. */
export interface HostPaths {
  readonly folder: string
  readonly config: string
  readonly creds: string
  /** Where job starters call. */
  readonly socket: string
  /** Address of what it serves over HTTP. */
  readonly url: string
  readonly log: string
  readonly pid: string
  readonly vms: string
  readonly templates: string
  readonly jobs: string
  readonly proof: string
  vm(vwn: string): VmPaths
  job(job: string): string
}

/** Where everything of one farm's home is. Only `home` itself is stored anywhere; all else follows. */
export interface Home {
  readonly home: string
  /** Short name of this home, for the command lines of its guests. */
  readonly hash: string
  readonly etc: string
  readonly mapping: string
  readonly controllerConfig: string
  readonly natsConfig: string
  readonly run: string
  readonly controllerSocket: string
  readonly controllerUrl: string
  readonly logs: string
  readonly db: string
  readonly images: string
  readonly hosts: string
  creds(program: string): string
  log(program: string): string
  pid(program: string): string
  host(host: string): HostPaths
}

/** The home to use: as told, else WNOD_HOME, else where this user's state belongs. */
export function chooseHome(told: string | undefined, env: NodeJS.ProcessEnv, uid = process.getuid?.()): string {
  const chosen = told ?? env['WNOD_HOME']
  if (chosen !== undefined && chosen !== '') return resolve(chosen)
  if (uid === 0) return '/var/lib/wnod'
  return resolve(env['XDG_STATE_HOME'] || join(env['HOME'] || homedir(), '.local/state'), 'wnod')
}

/** The layout of a home; HOME_PATH_TOO_LONG when sockets below it could not be opened. */
export function homePaths(folder: string, options: { images?: string | undefined } = {}): Home {
  const home = resolve(folder)
  checkSocketPath(home + longestSocket)
  const at = (...parts: readonly string[]): string => join(home, ...parts)
  const paths = {
    home,
    hash: createHash('sha256').update(home).digest('hex').slice(0, 12),
    etc: at('etc'),
    mapping: at('etc/mapping.yaml'),
    controllerConfig: at('etc/controller.toml'),
    natsConfig: at('etc/nats.conf'),
    run: at('run'),
    controllerSocket: at('run/controller.sock'),
    controllerUrl: at('run/controller.url'),
    logs: at('log'),
    db: at('db/controller.sqlite'),
    images: options.images === undefined || options.images === '' ? at('images') : resolve(options.images),
    hosts: at('hosts'),
    creds: (program: string) => at('etc/creds', `${program}.creds`),
    log: (program: string) => at('log', `${program}.log`),
    pid: (program: string) => at('run', `${program}.pid.json`),
  }
  return { ...paths, host: (host) => hostPaths(at, paths, host) }
}

/** The path itself; HOME_PATH_TOO_LONG when Linux could not open a socket there. */
export function checkSocketPath(path: string): string {
  const bytes = Buffer.byteLength(path)
  if (bytes > socketPathBytesMax) throw new VwnError('HOME_PATH_TOO_LONG', { path, bytes, bytesMax: socketPathBytesMax })
  return path
}

function hostPaths(at: (...parts: string[]) => string, home: Pick<Home, 'creds' | 'log' | 'pid'>, host: string): HostPaths {
  const vms = at('hosts', host, 'vms')
  const jobs = at('hosts', host, 'jobs')
  return {
    folder: at('hosts', host),
    config: at('etc', `bait-${host}.toml`),
    creds: home.creds(`bait-${host}`),
    socket: checkSocketPath(at('run', `${host}.sock`)),
    url: at('run', `${host}.url`),
    log: home.log(`bait-${host}`),
    pid: home.pid(`bait-${host}`),
    vms,
    templates: at('hosts', host, 'templates'),
    jobs,
    proof: at('hosts', host, 'proof'),
    vm: (vwn) => vmPaths(join(vms, vwn)),
    job: (job) => join(jobs, `${job}.json`),
  }
}

const vmPaths = (folder: string): VmPaths => ({
  folder,
  handle: join(folder, 'handle.json'),
  scratch: join(folder, 'scratch.qcow2'),
  seed: join(folder, 'seed.tar'),
  qmpSocket: checkSocketPath(join(folder, 'qmp.sock')),
  agentSocket: checkSocketPath(join(folder, 'agent.sock')),
  serialSocket: checkSocketPath(join(folder, 'serial.sock')),
  stateSocket: checkSocketPath(join(folder, 'state.sock')),
  serialLog: join(folder, 'serial.log'),
})
