/** Before a job starts: whether one like it can be placed on this host at all. One that must wait can. */
import { spawnSync } from 'node:child_process'
import { userInfo } from 'node:os'
import { isHopeless, VwnError } from '../../core/errors.ts'
import type { Explanation } from '../../wire/api.ts'
import { baitSocket } from '../bait-socket.ts'
import { complain } from '../starter/ending.ts'
import { fromController, hostOf } from './controller.ts'
import type { HookOptions } from './options.ts'

/** The exit code: 0, or after one line on stderr the refused code, or the denied code where asking again would end in the same way. */
export async function lease(options: HookOptions): Promise<number> {
  const refusedCode = options.number('refused-code', 255) ?? 75
  try {
    const { decision } = await fromController<Explanation>(options, '/explain', question(options))
    if (decision.is !== 'refused') return 0
    const { code = 'REFUSED', hint = '' } = decision.failure ?? {}
    const deniedCode = options.number('denied-code', 255)
    complain(`a job like this does not run here: ${decision.why} (${code}): ${hint}`)
    return deniedCode !== null && isHopeless(code) ? deniedCode : refusedCode
  } catch (error) {
    if (!(error instanceof VwnError)) throw error
    // Nobody refuses what nobody has looked at: the job finds out itself.
    if (!options.flag('strict')) return 0
    complain(`it is not known whether a job like this runs here: ${error.message} (${error.code}): ${error.entry.hint}`)
    return refusedCode
  }
}

function question(options: HookOptions): Readonly<Record<string, string | null>> {
  const user = options.text('user') ?? userInfo().username
  const host = hostOf(options, baitSocket({ socket: options.text('socket'), home: options.text('home') }))
  return {
    user, group: options.text('group') ?? groupsOf(user), queue: options.text('queue'), project: options.text('project'),
    batch_system: options.text('batch-system'), type: options.text('type'), host,
  }
}

/** The user's groups as this host knows them, for the controller's machine may know no users; null where it does not either. */
export function groupsOf(user: string): string | null {
  const { status, stdout } = spawnSync('id', ['-Gn', '--', user], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return status === 0 ? stdout.trim().split(' ').join(',') : null
}
