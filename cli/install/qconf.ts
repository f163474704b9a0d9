/**
 * What `wnod install gridengine` changes in Grid Engine itself, through qconf(1). A setting of somebody else's is only replaced when that was asked
 * for, and what it was is kept in a file of ours, for the day when ours is taken back.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { VwnError } from '../../core/errors.ts'
import { tryReadJson, writeJson } from '../../kit/atomic-file.ts'
import { run } from '../../kit/command.ts'
import { until } from '../../kit/until.ts'
import type { Change } from './change.ts'

/** Runs qconf, which breaks no lines then; its own words are in the failure. */
export const qconf = async (...args: readonly string[]): Promise<string> =>
  (await run('qconf', args, { env: { SGE_SINGLE_LINE: '1' } }).catch((cause: unknown) => {
    throw new VwnError('INSTALL_UNSUITED', { system: 'gridengine', why: `\`qconf ${args.join(' ').slice(0, 200)}\` fails: run this as a manager of Grid Engine, with its settings in the environment` }, { cause })
  })).stdout

/** `NAME   VALUE` a line, as `qconf -sq` and `-sconf` print; a value may go on in lines that follow a backslash. */
export function parseSettings(text: string): ReadonlyMap<string, string> {
  const lines = text.replaceAll(/\s*\\\n\s*/g, ' ').split('\n')
  return new Map(lines.flatMap((line) => (/^\w/.test(line) ? [[/^\S+/.exec(line)?.[0] ?? '', line.replace(/^\S+\s*/, '').trimEnd()] as const] : [])))
}

/** Values that were there before ours, by the name of the setting. */
export interface Kept {
  get(name: string): Promise<string | null>
  put(name: string, value: string): Promise<void>
  drop(name: string): Promise<void>
}

const keptSchema = z.record(z.string(), z.string())

/** Kept in this file, which is there as long as there is something in it. */
export function keptIn(file: string): Kept {
  const all = async (): Promise<Record<string, string>> => (await tryReadJson(file, keptSchema))?.content ?? {}
  return {
    get: async (name) => (await all())[name] ?? null,
    async put(name, value) {
      await writeJson(file, { [name]: value, ...(await all()) }) // the first one counts: later ones are ours
    },
    async drop(name) {
      const { [name]: _dropped, ...rest } = await all()
      await (Object.keys(rest).length === 0 ? rm(file, { force: true }) : writeJson(file, rest))
    },
  }
}

export interface Setting {
  /** As the administrator would say it: `starter_method of queue bait.q`. */
  readonly name: string
  readonly read: () => Promise<string>
  readonly write: (value: string) => Promise<unknown>
}

/** Grid Engine's words for nothing. */
export const isNone = (value: string): boolean => /^(none|)$/i.test(value)

/** A setting with this value. INSTALL_FOREIGN_SETTING where it has another that is neither none nor an older one of ours. */
export function set(setting: Setting, value: string, kept: Kept, mayReplace: boolean): Change {
  const { name, read, write } = setting
  return {
    say: `${name}: ${value}`,
    async isMade() {
      const now = await read()
      if (now === value) return true
      if (!isNone(now) && !mayReplace && (await kept.get(name)) === null) throw new VwnError('INSTALL_FOREIGN_SETTING', { setting: name, is: now })
      return false
    },
    async make() {
      const now = await read()
      if (now === value) return
      await kept.put(name, now)
      await write(value)
    },
    async takeBack() {
      if ((await read()) === value) await write((await kept.get(name)) ?? 'NONE')
      await kept.drop(name)
    },
  }
}

/** An attribute of a queue, for all of its hosts. */
export const queueAttribute = (queue: string, attribute: string): Setting => ({
  name: `${attribute} of queue ${queue}`,
  read: async () => parseSettings(await qconf('-sq', queue)).get(attribute) ?? '',
  write: (value) => qconf('-rattr', 'queue', attribute, value, queue),
})

/** A parameter of the cluster's configuration. */
export const clusterParameter = (parameter: string): Setting => ({
  name: `${parameter} of the cluster`,
  read: async () => parseSettings(await qconf('-sconf')).get(parameter) ?? '',
  async write(value) {
    const lines = (await qconf('-sconf')).replaceAll(/\s*\\\n\s*/g, ' ').split('\n').filter((line) => /^\w/.test(line) && !line.startsWith(`${parameter} `))
    await withFile('global', [...lines, `${parameter} ${value}`, ''].join('\n'), (file) => qconf('-Mconf', file))
  },
})

/** What has resources to offer, as qconf calls it, and how it shows one. */
const offering = { queue: '-sq', exechost: '-se' } as const

/** One resource value of a queue or a host, or whatever value it has; what else is offered there stays. */
export function offers(kind: keyof typeof offering, object: string, name: string, value: string | null): Change {
  const item = `${name}=${value ?? ''}`
  const there = async (): Promise<string | undefined> =>
    (parseSettings(await qconf(offering[kind], object)).get('complex_values') ?? '').split(',').find((each) => each.startsWith(`${name}=`))
  const isMade = async (): Promise<boolean> => (value === null ? (await there()) !== undefined : (await there()) === item)
  return {
    say: `complex_values of ${kind} ${object}: …,${item}`,
    isMade,
    make: async () => void ((await isMade()) || (await qconf('-mattr', kind, 'complex_values', item, object))),
    async takeBack() {
      const now = await there()
      if (now !== undefined) await qconf('-dattr', kind, 'complex_values', now, object)
    },
  }
}

/** A resource that jobs can ask for, as a line of complex(5). */
export function complex(line: string): Change {
  const [name = ''] = line.split(' ')
  const lines = async (): Promise<string[]> => (await qconf('-sc')).split('\n').filter((each) => /^\w/.test(each)).map((each) => each.trim().split(/\s+/).join(' '))
  const write = async (next: readonly string[]): Promise<unknown> => withFile('complexes', `${next.join('\n')}\n`, (file) => qconf('-Mc', file))
  return {
    say: `complex ${line}`,
    async isMade() {
      const now = (await lines()).find((each) => each.startsWith(`${name} `))
      if (now !== undefined && now !== line) throw new VwnError('INSTALL_FOREIGN_SETTING', { setting: `complex ${name}`, is: now })
      return now === line
    },
    async make() {
      const now = await lines()
      if (!now.includes(line)) await write([...now, line])
    },
    async takeBack() {
      const now = await lines()
      if (!now.includes(line)) return
      const without = (): Promise<boolean> => write(now.filter((each) => each !== line)).then(() => true)
      await until(without, { withinMs: referredMsMax, everyMs: 1_000, what: `nothing refers to complex ${name} any more` })
    },
  }
}

/** A host that has told a load value refers to its complex until it has reported twice without it: load_report_time is 40 s where nobody has set it. */
const referredMsMax = 180_000

/** qconf takes long values from files, by whose name it knows what they are. */
async function withFile(name: string, content: string, use: (file: string) => Promise<unknown>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'wnod-qconf-'))
  try {
    const file = join(folder, name)
    await writeFile(file, content)
    await use(file)
  } finally {
    await rm(folder, { recursive: true })
  }
}
