/**
 * `wnod install slurm`: what makes jobs of this machine's Slurm go into VWNs. Paths are those that the running Slurm says it uses.
 *
 *   the plugin       compiled here against Slurm's own headers, beside Slurm's own plugins
 *   plugstack.conf   one line
 *   slurm.conf       RequeueExit: a job that could not get a VWN runs later instead of failing; the controller is told to read it again
 *
 * With --without-plugin nothing is compiled, and batch scripts alone go into VWNs:
 *
 *   job_submit.lua   ours, in our own folder, and one line in the one beside slurm.conf
 *   slurm.conf       RequeueExit as above, JobSubmitPlugins with lua
 */
import { createHash } from 'node:crypto'
import { chmod, mkdtemp, readFile, realpath, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { errnoOf } from '../../kit/atomic-file.ts'
import { run } from '../../kit/command.ts'
import type { Context } from '../context.ts'
import { lineIn, listed, mark, tryRead, type Change } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { plainWord, script, scriptsFolder, sourceFile, starterFile } from './sources.ts'

export interface SlurmOptions extends InstallOptions {
  /** What becomes of jobs that do not say what they want: `none`, `mapping`, or a type. */
  readonly default?: string
  /** Partitions that `default` holds for. */
  readonly partition?: string
  /** Batch scripts alone, by job_submit.lua. */
  readonly withoutPlugin?: boolean
  readonly scripts?: string
  /** Folders and files in place of what the running Slurm says. */
  readonly pluginDir?: string
  readonly plugstack?: string
  readonly slurmConf?: string
}

/** The exit code by which the job starter says that the job never ran. */
const refusedCode = '75'

/** What the running Slurm says of itself. */
interface Site {
  readonly plugin: string
  readonly plugstack: string
  readonly slurmConf: string
  readonly jobSubmit: string
  readonly release: string
}

/** What our line tells the starter, in plugstack.conf as in job_submit.lua. */
type Settings = Readonly<Record<string, string | undefined>>

export async function installSlurm(context: Context, options: SlurmOptions): Promise<void> {
  const said = parseConfig((await slurm('scontrol', ['show', 'config'])).stdout)
  const pluginDir = options.pluginDir ?? (said.get('PluginDir') ?? '').split(':')[0] ?? ''
  const plugstack = options.plugstack ?? said.get('PlugStackConfig') ?? ''
  const slurmConf = options.slurmConf ?? said.get('SLURM_CONF') ?? ''
  if ([pluginDir, plugstack, slurmConf].includes('')) throw new VwnError('INSTALL_UNSUITED', { system: 'slurm', why: 'Slurm does not say where its plugins and settings are' })
  const site: Site = { plugin: join(pluginDir, 'wnod_spank.so'), plugstack, slurmConf, jobSubmit: join(dirname(slurmConf), 'job_submit.lua'), release: said.get('SLURM_VERSION') ?? '' }
  const settings: Settings = { starter: await starterFile('slurm'), node: process.execPath, home: context.home.home, default: options.default ?? 'none', partition: options.partition, unreachable: options.unreachable === 'bare' ? 'bare' : undefined }
  const { withoutPlugin = false, undo = false } = options
  if (!undo) await refuseBoth(withoutPlugin, site)
  const changes = withoutPlugin ? await byJobSubmit(site, settings, options.scripts ?? scriptsFolder) : await byPlugin(site, settings)
  const requeued = item(site, 'RequeueExit', refusedCode)
  await install(context, 'slurm', withoutPlugin ? [...changes, requeued, item(site, 'JobSubmitPlugins', 'lua')] : [...changes, requeued], options)
}

const byPlugin = async ({ plugin, plugstack, release }: Site, settings: Settings): Promise<readonly Change[]> => [
  compiled(plugin, await realpath(sourceFile('slurm/wnod_spank.c')), release),
  lineIn(plugstack, plugstackLine(plugin, settings), { isOlder: (other) => isPlugin(other, plugin) }),
]

const isPlugin = (line: string, plugin: string): boolean => line.split(/\s+/)[1] === plugin

/** Slurm reads job_submit.lua again when it has changed, but not what that reads: so the line changes with our file. */
async function byJobSubmit({ jobSubmit }: Site, settings: Settings, folder: string): Promise<readonly Change[]> {
  const ours = plainWord(join(folder, 'job_submit.lua'))
  return [
    await script(ours, 'slurm/job_submit.lua', {}),
    lineIn(jobSubmit, jobSubmitLine(ours, await digestOf(sourceFile('slurm/job_submit.lua')), settings), { isOlder: isJobSubmit, before: beforeReturn }),
  ]
}

const isJobSubmit = (line: string): boolean => line.startsWith('assert(loadfile(') && line.includes(mark)

/** One line of job_submit.lua. */
export function jobSubmitLine(ours: string, digest: string, settings: Settings): string {
  const words = Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [`${name} = "${plainWord(value)}"`]))
  return `assert(loadfile("${ours}")) { ${words.join(', ')} } -- ${mark}: ${digest.slice(0, 12)}`
}

/** Lua takes nothing after the `return` by which many a job_submit.lua ends. */
export function beforeReturn(lines: readonly string[]): number {
  const last = lines.findLastIndex((line) => !/^\s*(--.*)?$/.test(line))
  return /^return\b/.test(lines[last] ?? '') ? last : lines.length - (lines.at(-1) === '' ? 1 : 0)
}

/** A job that both have taken would be handed over twice. */
async function refuseBoth(withoutPlugin: boolean, { plugin, plugstack, jobSubmit }: Site): Promise<void> {
  const lines = ((await tryRead(withoutPlugin ? plugstack : jobSubmit)) ?? '').split('\n')
  if (!lines.some((line) => (withoutPlugin ? isPlugin(line, plugin) : isJobSubmit(line)))) return
  const [there, undoing] = withoutPlugin ? ['the plugin', ''] : ['job_submit.lua', ' --without-plugin']
  throw new VwnError('INSTALL_UNSUITED', { system: 'slurm', why: `jobs go into VWNs by ${there} already: take that back first, by \`wnod install slurm${undoing} --undo\`` })
}

/** One item of a setting in slurm.conf; Slurm is told to read it. */
const item = ({ slurmConf }: Site, name: string, value: string): Change => listed(slurmConf, name, value, () => slurm('scontrol', ['reconfigure']).then(() => undefined))

const digestOf = async (file: string): Promise<string> => createHash('sha256').update(await readFile(file)).digest('hex')

const slurm = (command: string, args: readonly string[]) =>
  run(command, args).catch((cause: unknown) => {
    throw new VwnError('INSTALL_UNSUITED', { system: 'slurm', why: `\`${[command, ...args].join(' ')}\` does not answer: Slurm must run where it is changed` }, { cause })
  })

/** `scontrol show config`: `Name    = value` a line; what is `(null)` is not set. */
export function parseConfig(text: string): ReadonlyMap<string, string> {
  const pairs = [...text.matchAll(/^(\w+) *= (.+?) *$/gm)].map(([, name = '', value = '']) => [name, value] as const)
  return new Map(pairs.filter(([, value]) => value !== '(null)'))
}

/** One line of plugstack.conf. A setting with white space, which Slurm would split, is refused. */
export function plugstackLine(plugin: string, settings: Settings): string {
  const words = ['required', plugin, ...Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))]
  const bad = words.find((word) => /[\s"'#]/.test(word))
  if (bad !== undefined) throw new VwnError('OPTION_INVALID', { problem: `Slurm cannot read "${bad}" in plugstack.conf` })
  return words.join(' ')
}

/** The plugin, compiled from this source for this release of Slurm: both are written into it. */
function compiled(path: string, source: string, release: string): Change {
  const stamp = async (): Promise<string> => `${mark}: ${await digestOf(source)} for Slurm ${release}`
  const ours = async (): Promise<Buffer | null> => {
    const there = await readFile(path).catch((cause: unknown) => {
      if (errnoOf(cause) === 'ENOENT') return null
      throw new VwnError('FILE_UNREADABLE', { file: path }, { cause })
    })
    if (there !== null && !there.includes(mark)) throw new VwnError('INSTALL_FOREIGN_FILE', { file: path })
    return there
  }
  return {
    say: `file ${path}, compiled from ${source} for Slurm ${release}`,
    isMade: async () => (await ours())?.includes(await stamp()) === true,
    async make() {
      await ours()
      const folder = await mkdtemp(join(dirname(path), '.wnod-'))
      try {
        const beside = join(folder, 'plugin.so')
        const made = `-DWNOD_MADE="${(await stamp()).slice(mark.length + 2)}"`
        await run('gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-s', made, '-o', beside, source])
        await chmod(beside, 0o644)
        await rename(beside, path)
      } finally {
        await rm(folder, { recursive: true })
      }
    },
    async takeBack() {
      if ((await ours()) !== null) await rm(path)
    },
  }
}
