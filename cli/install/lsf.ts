/**
 * `wnod install lsf`: what makes jobs of one queue of LSF go into VWNs. LSF reads its files when it is told to: `badmin reconfig` for the queue,
 * `lsadmin reconfig` for the elim.
 *
 *   lsb.queues          one line in the queue's own section: JOB_STARTER
 *   LSF_SERVERDIR       esub.wnod (bsub -a wnod), elim.wnod (what this host can offer)
 *   wnod-lsf, wnod      what the queue and the elim call, with the settings of this host
 *   wnod-lsf-control    for JOB_CONTROLS, which the administrator may set
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { writeAtomic } from '../../kit/atomic-file.ts'
import type { Context } from '../context.ts'
import type { Change } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { caller, plainWord, script, scriptsFolder, wnodScript } from './sources.ts'

export interface LsfOptions extends InstallOptions {
  readonly queue?: string
  /** The file lsb.queues; without it, only a host is prepared. */
  readonly queues?: string
  /** LSF_SERVERDIR. */
  readonly serverDir?: string
  /** Names of the VWN types, with commas. */
  readonly types?: string
  readonly scripts?: string
}

export async function installLsf(context: Context, options: LsfOptions): Promise<void> {
  const { queue, queues, serverDir = process.env['LSF_SERVERDIR'], types = '', scripts = scriptsFolder } = options
  if ((queue === undefined) !== (queues === undefined)) throw new VwnError('OPTION_INVALID', { problem: '--queue and --queues go together: a queue, and the file lsb.queues that has it' })
  const starter = plainWord(join(scripts, 'wnod-lsf'))
  const changes = [await caller(starter, 'lsf', { system: 'LSF', home: context.home.home, unreachable: options.unreachable })]
  const wnod = plainWord(join(scripts, 'wnod'))
  const control = plainWord(join(scripts, 'wnod-lsf-control'))
  changes.push(await wnodScript(wnod, context.home.home), await script(control, 'lsf/wnod-lsf-control', { WNOD: wnod, CONTROL: control }))
  if (serverDir !== undefined) {
    const names = types.split(',').filter((name) => name !== '').map(plainWord)
    changes.push(await script(join(serverDir, 'esub.wnod'), 'lsf/esub.wnod', { TYPES: names.join(' ') }))
    changes.push(await script(join(serverDir, 'elim.wnod'), 'lsf/elim.wnod', { WNOD: wnod }))
  }
  if (queue !== undefined && queues !== undefined) changes.push(queueLine(queues, queue, `JOB_STARTER = exec ${starter}; %USRCMD`))
  await install(context, 'lsf', changes, options)
}

/** One line in the section of this queue, before its end. Another line of the same name there is somebody else's, and refused. */
export function queueLine(path: string, queue: string, line: string): Change {
  const read = async (): Promise<string[]> =>
    (await readFile(path, 'utf8').catch((cause: unknown) => {
      throw new VwnError('FILE_UNREADABLE', { file: path }, { cause })
    })).split('\n')
  const write = async (lines: readonly string[]): Promise<void> => writeAtomic(path, lines.join('\n'), { mode: (await stat(path)).mode & 0o7777 })
  const placeIn = (lines: readonly string[]): { readonly at: number | null; readonly end: number } => {
    const section = sectionOf(lines, queue)
    if (section === null) throw new VwnError('INSTALL_UNSUITED', { system: 'lsf', why: `${path} has no queue of the name ${queue}` })
    const at = lines.findIndex((each, index) => index > section.begin && index < section.end && nameOf(each) === nameOf(line))
    if (at >= 0 && lines[at]?.trim() !== line) throw new VwnError('INSTALL_UNSUITED', { system: 'lsf', why: `queue ${queue} of ${path} has a ${nameOf(line)} of its own: ${lines[at]?.trim()}` })
    return { at: at < 0 ? null : at, end: section.end }
  }
  return {
    say: `line in queue ${queue} of ${path}: ${line}`,
    isMade: async () => placeIn(await read()).at !== null,
    async make() {
      const lines = await read()
      const { at, end } = placeIn(lines)
      if (at === null) await write(lines.toSpliced(end, 0, line))
    },
    async takeBack() {
      const lines = await read()
      const { at } = placeIn(lines)
      if (at !== null) await write(lines.toSpliced(at, 1))
    },
  }
}

const nameOf = (line: string): string => /^\s*(\w+)\s*=/.exec(line)?.[1]?.toUpperCase() ?? ''

/** The lines `Begin Queue` and `End Queue` around the QUEUE_NAME; null where there is none. */
function sectionOf(lines: readonly string[], queue: string): { readonly begin: number; readonly end: number } | null {
  const isMark = (word: string) => (line: string): boolean => new RegExp(`^\\s*${word}\\s+queue\\s*$`, 'i').test(line)
  const named = lines.findIndex((line) => nameOf(line) === 'QUEUE_NAME' && line.slice(line.indexOf('=') + 1).replace(/#.*/, '').trim() === queue)
  if (named < 0) return null
  const begin = lines.slice(0, named).findLastIndex(isMark('Begin'))
  const end = lines.findIndex((line, index) => index > named && isMark('End')(line))
  return begin < 0 || end < 0 ? null : { begin, end }
}
