/**
 * `wnod down`: whatever of a farm is left, after whatever happened to it, is stopped and removed. Every step may find its work
 * done already.
 *
 *   supervisor leaves ─▶ VWNs end through the controller, if it answers ─▶ programs end ─▶ VMs that are left are killed ─▶ files
 */
import { existsSync } from 'node:fs'
import { readdir, readFile, rm, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { readPidFile } from '../../kit/pid-file.ts'
import { isAlive, killAndWait, signalProcess } from '../../kit/process.ts'
import { withProgress } from '../../kit/progress.ts'
import { until } from '../../kit/until.ts'
import { hostOrderedSchema, vwnOrderedSchema, vwnsReplySchema } from '../../wire/api.ts'
import { VwnError } from '../../core/errors.ts'
import type { Context } from '../context.ts'
import { digest, farmPrograms, natsStore } from './prepare.ts'
import { leaveSignal, readRecord, type FarmRecord } from './record.ts'
import { runningProgram } from './supervisor.ts'
import { killVms } from './vms.ts'

const supervisorMs = 15_000
const vwnsMs = 15_000

export interface DownOptions {
  /** Only stop: settings, logs and history stay. */
  readonly keep?: boolean
}

/** Nothing of this home's farm runs afterwards. */
export async function down(context: Context, options: DownOptions): Promise<void> {
  const { home } = context
  if ((await readRecord(home)) === null) {
    if (existsSync(home.controllerConfig)) throw new VwnError('FARM_FOREIGN', { home: home.home, because: home.controllerConfig })
    return context.say(`no farm is up in ${home.home}`)
  }
  const keeper = await readPidFile(home.pid('farm'))
  if (keeper !== null && signalProcess(keeper, leaveSignal)) {
    await until(() => !isAlive(keeper), { withinMs: supervisorMs, what: 'the supervisor leaves' }).catch(() => killAndWait(keeper))
  }
  await takeDown(context, options)
}

/** As `down`, by the supervisor itself. */
export async function takeDown(context: Context, { keep = false }: DownOptions): Promise<void> {
  const { home } = context
  const record = await readRecord(home)
  if (record === null) return
  await endVwns(context, record, keep)
  // Baits first: none may report, or make, what we are about to end; the server last, for the others talk through it.
  const killed = await withProgress('ending the programs of the farm', async () => {
    for (const program of [...farmPrograms(home, record)].reverse()) {
      const running = await runningProgram(program)
      if (running !== null) await killAndWait(running)
      await rm(program.pidFile, { force: true })
    }
    return killVms(home)
  })
  if (killed > 0) context.say(`${killed} VMs that nobody had ended were killed`)
  if (!keep) await removeFarm(context, record)
  context.say(keep ? 'the farm is stopped' : 'the farm is stopped and removed')
}

/**
 * The polite way: every VWN ended by its own bait; what does not answer in time is ended by hand. A drained host would stay so
 * in a history that is kept.
 */
async function endVwns({ api, say }: Context, record: FarmRecord, keep: boolean): Promise<void> {
  try {
    for (const host of keep ? [] : record.hosts) await api.order(`/hosts/${host}/drain`, hostOrderedSchema).catch(() => undefined)
    const { vwns } = await api.get('/vwns', vwnsReplySchema)
    if (vwns.length === 0) return
    say(`ending ${vwns.length} VWNs`)
    for (const { vwn } of vwns) await api.order(`/vwns/${vwn}/kill`, vwnOrderedSchema).catch(() => undefined)
    await withProgress('their baits end them', () => until(async () => (await api.get('/vwns', vwnsReplySchema)).vwns.length === 0, { withinMs: vwnsMs, what: 'the VWNs are gone' }))
  } catch {
    // The controller is not there, or a bait is not: the VMs are found by their command lines.
  }
}

/** Removes what `up` and its programs have made; what a user put there, images and a changed mapping stay. */
async function removeFarm({ home, say }: Context, record: FarmRecord): Promise<void> {
  const ours = [home.run, home.logs, dirname(home.db), home.hosts, natsStore(home), dirname(home.creds('x')), home.natsConfig, home.controllerConfig, ...record.hosts.map((host) => home.host(host).config)]
  for (const path of ours) await rm(path, { recursive: true, force: true })
  if (await isOurs(home.mapping, record)) await rm(home.mapping, { force: true })
  await tryRmdir(home.etc)
  await rm(join(home.home, 'farm.json'), { force: true })
  if (record.madeHome) await tryRmdir(home.home)
  const left = await readdir(home.home).catch(() => [])
  if (left.length > 0) say(`kept in ${home.home}: ${left.join(', ')}`)
}

async function isOurs(mapping: string, record: FarmRecord): Promise<boolean> {
  const text = await readFile(mapping, 'utf8').catch(() => null)
  return text !== null && digest(text) === record.mapping
}

/** Removes a folder if it is empty. */
const tryRmdir = (folder: string): Promise<void> => rmdir(folder).catch(() => undefined)
