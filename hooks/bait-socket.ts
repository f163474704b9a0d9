import { readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** The bait's socket: as told, or the first one in the home's run directory. */
export function baitSocket({ socket, home }: { readonly socket: string | null; readonly home: string | null }): string {
  if (socket !== null) return socket
  const folder = join(homeFolder(home), 'run')
  try {
    const name = readdirSync(folder).filter((entry) => entry.endsWith('.sock') && entry !== 'controller.sock').sort()[0]
    return join(folder, name ?? 'bait.sock')
  } catch {
    return join(folder, 'bait.sock')
  }
}

/** The farm's home: as told, or where this user's is. */
export const homeFolder = (home: string | null): string =>
  home ?? (process.getuid?.() === 0 ? '/var/lib/wnod' : join(process.env['XDG_STATE_HOME'] || join(homedir(), '.local/state'), 'wnod'))
