/**
 * `wnod install slurm`: what makes jobs of this machine's Slurm go into VWNs. Paths are those that the running Slurm says it uses.
 *
 *   the plugin       compiled here against Slurm's own headers, beside Slurm's own plugins
 *   plugstack.conf   one line
 *   slurm.conf       RequeueExit: a job that could not get a VWN runs later instead of failing; the controller is told to read it again
 */
import { createHash } from 'node:crypto'
import { chmod, mkdtemp, readFile, realpath, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { errnoOf } from '../../kit/atomic-file.ts'
import { run } from '../../kit/command.ts'
import type { Context } from '../context.ts'
import { lineIn, listed, mark, type Change } from './change.ts'
import { install, type InstallOptions } from './install.ts'
import { sourceFile, starterFile } from './sources.ts'

export interface SlurmOptions extends InstallOptions {
  /** What becomes of jobs that do not say --vm: `none`, `mapping`, or a type. */
  readonly default?: string
  /** Partitions that `default` holds for. */
  readonly partition?: string
  /** Folders and files in place of what the running Slurm says. */
  readonly pluginDir?: string
  readonly plugstack?: string
  readonly slurmConf?: string
}

/** The exit code by which the job starter says that the job never ran. */
const refusedCode = '75'

export async function installSlurm(context: Context, options: SlurmOptions): Promise<void> {
  const said = parseConfig((await slurm('scontrol', ['show', 'config'])).stdout)
  const pluginDir = options.pluginDir ?? (said.get('PluginDir') ?? '').split(':')[0] ?? ''
  const plugstack = options.plugstack ?? said.get('PlugStackConfig') ?? ''
  const slurmConf = options.slurmConf ?? said.get('SLURM_CONF') ?? ''
  if ([pluginDir, plugstack, slurmConf].includes('')) throw new VwnError('INSTALL_UNSUITED', { system: 'slurm', why: 'Slurm does not say where its plugins and settings are' })
  const plugin = join(pluginDir, 'wnod_spank.so')
  const line = plugstackLine(plugin, { starter: await starterFile('slurm'), node: process.execPath, home: context.home.home, default: options.default ?? 'none', partition: options.partition, unreachable: options.unreachable === 'bare' ? 'bare' : undefined })
  await install(context, 'slurm', [
    compiled(plugin, await realpath(sourceFile('slurm/wnod_spank.c')), said.get('SLURM_VERSION') ?? ''),
    lineIn(plugstack, line, (other) => other.split(/\s+/)[1] === plugin),
    listed(slurmConf, 'RequeueExit', refusedCode, () => slurm('scontrol', ['reconfigure']).then(() => undefined)),
  ], options)
}

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
export function plugstackLine(plugin: string, settings: Readonly<Record<string, string | undefined>>): string {
  const words = ['required', plugin, ...Object.entries(settings).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]))]
  const bad = words.find((word) => /[\s"'#]/.test(word))
  if (bad !== undefined) throw new VwnError('OPTION_INVALID', { problem: `Slurm cannot read "${bad}" in plugstack.conf` })
  return words.join(' ')
}

/** The plugin, compiled from this source for this release of Slurm: both are written into it. */
function compiled(path: string, source: string, release: string): Change {
  const stamp = async (): Promise<string> => `${mark}: ${createHash('sha256').update(await readFile(source)).digest('hex')} for Slurm ${release}`
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
