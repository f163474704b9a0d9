/** One event of OpenPBS through our hook, in a python3 of its own. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface HookEvent {
  readonly event: string
  readonly job: string
  readonly resources?: Readonly<Record<string, string>>
  /** The name of a resource that the site has not defined. */
  readonly undefined?: string
  readonly progname?: string
  readonly argv?: readonly string[] | null
  readonly env?: Readonly<Record<string, string>>
}

export interface HookVerdict {
  readonly is: 'accepted' | 'rejected'
  readonly message: string | null
  readonly rerun: boolean
  readonly progname: string
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly offered: Readonly<Record<string, number>>
  readonly log: readonly string[]
}

const hook = join(import.meta.dirname, '../../../hooks/pbs/wnod_hook.py')

/** What the hook answers, with these settings of its own. */
export function playHook(event: HookEvent, settings: object): HookVerdict {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-hook-'))
  try {
    const config = join(folder, 'wnod.json')
    writeFileSync(config, JSON.stringify(settings))
    const answer = execFileSync('python3', ['-B', hook], { input: JSON.stringify({ ...event, config }), env: { PATH: process.env['PATH'], PYTHONPATH: import.meta.dirname }, encoding: 'utf8' })
    return JSON.parse(answer) as HookVerdict
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
