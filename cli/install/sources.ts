/** Files of this release that go to where a batch system looks for them, with the words of this host in place of their marks. */
import { access, readFile, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { distFolder } from '../../kit/dist.ts'
import { link, mark, ownFile, type Change } from './change.ts'
import type { InstallOptions } from './install.ts'

/** Where our own scripts go, unless the administrator says otherwise. */
export const scriptsFolder = '/usr/local/lib/wnod'

/** One word for a shell. What no path and no name of a type has is refused, so that nothing has to be quoted. */
export function plainWord(text: string): string {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text
  throw new VwnError('OPTION_INVALID', { problem: `"${text}" would not stay one word in a shell script` })
}

/** A file of this release, below hooks/. */
export const sourceFile = (name: string): string => join(dirname(distFolder()), 'hooks', name)

/** The file at `path`, from this one of ours below hooks/; `@NAME@` in it becomes what `words` has for NAME. */
export async function script(path: string, source: string, words: Readonly<Record<string, string>>): Promise<Change> {
  const text = await readFile(sourceFile(source), 'utf8')
  return ownFile(path, text.replace(/@([A-Z]+)@/g, (_, name: string) => words[name] ?? ''), 0o755)
}

/** The job starter that notes what Node would take away; jobs are exact with it alone. */
export const starterFile = (system: string): Promise<string> => compiledFile(system, 'wnod-starter')

/** A program of this release that a compiler has made. */
export async function compiledFile(system: string, name: string): Promise<string> {
  const file = join(distFolder(), name)
  await access(file).catch((cause: unknown) => {
    throw new VwnError('INSTALL_UNSUITED', { system, why: `${file} is not there: run \`npm run build\` where gcc is` }, { cause })
  })
  return realpath(file)
}

export interface Called {
  /** The batch system, for people. */
  readonly system: string
  readonly home: string
  readonly unreachable: InstallOptions['unreachable']
}

/**
 * The job starter under a name that says its front end (`wnod-torque`), and beside it the settings of this host: what a batch system is told to run. No
 * shell comes before it: that would take variables from the job whose names are none for a shell.
 */
export async function namedStarter(path: string, called: Called): Promise<readonly Change[]> {
  const settings = [`# ${mark}: settings of the job starter beside this file, for ${called.system}`, ...settingsOf(called), '']
  return [ownFile(`${path}.env`, settings.join('\n'), 0o644), link(plainWord(path), await starterFile(called.system))]
}

const settingsOf = ({ home, unreachable = 'requeue' }: Called): readonly string[] =>
  [`WNOD_HOME=${plainWord(home)}`, `WNOD_NODE=${plainWord(process.execPath)}`, `WNOD_UNREACHABLE=${unreachable}`]

/** A script that calls the job starter as this front end, where the batch system has a shell before it in any case. */
export async function caller(path: string, frontEnd: string, called: Called): Promise<Change> {
  const starter = plainWord(await starterFile(called.system))
  const text = `#!/bin/sh
# ${mark}: what ${called.system} runs in the place of a job
export ${settingsOf(called).join(' ')}
exec ${starter} --${frontEnd} "$@"
`
  return ownFile(path, text, 0o755)
}

/** A script that is `wnod` of this release, for this farm, whatever the environment of its caller. */
export async function wnodScript(path: string, home: string): Promise<Change> {
  const wnod = plainWord(await realpath(join(dirname(distFolder()), 'bin/wnod.js')))
  return ownFile(path, `#!/bin/sh\n# ${mark}: what a batch system's hooks call\nWNOD_HOME=${plainWord(home)} exec ${plainWord(process.execPath)} ${wnod} "$@"\n`, 0o755)
}
