/** A farm as large as one gets, of which all is real but the hosts: nats-server, the controller's process on its SQLite, and baits that are played. */
import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { homePaths, type Home } from '../kit/paths.ts'
import { Undo } from '../kit/undo.ts'
import { until } from '../kit/until.ts'
import { startNats } from '../test/harness/nats.ts'
import type { Told } from './player.ts'

export interface FarmSize {
  readonly hosts: number
  readonly vwnsPerHost: number
}

export interface SimulatedFarm extends AsyncDisposable {
  readonly home: Home
  readonly url: string
  readonly controllerPid: number
  /** From now on so many states of VWNs and jobs change in a second. */
  play(changesPerSecond: number): void
  /** From now on no host is heard. */
  silence(): Promise<void>
}

/** A job that comes, runs and ends; its VWN that is busy, is cleaned and is idle. Some of it falls together, so it is counted low. */
const changesPerJob = 5
const startMs = 60_000
const fullMs = 1_200_000
const mapping = `
types:
  standard: { image: debian12, cpus: 1, memory_mib: 1024, scratch_gib: 4, idle_max_s: 86400, jobs_max: 1000000 }
default: { type: standard }
`

/** Every host is heard, and has a job in each of its VWNs. */
export async function startSimulatedFarm({ hosts, vwnsPerHost }: FarmSize): Promise<SimulatedFarm> {
  const undo = new Undo()
  try {
    const nats = await startNats()
    undo.push('nats', () => nats.stop())
    const home = homePaths(mkdtempSync(join(tmpdir(), 'wnod-bench-')))
    undo.push('home', () => rmSync(home.home, { recursive: true, force: true }))
    for (const file of [home.mapping, home.log('controller')]) mkdirSync(dirname(file), { recursive: true })
    writeFileSync(home.mapping, mapping)
    writeFileSync(home.controllerConfig, `images = ""\n[nats]\nservers = ["${nats.url}"]\n`)

    const log = openSync(home.log('controller'), 'w')
    const controller = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, join(import.meta.dirname, 'controller.js'), '--home', home.home, '--config', home.controllerConfig], { stdio: ['ignore', 'ignore', log] })
    closeSync(log)
    undo.push('controller', () => ended(controller, 'SIGTERM'))
    const url = await until(() => addressIn(home.controllerUrl), { withinMs: startMs, what: 'the controller is ready' })

    const player = fork(join(import.meta.dirname, 'bench-player.js'), [nats.url, String(hosts), String(vwnsPerHost)])
    undo.push('player', () => ended(player, 'SIGKILL'))
    await Promise.race([once(player, 'message', { signal: AbortSignal.timeout(fullMs) }), once(player, 'exit').then(() => { throw new Error('the player of the baits has ended') })])
    const told = (words: Told): void => void player.send(words)
    return {
      home, url, controllerPid: pidOf(controller),
      play: (changesPerSecond) => told({ perSecond: changesPerSecond / changesPerJob }),
      silence: () => ended(player, 'SIGKILL'),
      [Symbol.asyncDispose]: () => undo.undo(),
    }
  } catch (error) {
    await undo.undo()
    throw error
  }
}

function addressIn(file: string): string {
  return readFileSync(file, 'utf8').trim()
}

function pidOf({ pid }: ChildProcess): number {
  if (pid === undefined) throw new Error('a process did not start')
  return pid
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}
