/**
 * `wnod install gridengine --queue Q`: what makes the jobs of one queue go into VWNs.
 *
 *   FOLDER             what the queue calls, with the settings beside it; at the same path on every host of the queue
 *   the queue          starter_method; epilog; suspend_method; terminate_method, with --grace; prolog, with --prolog
 *   the cluster        `-l vm=TYPE`: a resource, and the verifier of submitted jobs that knows the types
 *   this host          with --resources, `-l vm_TYPE=1`: how many have room, to be counted off; and for all hosts the load sensor that tells
 */
import { readdir, realpath } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { resourcesReplySchema, typesReplySchema } from '../../wire/api.ts'
import type { Context } from '../context.ts'
import { programFile } from '../programs.ts'
import { link, mark, ownFile, tryRead, type Change } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { clusterParameter, complex, isNone, keptIn, offers, parseSettings, qconf, queueAttribute, set, type Setting } from './qconf.ts'
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
  /** Whether a job is asked for before its starter is called, and goes back into the queue where this host has no VWN for it. */
  readonly prolog?: boolean
  /** What each type has room for is told, of this host. */
  readonly resources?: boolean
  /** This host, as Grid Engine calls it. */
  readonly host?: string
  /** Settings of somebody else's are replaced, and put back by --undo. */
  readonly replace?: boolean
}

export async function installGridEngine(context: Context, options: GridEngineOptions): Promise<void> {
  const folder = options.folder ?? '/etc/wnod/gridengine'
  if (!/^\/[\w./+-]*$/.test(folder)) throw new VwnError('OPTION_INVALID', { option: '--folder', problem: 'Grid Engine can call a plain absolute path only' })
  const rooms = await roomsOf(context, folder, options)
  const files = await filesOf(context, folder, options, rooms)
  if (options.files === true) return install(context, 'gridengine', files, options)
  const others = await otherQueues(folder, options.queue)
  if (options.undo !== true && options.replace !== true) await refuseHidden(options)
  const shared = options.undo === true && others ? [] : [...files, ...ofCluster(folder, options), ...(await ofRooms(folder, options, rooms))]
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

/** What the cluster has set, and what ours of a queue would keep from being called. */
async function refuseHidden({ queue, epilog = true, prolog = false }: GridEngineOptions): Promise<void> {
  const ours: readonly (readonly [name: string, ours: Setting])[] = [
    ...(epilog ? [['epilog', queueAttribute(queue, 'epilog')] as const] : []),
    ...(prolog ? [['prolog', queueAttribute(queue, 'prolog')] as const] : []),
  ]
  for (const [name, closer] of ours) {
    const setting = clusterParameter(name)
    const is = await setting.read()
    if (!isNone(is) && isNone(await closer.read())) throw new VwnError('INSTALL_FOREIGN_SETTING', { setting: setting.name, is })
  }
}

/** How many jobs of a type have room on this host, by the name that batch systems count it by. */
interface Room {
  readonly name: string
  readonly type: string
  /** Null where only their names are known. */
  readonly jobs: number | null
}

/** Of this host's bait, where that is to be told; of an earlier call, where that is to stay or to go. */
async function roomsOf(context: Context, folder: string, { resources, undo }: GridEngineOptions): Promise<readonly Room[]> {
  const earlier = (await tryRead(settingsFile(folder)))?.match(/^WNOD_RESOURCES=(.+)$/m)?.[1]?.split(' ') ?? []
  if (undo === true || resources !== true) return earlier.map((pair) => ({ name: pair.split('=')[0] ?? '', type: pair.split('=')[1] ?? '', jobs: null }))
  const host = (await readdir(context.home.run).catch(() => [])).flatMap((name) => /^(?!controller\.)(.+)\.sock$/.exec(name)?.[1] ?? []).sort()[0]
  if (host === undefined) throw new VwnError('INSTALL_UNSUITED', { system: 'gridengine', why: `${context.home.run} has no socket of a bait: \`--resources\` is for a host that has one` })
  const reply = await context.api.get(`/hosts/${host}/resources`, resourcesReplySchema)
  return reply.resources.map(({ name, type, jobs, inUse }) => ({ name, type, jobs: jobs + inUse }))
}

/** What is counted off, in case jobs are sent here faster than the load sensor is asked, and the sensor itself. Taken back, it goes from every host. */
async function ofRooms(folder: string, { host = hostname(), resources = false, undo = false, replace = undo }: GridEngineOptions, rooms: readonly Room[]): Promise<readonly Change[]> {
  if (!resources && !undo) return []
  const hosts = undo ? (await qconf('-sel')).split('\n').filter((name) => name !== '') : [host]
  const sensor = set(clusterParameter('load_sensor'), join(folder, 'load-sensor.sh'), keptIn(join(folder, 'cluster.before.json')), replace)
  return [
    ...rooms.map(({ name }) => complex(`${name} ${name} INT <= YES JOB 0 0`)),
    ...hosts.flatMap((each) => rooms.map(({ name, jobs }) => offers('exechost', each, name, jobs === null ? null : String(jobs)))),
    sensor,
  ]
}

const settingsFile = (folder: string): string => join(folder, 'wnod-gridengine.env')

/** What of ours a host must have, by the folder's path. */
async function filesOf(context: Context, folder: string, options: GridEngineOptions, rooms: readonly Room[]): Promise<readonly Change[]> {
  const scripts = await realpath(sourceFile('gridengine'))
  const settings = [
    `WNOD_NODE=${process.execPath}`, `WNOD_HOME=${context.home.home}`, `WNOD_HOOK=${programFile('hook.cjs')}`,
    `WNOD_TYPES=${(await typesOf(context, options)).join(' ')}`, `WNOD_RESOURCES=${rooms.map(({ name, type }) => `${name}=${type}`).join(' ')}`,
    '# --unreachable, for jobs while the bait of their host is away: requeue (they never run there), or bare (they run on the host itself)',
    `WNOD_UNREACHABLE=${options.unreachable ?? 'requeue'}`,
  ]
  return [
    ownFile(settingsFile(folder), [`# ${mark}`, ...settings, ''].join('\n'), 0o644),
    link(join(folder, 'wnod-gridengine'), await starterFile('gridengine')),
    ...(['jsv.sh', 'prolog.sh', 'epilog.sh', 'terminate.sh', 'load-sensor.sh', 'settings.sh'].map((name) => link(join(folder, name), join(scripts, name)))),
  ]
}

function ofCluster(folder: string, { undo = false, replace = undo }: GridEngineOptions): readonly Change[] {
  const kept = keptIn(join(folder, 'cluster.before.json'))
  return [complex('vm vm STRING == YES NO NONE 0'), set(clusterParameter('jsv_url'), `script:${join(folder, 'jsv.sh')}`, kept, replace)]
}

function ofQueue(folder: string, { queue, grace, epilog = true, prolog = false, undo = false, replace = undo }: GridEngineOptions): readonly Change[] {
  const kept = keptIn(join(folder, `${queue}.before.json`))
  const attribute = (name: string, value: string): Change => set(queueAttribute(queue, name), value, kept, replace)
  return [
    offers('queue', queue, 'vm', 'any'),
    ...(prolog || undo ? [attribute('prolog', `root@${join(folder, 'prolog.sh')} $job_owner $queue`)] : []),
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
