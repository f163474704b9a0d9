/**
 * `wnod install gridengine --queue Q`: what makes the jobs of one queue go into VWNs.
 *
 *   FOLDER             what the queue calls, with the settings beside it; at the same path on every host of the queue
 *   the queue          starter_method; epilog; suspend_method; terminate_method, with --grace
 *   the cluster        `-l vm=TYPE`: a resource, and the verifier of submitted jobs that knows the types
 */
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { typesReplySchema } from '../../wire/api.ts'
import type { Context } from '../context.ts'
import { programFile } from '../programs.ts'
import { link, mark, ownFile, type Change } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { clusterParameter, complex, isNone, keptIn, parseSettings, qconf, queueAttribute, queueOffers, set } from './qconf.ts'
import { sourceFile, starterFile } from './sources.ts'

export interface GridEngineOptions extends InstallOptions {
  readonly queue: string
  readonly folder?: string
  /** The VWN types that `-l vm=TYPE` may name, in place of those that the controller says. */
  readonly types?: readonly string[]
  /** Only the files: for the other hosts of a queue. */
  readonly files?: boolean
  /** `qdel` gives a job TERM and so many seconds, in place of KILL at once. */
  readonly grace?: number
  /** Whether the slot waits until nothing of the job is left in its VWN; where the site has an epilog of its own, that may say so instead. */
  readonly epilog?: boolean
  /** Settings of somebody else's are replaced, and put back by --undo. */
  readonly replace?: boolean
}

export async function installGridEngine(context: Context, options: GridEngineOptions): Promise<void> {
  const folder = options.folder ?? '/etc/wnod/gridengine'
  if (!/^\/[\w./+-]*$/.test(folder)) throw new VwnError('OPTION_INVALID', { option: '--folder', problem: 'Grid Engine can call a plain absolute path only' })
  const files = await filesOf(context, folder, options)
  if (options.files === true) return install(context, 'gridengine', files, options)
  const others = await otherQueues(folder, options.queue)
  if (options.epilog !== false && options.undo !== true && options.replace !== true) await refuseHidden(options.queue)
  const shared = options.undo === true && others ? [] : [...files, ...ofCluster(folder, options)]
  const grace = options.grace ?? (options.undo === true ? await graceOf(folder, options.queue) : undefined)
  await install(context, 'gridengine', [...shared, ...ofQueue(folder, { ...options, ...(grace !== undefined && { grace }) })], options)
}

const gentle = (folder: string, grace: number | ''): string => `${join(folder, 'terminate.sh')} $job_pid ${grace}`

/** The grace that the queue was given by us, where it was. */
async function graceOf(folder: string, queue: string): Promise<number | undefined> {
  const now = await queueAttribute(queue, 'terminate_method').read()
  return now.startsWith(gentle(folder, '')) ? Number(now.slice(gentle(folder, '').length)) : undefined
}

/** Whether other queues call what is in the folder: it stays for them, and so does what is the cluster's. */
async function otherQueues(folder: string, queue: string): Promise<boolean> {
  const names = (await qconf('-sql')).split('\n').filter((name) => name !== '')
  if (!names.includes(queue)) throw new VwnError('INSTALL_UNSUITED', { system: 'gridengine', why: `there is no queue ${queue}` })
  const methods = await Promise.all(names.map(async (name) => (name === queue ? '' : parseSettings(await qconf('-sq', name)).get('starter_method'))))
  return methods.includes(join(folder, 'wnod-gridengine'))
}

/** An epilog of the cluster's, which one of the queue's own would keep from being called. */
async function refuseHidden(queue: string): Promise<void> {
  const [ofCluster, ofQueue] = [await clusterParameter('epilog').read(), await queueAttribute(queue, 'epilog').read()]
  if (!isNone(ofCluster) && isNone(ofQueue)) throw new VwnError('INSTALL_FOREIGN_SETTING', { setting: 'epilog of the cluster', is: ofCluster })
}

/** What of ours a host must have, by the folder's path. */
async function filesOf(context: Context, folder: string, options: GridEngineOptions): Promise<readonly Change[]> {
  const scripts = await realpath(sourceFile('gridengine'))
  const settings = [`WNOD_NODE=${process.execPath}`, `WNOD_HOME=${context.home.home}`, `WNOD_HOOK=${programFile('hook.cjs')}`, `WNOD_TYPES=${(await typesOf(context, options)).join(' ')}`]
  settings.push('# --unreachable, for jobs while the bait of their host is away: requeue (they never run there), or bare (they run on the host itself)')
  settings.push(`WNOD_UNREACHABLE=${options.unreachable ?? 'requeue'}`)
  return [
    ownFile(join(folder, 'wnod-gridengine.env'), [`# ${mark}`, ...settings, ''].join('\n'), 0o644),
    link(join(folder, 'wnod-gridengine'), await starterFile('gridengine')),
    ...(['jsv.sh', 'epilog.sh', 'terminate.sh', 'settings.sh'].map((name) => link(join(folder, name), join(scripts, name)))),
  ]
}

function ofCluster(folder: string, { undo = false, replace = undo }: GridEngineOptions): readonly Change[] {
  const kept = keptIn(join(folder, 'cluster.before.json'))
  return [complex('vm vm STRING == YES NO NONE 0'), set(clusterParameter('jsv_url'), `script:${join(folder, 'jsv.sh')}`, kept, replace)]
}

function ofQueue(folder: string, { queue, grace, epilog = true, undo = false, replace = undo }: GridEngineOptions): readonly Change[] {
  const kept = keptIn(join(folder, `${queue}.before.json`))
  const attribute = (name: string, value: string): Change => set(queueAttribute(queue, name), value, kept, replace)
  return [
    queueOffers(queue, 'vm', 'any'),
    ...(epilog || undo ? [attribute('epilog', `root@${join(folder, 'epilog.sh')}`)] : []),
    attribute('suspend_method', 'SIGTSTP'),
    ...(grace === undefined ? [] : [attribute('terminate_method', gentle(folder, grace))]),
    attribute('starter_method', join(folder, 'wnod-gridengine')), // last: from here on jobs go into VWNs
  ]
}

async function typesOf(context: Context, { types, undo }: GridEngineOptions): Promise<readonly string[]> {
  if (types !== undefined) return types
  return undo === true ? [] : (await context.api.get('/types', typesReplySchema)).types.map(({ type }) => type)
}
