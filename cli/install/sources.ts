/** Files of this release that go to where a batch system looks for them, with the words of this host in place of their marks. */
import { access, readFile, realpath } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { distFolder } from '../../kit/dist.ts'
import { mark, ownFile, type Change } from './change.ts'
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
export async function starterFile(system: string): Promise<string> {
  const file = join(distFolder(), 'wnod-starter')
  await access(file).catch((cause: unknown) => {
    throw new VwnError('INSTALL_UNSUITED', { system, why: `${file} is not there: run \`npm run build\` where gcc is` }, { cause })
  })
  return realpath(file)
}

export interface Called {
  /** The batch system, for people. */
  readonly system: string
  readonly frontEnd: string
  readonly home: string
  readonly unreachable: InstallOptions['unreachable']
}

/** A script that calls the job starter as this front end, with the bait and the Node of this host: what a batch system is told to run. */
export async function caller(path: string, { system, frontEnd, home, unreachable = 'requeue' }: Called): Promise<Change> {
  const starter = plainWord(await starterFile(system))
  const text = `#!/bin/sh
# ${mark}: what ${system} runs in the place of a job
export WNOD_HOME=${plainWord(home)} WNOD_NODE=${plainWord(process.execPath)} WNOD_UNREACHABLE=${unreachable}
exec ${starter} --${frontEnd} "$@"
`
  return ownFile(path, text, 0o755)
}

/** A script that is `wnod` of this release, for this farm, whatever the environment of its caller. */
export async function wnodScript(path: string, home: string): Promise<Change> {
  const wnod = plainWord(await realpath(join(dirname(distFolder()), 'bin/wnod.js')))
  return ownFile(path, `#!/bin/sh\n# ${mark}: what a batch system's hooks call\nWNOD_HOME=${plainWord(home)} exec ${plainWord(process.execPath)} ${wnod} "$@"\n`, 0o755)
}
