/**
 * `wnod install htcondor`: what makes jobs of an execute node of HTCondor go into VWNs; it takes effect with `condor_reconfig`.
 *
 *   wnod-htcondor      the job starter with the settings of this host; `wnod` beside it does so for hooks
 *   wnod-wrapper       USER_JOB_WRAPPER: jobs with `+VM` to the starter, others as they were; with --all the starter itself
 *   wnod-resources     STARTD_CRON: what this host can offer
 *   wnod-job-hook      with --job-hooks, HOOK_PREPARE_JOB and HOOK_JOB_EXIT of jobs that name no hooks of their own
 *   50-wnod.conf       says them to HTCondor
 */
import { join } from 'node:path'
import type { Context } from '../context.ts'
import { link, mark, ownFile } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { compiledFile, namedStarter, plainWord, script, scriptsFolder, wnodScript } from './sources.ts'

export interface HtcondorOptions extends InstallOptions {
  /** Folder of HTCondor's own settings. */
  readonly configDir?: string
  /** Jobs that ask for no type go where the mapping says. */
  readonly all?: boolean
  /** A job that this host has no VWN for is idle again before it starts, and the slot of one that ends is free when nothing of it is left. */
  readonly jobHooks?: boolean
  readonly scripts?: string
}

export async function installHtcondor(context: Context, options: HtcondorOptions): Promise<void> {
  const { configDir = '/etc/condor/config.d', all = false, jobHooks = false, scripts = scriptsFolder, undo = false } = options
  const at = (name: string): string => plainWord(join(scripts, name))
  const { home } = context.home
  const hook = await script(at('wnod-job-hook'), 'htcondor/wnod-job-hook', { WNOD: at('wnod'), ALL: all ? '--all' : '' })
  await install(context, 'htcondor', [
    ...(await namedStarter(at('wnod-htcondor'), { system: 'HTCondor', home, unreachable: options.unreachable })),
    await wnodScript(at('wnod'), home),
    link(at('wnod-wrapper'), await compiledFile('HTCondor', 'wnod-wrapper')),
    await script(at('wnod-resources'), 'htcondor/wnod-resources', { WNOD: at('wnod') }),
    ...(jobHooks || undo ? [hook] : []),
    ownFile(join(configDir, '50-wnod.conf'), condorConfig({ wrapper: at(all ? 'wnod-htcondor' : 'wnod-wrapper'), resources: at('wnod-resources'), jobHook: jobHooks ? at('wnod-job-hook') : null }), 0o644),
  ], options)
}

export interface CondorPaths {
  readonly wrapper: string
  readonly resources: string
  readonly jobHook: string | null
}

/** The settings of HTCondor; the list of cron jobs keeps what others have put there, and a job that names hooks keeps those. */
export const condorConfig = ({ wrapper, resources, jobHook }: CondorPaths): string => `# ${mark}
USER_JOB_WRAPPER = ${wrapper}
STARTD_CRON_JOBLIST = $(STARTD_CRON_JOBLIST) wnod
STARTD_CRON_wnod_EXECUTABLE = ${resources}
STARTD_CRON_wnod_MODE = Periodic
STARTD_CRON_wnod_PERIOD = 10s
${jobHook === null ? '' : `STARTER_DEFAULT_JOB_HOOK_KEYWORD = WNOD
WNOD_HOOK_PREPARE_JOB = ${jobHook}
WNOD_HOOK_JOB_EXIT = ${jobHook}
`}`
