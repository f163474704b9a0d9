/**
 * `wnod install gridengine --queue Q`: what makes the jobs of one queue go into VWNs.
 *
 *   FOLDER             what the queue calls, with the settings beside it; at the same path on every host of the queue
 *   the queue          starter_method; suspend_method; terminate_method, with --grace
 *   the cluster        `-l vm=TYPE`: a resource, and the verifier of submitted jobs that knows the types
 */
import { access, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { typesReplySchema } from '../../wire/api.ts'
import type { Context } from '../context.ts'
import { distFolder } from '../programs.ts'
import { link, mark, ownFile, type Change } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { clusterParameter, complex, keptIn, parseSettings, qconf, queueAttribute, queueOffers, set } from './qconf.ts'

export interface GridEngineOptions extends InstallOptions {
  readonly queue: string
  readonly folder?: string
  /** The VWN types that `-l vm=TYPE` may name, in place of those that the controller says. */
  readonly types?: readonly string[]
  /** Only the files: for the other hosts of a queue. */
  readonly files?: boolean
  /** `qdel` gives a job TERM and so many seconds, in place of KILL at once. */
  readonly grace?: number
  /** Settings of somebody else's are replaced, and put back by --undo. */
  readonly replace?: boolean
}

export async function installGridEngine(context: Context, options: GridEngineOptions): Promise<void> {
  const folder = options.folder ?? '/etc/wnod/gridengine'
  if (!/^\/[\w./+-]*$/.test(folder)) throw new VwnError('OPTION_INVALID', { option: '--folder', problem: 'Grid Engine can call a plain absolute path only' })
  const files = await filesOf(context, folder, options)
  const changes = options.files === true ? files : [...files, ...settingsOf(folder, options)]
  if (options.files !== true && options.undo !== true) await refuseHidden(options)
  await install(context, 'gridengine', changes, options)
}

/** What of ours a host must have, by the folder's path. */
async function filesOf(context: Context, folder: string, options: GridEngineOptions): Promise<readonly Change[]> {
  const scripts = await realpath(join(dirname(distFolder()), 'hooks/gridengine'))
  const settings = [`WNOD_NODE=${process.execPath}`, `WNOD_HOME=${context.home.home}`, `WNOD_TYPES=${(await typesOf(context, options)).join(' ')}`, `WNOD_GRACE=${options.grace ?? 0}`]
  return [
    link(join(folder, 'wnod-gridengine'), await starterFile()),
    ownFile(join(folder, 'wnod-gridengine.env'), [`# ${mark}`, ...settings, ''].join('\n'), 0o644),
    link(join(folder, 'jsv'), join(scripts, 'jsv.sh')),
    link(join(folder, 'terminate'), join(scripts, 'terminate.sh')),
  ]
}

function settingsOf(folder: string, { queue, grace, replace = false }: GridEngineOptions): readonly Change[] {
  const kept = keptIn(join(folder, `${queue}.before.json`))
  const keptOfCluster = keptIn(join(folder, 'cluster.before.json'))
  const attribute = (name: string, value: string): Change => set(queueAttribute(queue, name), value, kept, replace)
  return [
    complex('vm vm STRING == YES NO NONE 0'),
    queueOffers(queue, 'vm', 'any'),
    attribute('suspend_method', 'SIGTSTP'),
    ...(grace === undefined ? [] : [attribute('terminate_method', `${join(folder, 'terminate')} $job_pid`)]),
    set(clusterParameter('jsv_url'), `script:${join(folder, 'jsv')}`, keptOfCluster, replace),
    attribute('starter_method', join(folder, 'wnod-gridengine')), // last: from here on jobs go into VWNs
  ]
}

/** Said before anything is changed: the queue must be there, and this be a host where it can be changed. */
async function refuseHidden({ queue }: GridEngineOptions): Promise<void> {
  if (!parseSettings(await qconf('-sq', queue)).has('qname')) throw new VwnError('INSTALL_UNSUITED', { system: 'gridengine', why: `there is no queue ${queue}` })
}

async function typesOf(context: Context, { types, undo }: GridEngineOptions): Promise<readonly string[]> {
  if (types !== undefined) return types
  return undo === true ? [] : (await context.api.get('/types', typesReplySchema)).types.map(({ type }) => type)
}

/** The job starter that notes what Node would take away; jobs are exact with it alone. */
async function starterFile(): Promise<string> {
  const file = join(distFolder(), 'wnod-starter')
  await access(file).catch((cause: unknown) => {
    throw new VwnError('INSTALL_UNSUITED', { system: 'gridengine', why: `${file} is not there: run \`npm run build\` where gcc is` }, { cause })
  })
  return realpath(file)
}
