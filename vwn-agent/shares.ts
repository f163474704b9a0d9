/**
 * The file systems that a job shares with its host: mounted before anything else is done for it, for its home may lie in one, and gone before
 * it counts as over, so that nobody after it finds them. Each mount is a process of its own (share.c), which is given up when a server does
 * not answer.
 */
import type { RunTask } from '../wire/guest.ts'
import { errandSpec, takeWords } from './errand.ts'
import { StartError, type Connection } from './helper.ts'
import { makeFolders } from './made-folders.ts'
import { signalNumber } from './signals.ts'

export interface Shares {
  /** Resolves when none is there any more, or one cannot be got rid of, which the scrub will find. Safe to repeat. */
  unmount(): Promise<void>
}

type GuestMount = RunTask['mounts'][number]

/** Where the bait takes the guest's connections; nobody else could reach a port of the guest's own. */
const loopback = '127.0.0.1'

/** All are there when it resolves; what cannot be mounted is a StartError, and then none is. `folder`: only root may enter it. */
export async function mountShares(connection: Connection, mounts: readonly GuestMount[], folder: string): Promise<Shares> {
  const mounted: string[] = []
  const said = `${folder}/share.said`
  const does = async (...argv: readonly string[]): Promise<string | null> => {
    const spec = errandSpec({ who: { uid: 0, gid: 0, groups: [] }, cgroupProcs: null, directory: Buffer.from('/'), argv: ['/proc/self/exe', ...argv] })
    const { exit } = await connection.start({ spec, tty: false, stdin: 'null', stdout: 'null', stderr: { path: said } })
    const { code, signal } = await exit
    const words = takeWords(said)
    return code === 0 ? null : signal === signalNumber('SIGALRM') ? 'the server did not answer in time' : words.trim() || `it ended with ${code ?? signal}`
  }
  const unmountAll = async (): Promise<void> => {
    for (const at of mounted.reverse()) await does('unmount', at)
  }
  let unmounting: Promise<void> | null = null
  const shares: Shares = { unmount: () => (unmounting ??= unmountAll()) }
  for (const mount of mounts) {
    const why = folderFor(mount.at) ?? await does('mount', mount.source, mount.at, optionsOf(mount), mount.readOnly ? 'ro' : 'rw')
    if (why !== null) {
      await shares.unmount()
      throw new StartError('mount', `${mount.source} at ${mount.at}: ${why}`)
    }
    mounted.push(mount.at)
  }
  return shares
}

function folderFor(at: string): string | null {
  try {
    makeFolders(at, 0, 0)
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

const optionsOf = ({ port, options }: GuestMount): string =>
  [`proto=tcp,sec=sys,addr=${loopback},clientaddr=${loopback},port=${port}`, ...(options === '' ? [] : [options])].join(',')
