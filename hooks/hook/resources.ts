/**
 * Resource hooks: what this host offers, told to a batch system in its own way. Once, or for as long as it listens.
 *
 *   sge     a line comes in, a report goes out; ends at `quit` or the end of its stdin
 *   elim    a line when something has changed, or a minute has passed; never two within 15 s, for LIM would fall behind
 *   others  once, or every S seconds with --every
 */
import { hostname } from 'node:os'
import { createInterface } from 'node:readline'
import { VwnError } from '../../core/errors.ts'
import type { ResourcesReply, ResourceView } from '../../wire/api.ts'
import { baitSocket } from '../bait-socket.ts'
import { UsageError } from '../starter/options.ts'
import { saidBy } from './command.ts'
import { fromController, hostOf } from './controller.ts'
import { condorAttributes, elimLine, formats, gres, pbsLines, sensorReport, type Format } from './formats.ts'
import type { HookOptions } from './options.ts'

const elimMinSeconds = 15
const elimMaxSeconds = 60
const everySecondsMax = 86_400

/** Tells it; resolves when that is over. */
export async function resources(options: HookOptions): Promise<void> {
  const format = formats.find((one) => one === options.text('format'))
  if (format === undefined) throw new UsageError(`--format is one of ${formats.join(', ')}`)
  process.stdout.on('error', () => process.exit(0)) // nobody listens any more
  const node = options.text('node') ?? hostname()
  const seconds = options.number('every', everySecondsMax)
  if (format === 'sge') return sense(options, node)
  if (format === 'elim') return elim(options, Math.max(elimMinSeconds, seconds ?? elimMinSeconds))
  tell(options, format, node, await offered(options))
  const ask = watch(options)
  while (seconds !== null) {
    await pause(seconds)
    tell(options, format, node, await ask())
  }
}

function tell(options: HookOptions, format: Exclude<Format, 'sge' | 'elim'>, node: string, offers: readonly ResourceView[]): void {
  if (format === 'slurm') return updateSlurm(options, node, offers)
  process.stdout.write(format === 'condor' ? condorAttributes(offers) : pbsLines(offers))
}

function updateSlurm(options: HookOptions, node: string, offers: readonly ResourceView[]): void {
  const args = ['update', `nodename=${node}`, `Gres=${gres(offers)}`]
  if (options.flag('dry-run')) return void process.stdout.write(`scontrol ${args.join(' ')}\n`)
  saidBy('scontrol', args)
}

/** A load sensor of Grid Engine. */
async function sense(options: HookOptions, node: string): Promise<void> {
  const ask = watch(options)
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim() === 'quit') break
    process.stdout.write(sensorReport(node, await ask()))
  }
  process.stdin.destroy()
}

async function elim(options: HookOptions, seconds: number): Promise<never> {
  const ask = watch(options)
  let said = ''
  for (let sinceSeconds = 0; ; sinceSeconds += seconds) {
    const line = elimLine(await ask())
    if (line !== said || sinceSeconds >= elimMaxSeconds) {
      process.stdout.write(line)
      said = line
      sinceSeconds = 0
    }
    await pause(seconds)
  }
}

/** Asks again and again. While the controller is away nothing can be placed, so there is nothing of all that there was. */
function watch(options: HookOptions): () => Promise<readonly ResourceView[]> {
  let last: readonly ResourceView[] = []
  return async () => {
    try {
      last = await offered(options)
    } catch (error) {
      if (!(error instanceof VwnError)) throw error
      last = last.map((offer) => ({ ...offer, jobs: 0, ready: 0, readyMs: null }))
    }
    return last
  }
}

async function offered(options: HookOptions): Promise<readonly ResourceView[]> {
  const host = hostOf(options, baitSocket({ socket: options.text('socket'), home: options.text('home') }))
  return (await fromController<ResourcesReply>(options, `/hosts/${encodeURIComponent(host ?? '')}/resources`)).resources
}

const pause = (seconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, seconds * 1_000))
