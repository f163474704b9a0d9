/**
 * `wnod install htcondor`: what makes jobs of an execute node of HTCondor go into VWNs; it takes effect with `condor_reconfig`.
 *
 *   wnod-htcondor      calls the job starter with the settings of this host; `wnod` beside it does so for hooks
 *   wnod-wrapper       USER_JOB_WRAPPER: jobs with `+VM` to the starter, others as they were (with --all: all)
 *   wnod-resources     STARTD_CRON: what this host can offer
 *   50-wnod.conf       says both to HTCondor
 */
import { join } from 'node:path'
import type { Context } from '../context.ts'
import { mark, ownFile } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { caller, plainWord, script, scriptsFolder, wnodScript } from './sources.ts'

export interface HtcondorOptions extends InstallOptions {
  /** Folder of HTCondor's own settings. */
  readonly configDir?: string
  /** Jobs that ask for no type go where the mapping says. */
  readonly all?: boolean
  readonly scripts?: string
}

export async function installHtcondor(context: Context, options: HtcondorOptions): Promise<void> {
  const { configDir = '/etc/condor/config.d', all = false, scripts = scriptsFolder } = options
  const at = (name: string): string => plainWord(join(scripts, name))
  const { home } = context.home
  await install(context, 'htcondor', [
    await caller(at('wnod-htcondor'), { system: 'HTCondor', frontEnd: 'htcondor', home, unreachable: options.unreachable }),
    await wnodScript(at('wnod'), home),
    await script(at('wnod-wrapper'), 'htcondor/wnod-wrapper', { STARTER: at('wnod-htcondor'), ALL: all ? '1' : '0' }),
    await script(at('wnod-resources'), 'htcondor/wnod-resources', { WNOD: at('wnod') }),
    ownFile(join(configDir, '50-wnod.conf'), condorConfig(at('wnod-wrapper'), at('wnod-resources')), 0o644),
  ], options)
}

/** The settings of HTCondor; the list of cron jobs keeps what others have put there. */
export const condorConfig = (wrapper: string, resources: string): string => `# ${mark}
USER_JOB_WRAPPER = ${wrapper}
STARTD_CRON_JOBLIST = $(STARTD_CRON_JOBLIST) wnod
STARTD_CRON_wnod_EXECUTABLE = ${resources}
STARTD_CRON_wnod_MODE = Periodic
STARTD_CRON_wnod_PERIOD = 10s
`
