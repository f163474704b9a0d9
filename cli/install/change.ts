/**
 * What `wnod install SYSTEM` changes on this machine: a list of changes, each of which can tell whether it is made, be made, and be taken back.
 * All are looked at before the first is made, so what cannot be done is refused with nothing changed. Making what is made changes nothing.
 */
import { mkdir, readFile, readlink, rm, rmdir, stat, symlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { errnoOf, writeAtomic } from '../../kit/atomic-file.ts'

export interface Change {
  /** What it is and where, as the administrator would say it: one line. */
  readonly say: string
  /** Whether it is made; throws where something of somebody else is in its place. */
  isMade(): Promise<boolean>
  make(): Promise<void>
  /** Leaves what was there before. */
  takeBack(): Promise<void>
}

/** The text of a file, null where there is none. */
export const tryRead = async (path: string): Promise<string | null> =>
  readFile(path, 'utf8').catch((cause: unknown) => {
    if (errnoOf(cause) === 'ENOENT') return null
    throw new VwnError('FILE_UNREADABLE', { file: path }, { cause })
  })

/** A file that is ours alone, recognised by a first line that says so. An older one of ours is replaced. */
export function ownFile(path: string, content: string, mode: number): Change {
  const ours = async (): Promise<string | null> => {
    const there = await tryRead(path)
    if (there !== null && !there.split('\n', 2).some((line) => line.includes(mark))) throw new VwnError('INSTALL_FOREIGN_FILE', { file: path })
    return there
  }
  return {
    say: `file ${path}`,
    isMade: async () => (await ours()) === content && ((await stat(path)).mode & 0o7777) === mode,
    async make() {
      await ours()
      await mkdir(dirname(path), { recursive: true })
      await writeAtomic(path, content, { mode })
    },
    async takeBack() {
      if ((await ours()) !== null) await rm(path)
      await rmdir(dirname(path)).catch(() => undefined) // ours if nobody else has anything in it
    },
  }
}

/** In the first two lines of every file of ours. */
export const mark = 'made by `wnod install`'

/** Where a line of ours belongs among lines of somebody else's, and which ones are its predecessors. */
export interface LinePlace {
  /** Earlier ones of ours: this one replaces them, and they go with it. */
  readonly isOlder?: (line: string) => boolean
  /** Before which of the other lines it goes; at their end where nothing is said. */
  readonly before?: (others: readonly string[]) => number
}

/** One line of a file that is somebody else's, and nothing else of it is touched. The file is made where there is none. */
export function lineIn(path: string, line: string, { isOlder = () => false, before }: LinePlace = {}): Change {
  const lines = async (): Promise<string[]> => ((await tryRead(path)) ?? '').split('\n')
  const isOurs = (each: string): boolean => each === line || isOlder(each)
  const write = async (left: string): Promise<void> => (left === '' ? rm(path, { force: true }) : writeAtomic(path, left, { mode: await modeOf(path) }))
  const without = (now: readonly string[]): string[] => now.filter((each) => !isOurs(each))
  const withOurs = (others: readonly string[]): string => {
    const whole = ended(others.join('\n')).split('\n')
    return whole.toSpliced(before?.(others) ?? whole.length - 1, 0, line).join('\n')
  }
  return {
    say: `line in ${path}: ${line}`,
    isMade: async () => (await lines()).filter(isOurs).join() === line,
    async make() {
      const now = await lines()
      if (now.filter(isOurs).join() !== line) await write(withOurs(without(now)))
    },
    async takeBack() {
      const now = await lines()
      if (now.some(isOurs)) await write(without(now).join('\n'))
    },
  }
}

const ended = (text: string): string => (text === '' || text.endsWith('\n') ? text : `${text}\n`)
const modeOf = (path: string): Promise<number> => stat(path).then(({ mode }) => mode & 0o7777, () => 0o644)

/**
 * One item of a setting that is a list, `Name=a,b`, in a file of somebody else's; `then` has it read. A note on the line says that the item is
 * ours: one that was there before is left when ours is taken back, and a line that is left without items goes.
 */
export function listed(path: string, name: string, item: string, then: () => Promise<void>): Change {
  const note = `${item} ${mark}`
  const setting = new RegExp(`^[ \\t]*${name}[ \\t]*=[ \\t]*([^\\s#]*)(.*)(\n|$)`, 'im')
  const parse = (text: string): { readonly items: readonly string[]; readonly rest: string } => {
    const [, list = '', rest = ''] = setting.exec(text) ?? []
    return { items: list.split(',').filter((each) => each !== ''), rest }
  }
  const text = async (): Promise<string> => (await tryRead(path)) ?? ''
  const put = async (now: string, items: readonly string[], rest: string): Promise<void> => {
    const line = items.length === 0 ? '' : `${name}=${items.join(',')}${rest}\n`
    await writeAtomic(path, setting.test(now) ? now.replace(setting, () => line) : `${ended(now)}${line}`, { mode: await modeOf(path) })
    await then()
  }
  return {
    say: `setting in ${path}: ${name}, with ${item} among its values`,
    isMade: async () => parse(await text()).items.includes(item),
    async make() {
      const now = await text()
      const { items, rest } = parse(now)
      if (!items.includes(item)) await put(now, [...items, item], rest.includes('#') ? `${rest}; ${note}` : `${rest} # ${note}`)
    },
    async takeBack() {
      const now = await text()
      const { items, rest } = parse(now)
      if (rest.includes(note)) await put(now, items.filter((each) => each !== item), rest.replace(`; ${note}`, '').replace(` # ${note}`, ''))
    },
  }
}

/** A link of ours. */
export function link(path: string, target: string): Change {
  const there = async (): Promise<string | null> =>
    readlink(path).catch((cause: unknown) => {
      if (errnoOf(cause) === 'ENOENT') return null
      throw new VwnError('INSTALL_FOREIGN_FILE', { file: path }, { cause })
    })
  return {
    say: `link ${path} to ${target}`,
    isMade: async () => (await there()) === target,
    async make() {
      if ((await there()) !== null) await rm(path)
      await mkdir(dirname(path), { recursive: true })
      await symlink(target, path)
    },
    async takeBack() {
      if ((await there()) === target) await rm(path)
    },
  }
}
