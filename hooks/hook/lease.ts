/** Before a job starts: whether one like it can be placed on this host at all. One that must wait can. */
import { spawnSync } from 'node:child_process'
import { userInfo } from 'node:os'
import { isHopeless, VwnError } from '../../core/errors.ts'
import type { Explanation } from '../../wire/api.ts'
import { baitSocket } from '../bait-socket.ts'
import { complain } from '../starter/ending.ts'
import { fromController, hostOf } from './controller.ts'
import type { HookOptions } from './options.ts'

/** What the mapping looks at, where the batch system says it otherwise than by options. */
export type Wants = Readonly<Partial<Record<'type' | 'queue' | 'project', string | null>>> & { readonly batchSystem?: string }

/** `refused`: on this host, now. `hopeless`: asking again would end in the same way. `unknown`: nobody has looked at it. */
export type Judgement = { readonly is: 'placeable' } | { readonly is: 'refused' | 'hopeless' | 'unknown'; readonly said: string }

/** The exit code: 0, or after one line on stderr the refused code, or the denied code where asking again would end in the same way. */
export async function lease(options: HookOptions): Promise<number> {
  const refusedCode = options.number('refused-code', 255) ?? 75
  const deniedCode = options.number('denied-code', 255) ?? refusedCode
  const judgement = await judge(options)
  // Nobody refuses what nobody has looked at: the job finds out itself.
  if (judgement.is === 'placeable' || (judgement.is === 'unknown' && !options.flag('strict'))) return 0
  complain(judgement.said)
  return judgement.is === 'hopeless' ? deniedCode : refusedCode
}

export async function judge(options: HookOptions, wants: Wants = {}): Promise<Judgement> {
  try {
    const { decision } = await fromController<Explanation>(options, '/explain', question(options, wants))
    if (decision.is !== 'refused') return { is: 'placeable' }
    const { code = 'REFUSED', hint = '' } = decision.failure ?? {}
    return { is: isHopeless(code) ? 'hopeless' : 'refused', said: `a job like this does not run here: ${decision.why} (${code}): ${hint}` }
  } catch (error) {
    if (!(error instanceof VwnError)) throw error
    return { is: 'unknown', said: `it is not known whether a job like this runs here: ${error.message} (${error.code}): ${error.entry.hint}` }
  }
}

function question(options: HookOptions, wants: Wants): Readonly<Record<string, string | null>> {
  const user = options.text('user') ?? userInfo().username
  const host = hostOf(options, baitSocket({ socket: options.text('socket'), home: options.text('home') }))
  return {
    user, group: options.text('group') ?? groupsOf(user), queue: wants.queue ?? options.text('queue'), project: wants.project ?? options.text('project'),
    batch_system: wants.batchSystem ?? options.text('batch-system'), type: wants.type ?? options.text('type'), host,
  }
}

/** The user's groups as this host knows them, for the controller's machine may know no users; null where it does not either. */
export function groupsOf(user: string): string | null {
  const { status, stdout } = spawnSync('id', ['-Gn', '--', user], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  return status === 0 ? stdout.trim().split(' ').join(',') : null
}
