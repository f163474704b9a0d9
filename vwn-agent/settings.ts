/** Where the agent finds and puts things. In a guest these are fixed; tests run the agent on a host and move every one of them. */
import { scriptRoots } from '../core/script-path.ts'
import { agentPortName, agentSocketPath } from '../wire/guest-facts.ts'

export interface Settings {
  /** The virtio port; `fd:N` is an open descriptor instead. */
  readonly port: string
  /** The socket that takes tasks. */
  readonly socket: string
  /** Where passwd, group, hostname and ssh's files are. */
  readonly etc: string
  /** Kernel settings that make an identity; null leaves the kernel alone. */
  readonly kernel: string | null
  /** A cgroup2 folder of our own. */
  readonly cgroups: string
  /** Homes are made here. */
  readonly homes: string
  /** Places that are empty when no job runs. */
  readonly scratch: readonly string[]
  /** The overlay's upper folder: every file of the root that was made or changed since boot. Null where it cannot be seen. */
  readonly upper: string | null
  /** Other places where a job may leave nothing, and that a restart of the guest would make anew. */
  readonly bare: readonly string[]
  /** Below these a script of a job may be at its own path. */
  readonly scriptRoots: readonly string[]
  /** Where ssh answers; null starts no ssh server. */
  readonly sshPort: number | null
  readonly sshd: string
}

const guest: Settings = {
  port: `/dev/virtio-ports/${agentPortName}`,
  socket: agentSocketPath,
  etc: '/etc',
  kernel: '/proc/sys',
  cgroups: '/sys/fs/cgroup',
  homes: '/home',
  scratch: ['/tmp', '/var/tmp', '/dev/shm', '/dev/mqueue', '/run/lock', '/home'],
  upper: '/run/wnod/upper',
  bare: ['/run', '/dev'],
  scriptRoots,
  sshPort: 22,
  sshd: '/usr/sbin/sshd',
}

/** The settings in force: a guest's own, with what a JSON text of `WNOD_AGENT` replaces. */
export function settingsFrom(env: NodeJS.ProcessEnv): Settings {
  const changes = env['WNOD_AGENT']
  return changes === undefined ? guest : { ...guest, ...(JSON.parse(changes) as Partial<Settings>) }
}
