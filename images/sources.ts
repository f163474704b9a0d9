/**
 * Where the packages come from: the host's own apt sources, of which only Debian's main archive counts, or a file that the administrator
 * names. No mirror is named in the code.
 */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { VwnError } from '../core/errors.ts'

/** One archive as an entry of sources.list(5). */
export interface Source {
  readonly uri: string
  readonly suite: string
  /** Key ring files, or null where apt's own are used. */
  readonly signedBy: string | null
}

/** One-line entries for mmdebstrap that give this suite with its updates; MIRROR_UNKNOWN when the host has none. */
export async function debianSources(suite: string, file: string | undefined): Promise<readonly string[]> {
  const files = file === undefined || file === '' ? await hostFiles() : [file]
  const texts = await Promise.all(files.map(async (path) => ({ path, text: await readFile(path, 'utf8').catch(() => '') })))
  const found = texts.flatMap(({ path, text }) => parseSources(text, path.endsWith('.sources')))
  const lines = chooseSources(found, suite).map(sourceLine)
  if (lines.length === 0) throw new VwnError('MIRROR_UNKNOWN', { suite, lookedIn: files.join(' ') })
  return lines
}

/** Every binary source with component main in a sources file of either form. */
export function parseSources(text: string, deb822: boolean): readonly Source[] {
  return deb822 ? text.split(/\n\s*\n/).flatMap(parseStanza) : text.split('\n').flatMap(parseLine)
}

/** The suite itself, its updates and its security updates, signed by Debian, each once; none without the suite itself. */
export function chooseSources(sources: readonly Source[], suite: string): readonly Source[] {
  const suites = [suite, `${suite}-updates`, `${suite}-security`]
  const debian = sources.filter(({ signedBy }) => signedBy === null || /debian-archive/.test(signedBy))
  const chosen = suites.flatMap((wanted) => debian.find((source) => source.suite === wanted) ?? [])
  return chosen[0]?.suite === suite ? chosen : []
}

const sourceLine = ({ uri, suite, signedBy }: Source): string => `deb${signedBy === null ? '' : ` [signed-by=${signedBy}]`} ${uri} ${suite} main`

async function hostFiles(): Promise<readonly string[]> {
  const folder = '/etc/apt/sources.list.d'
  const names = await readdir(folder).catch(() => [])
  return ['/etc/apt/sources.list', ...names.filter((name) => /\.(list|sources)$/.test(name)).sort().map((name) => join(folder, name))]
}

function parseStanza(stanza: string): Source[] {
  const fields = new Map<string, string>()
  let last = ''
  for (const line of stanza.split('\n').filter((line) => !line.startsWith('#'))) {
    const field = /^([A-Za-z-]+):\s*(.*)$/.exec(line)
    if (field !== null) fields.set((last = (field[1] ?? '').toLowerCase()), field[2] ?? '')
    else if (/^\s/.test(line)) fields.set(last, `${fields.get(last) ?? ''}\n${line.trim()}`)
  }
  const words = (name: string): string[] => (fields.get(name) ?? '').split(/\s+/).filter((word) => word !== '')
  if (fields.get('enabled') === 'no' || !words('types').includes('deb') || !words('components').includes('main')) return []
  return words('uris').flatMap((uri) => words('suites').map((suite) => ({ uri, suite, signedBy: keyRing(fields.get('signed-by')) })))
}

function parseLine(line: string): Source[] {
  const match = /^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)/.exec(line)
  const [, options = '', uri, suite, components = ''] = match ?? []
  if (uri === undefined || suite === undefined || !components.split(/\s+/).includes('main')) return []
  return [{ uri, suite, signedBy: keyRing(/(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1]) }]
}

/** A key written into the sources themselves has no file that a one-line entry could name: apt's own key rings must do. */
const keyRing = (text: string | undefined): string | null => {
  const value = text?.trim()
  return value !== undefined && value.startsWith('/') ? value.split(/[\s,]+/).join(',') : null
}
