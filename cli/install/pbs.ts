/**
 * `wnod install pbs`: what makes jobs of OpenPBS or Torque go into VWNs. OpenPBS keeps its hooks in its own database: the commands of qmgr that import
 * what is put in place here are in docs/pbs.md. Torque reads one line of its mom's settings, on `momctl -r` or at its next start.
 *
 *   wnod-pbs, wnod, wnod_hook.py, wnod.json     OpenPBS: what the hook calls, the hook, and its settings
 *   wnod-torque, $job_starter                   Torque: what its mom calls, and the line that says so
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Context } from '../context.ts'
import { lineIn, mark, ownFile } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { namedStarter, plainWord, scriptsFolder, sourceFile, wnodScript } from './sources.ts'

export interface PbsOptions extends InstallOptions {
  /** The settings of Torque's mom (`mom_priv/config`): then it is Torque, and not OpenPBS. */
  readonly momConfig?: string
  /** Names of the VWN types, with commas. */
  readonly types?: string
  /** OpenPBS: jobs that ask for no type go where the mapping says. */
  readonly all?: boolean
  readonly scripts?: string
}

export async function installPbs(context: Context, options: PbsOptions): Promise<void> {
  const { momConfig, types, all = false, scripts = scriptsFolder, unreachable } = options
  const { home } = context.home
  if (momConfig !== undefined) {
    const starter = plainWord(join(scripts, 'wnod-torque'))
    return install(context, 'pbs', [...(await namedStarter(starter, { system: 'Torque', home, unreachable })), lineIn(momConfig, `$job_starter ${starter}`)], options)
  }
  const starter = plainWord(join(scripts, 'wnod-pbs'))
  const wnod = plainWord(join(scripts, 'wnod'))
  const settings = { made: mark, starter, wnod, types: types?.split(',').filter((name) => name !== '') ?? null, default: all }
  const hook = await readFile(sourceFile('pbs/wnod_hook.py'), 'utf8')
  await install(context, 'pbs', [
    ...(await namedStarter(starter, { system: 'OpenPBS', home, unreachable })),
    await wnodScript(wnod, home),
    ownFile(join(scripts, 'wnod_hook.py'), `# ${mark}\n${hook}`, 0o644),
    ownFile(join(scripts, 'wnod.json'), `${JSON.stringify(settings, null, 2)}\n`, 0o644),
  ], options)
}
