/**
 * Settings: one TOML file per program, checked by one zod schema, with flags or environment laid over it. Every key has
 * a visible default or must be set; a key that nobody reads is refused with the nearest name.
 */
import { readFileSync } from 'node:fs'
import { distance } from 'fastest-levenshtein'
import { parse, TomlError } from 'smol-toml'
import { z } from 'zod'
import { VwnError, type Facts } from '../core/errors.ts'

type Path = readonly (string | number)[]
type Table = Readonly<Record<string, unknown>>

/** One line of `--check-config`: a setting, what is in force, and who said so. */
export interface Effective {
  readonly key: string
  readonly value: unknown
  /** `default`, `controller.toml:12`, or the name of the flag or variable. */
  readonly origin: string
}

export interface Config<S> {
  readonly settings: S
  readonly effective: readonly Effective[]
}

/** A value laid over the file's: `{ key: 'http.port', value: 0, origin: '--port' }`. An undefined value lays nothing. */
export interface Override {
  readonly key: string
  readonly value: unknown
  readonly origin: string
}

export interface ConfigSource {
  /** Null: no file, only defaults and overrides. */
  readonly file: string | null
  readonly overrides?: readonly Override[]
}

/** The checked, frozen settings and where each came from; CONFIG_… otherwise, naming file, line and key. */
export function loadConfig<S extends z.ZodObject>(schema: S, source: ConfigSource): Config<z.output<S>> {
  const { file } = source
  return parseConfig(schema, { ...source, text: file === null ? '' : readText(file) })
}

/** As `loadConfig`, of a text that was read already. */
export function parseConfig<S extends z.ZodObject>(schema: S, source: ConfigSource & { readonly text: string }): Config<z.output<S>> {
  const { file, text, overrides = [] } = source
  const table = parseToml(text, file)
  const lineOf = keyLines(text)
  refuseUnknown(schema, table, (path) => ({ file, line: lineOf(path) ?? undefined }))

  const laid = overrides.filter((override) => override.value !== undefined)
  const merged = laid.reduce((below, override) => withKey(below, override.key.split('.'), override.value), table)
  refuseUnknown(schema, merged, (path) => ({ origin: originOf(laid, path) }))

  const result = schema.safeParse(merged)
  if (!result.success) throw invalid(result.error, file, lineOf, laid)
  const settings = freeze(result.data)
  return {
    settings,
    effective: leaves(settings).map(([path, value]) => {
      const line = lineOf(path)
      const fromFile = has(table, path) ? `${file ?? 'text'}${line === null ? '' : `:${line}`}` : 'default'
      return { key: path.join('.'), value, origin: originOf(laid, path) ?? fromFile }
    }),
  }
}

/** What `--check-config` prints. */
export function effectiveTable(effective: readonly Effective[]): string {
  const cells = effective.map(({ key, value, origin }) => [key, `= ${JSON.stringify(value)}`, `# ${origin}`] as const)
  const width = (column: 0 | 1): number => Math.max(0, ...cells.map((row) => row[column].length))
  const [keys, values] = [width(0), width(1)]
  return cells.map(([key, value, origin]) => `${key.padEnd(keys)} ${value.padEnd(values)}  ${origin}\n`).join('')
}

/** The known name that a misspelled one was probably meant to be, or null when none is near. */
export function nearest(name: string, known: readonly string[]): string | null {
  const ranked = known
    .map((candidate) => ({ candidate, far: distance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0]
  return ranked !== undefined && ranked.far <= Math.max(2, Math.ceil(name.length / 3)) ? ranked.candidate : null
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new VwnError('CONFIG_UNREADABLE', { file }, { cause })
  }
}

function parseToml(text: string, file: string | null): Table {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause
    const problem = (cause.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '')
    throw new VwnError('CONFIG_INVALID', { file, line: cause.line, column: cause.column, problem })
  }
}

/** Where a key was written, as facts of an error. */
type Where = (path: Path) => Facts

/** Walks value and schema together; records (any key goes) and unions are left to zod. */
function refuseUnknown(schema: unknown, value: unknown, where: Where, path: Path = []): void {
  const bare = unwrap(schema)
  if (bare instanceof z.ZodArray && Array.isArray(value)) {
    value.forEach((item: unknown, index) => refuseUnknown(bare.element, item, where, [...path, index]))
  } else if (bare instanceof z.ZodRecord && isTable(value)) {
    for (const [key, item] of Object.entries(value)) refuseUnknown(bare.valueType, item, where, [...path, key])
  } else if (bare instanceof z.ZodObject && isTable(value)) {
    const shape = bare.shape as Record<string, unknown>
    for (const [key, item] of Object.entries(value)) {
      const here = [...path, key]
      if (!Object.hasOwn(shape, key)) {
        const near = nearest(key, Object.keys(shape))
        throw new VwnError('CONFIG_UNKNOWN_KEY', { ...where(here), key: here.join('.'), nearest: near ?? undefined })
      }
      refuseUnknown(shape[key], item, where, here)
    }
  }
}

/** The schema below defaults, optionals and transforms. */
function unwrap(schema: unknown): unknown {
  if (schema instanceof z.ZodPipe) return unwrap(schema.in)
  if (
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodReadonly
  ) {
    return unwrap(schema.unwrap())
  }
  return schema
}

function invalid(error: z.ZodError, file: string | null, lineOf: (path: Path) => number | null, laid: readonly Override[]): VwnError {
  const first = error.issues[0]
  const path = (first?.path ?? []).map((part) => (typeof part === 'number' ? part : String(part)))
  const origin = originOf(laid, path)
  return new VwnError('CONFIG_INVALID', {
    ...(origin === undefined ? { file, line: lineOf(path) ?? undefined } : { origin }),
    key: path.length === 0 ? undefined : path.join('.'),
    problem: first?.message,
    more: error.issues.length > 1 ? error.issues.length - 1 : undefined,
  })
}

const originOf = (laid: readonly Override[], path: Path): string | undefined =>
  laid.findLast(({ key }) => path.join('.') === key || path.join('.').startsWith(`${key}.`))?.origin

/**
 * Finds the line that sets a key: headers `[a.b]`, `[[a]]` and `key = `, which is all our files use. A key inside an inline
 * table or a dotted one is found at the line of its nearest outer key.
 */
function keyLines(text: string): (path: Path) => number | null {
  const lines = new Map<string, number>()
  const seen = new Map<string, number>()
  let section = ''
  text.split('\n').forEach((line, index) => {
    const header = /^\s*(\[\[?)\s*([\w."'-]+)\s*\]\]?/.exec(line)
    if (header !== null) {
      const name = bare(header[2] ?? '')
      const count = seen.get(name) ?? 0
      seen.set(name, count + 1)
      section = header[1] === '[[' ? `${name}.${count}.` : `${name}.`
      if (!lines.has(name)) lines.set(name, index + 1)
      lines.set(section.slice(0, -1), index + 1)
      return
    }
    const key = /^\s*([\w."'-]+)\s*=/.exec(line)
    if (key !== null) lines.set(section + bare(key[1] ?? ''), index + 1)
  })
  return (path) => {
    for (let length = path.length; length > 0; length -= 1) {
      const line = lines.get(path.slice(0, length).join('.'))
      if (line !== undefined) return line
    }
    return null
  }
}

const bare = (key: string): string => key.replaceAll(/["']/g, '')

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

function withKey(table: Table, [key, ...rest]: readonly string[], value: unknown): Table {
  if (key === undefined) return table
  const below = table[key]
  return { ...table, [key]: rest.length === 0 ? value : withKey(isTable(below) ? below : {}, rest, value) }
}

function has(table: Table, path: Path): boolean {
  let value: unknown = table
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return false
    value = (value as Record<string | number, unknown>)[part]
  }
  return true
}

/** Every setting that is not itself a table, with its path. */
function leaves(value: unknown, path: Path = []): (readonly [Path, unknown])[] {
  if (!isTable(value) || (path.length > 0 && Object.keys(value).length === 0)) return [[path, value]]
  return Object.entries(value).flatMap(([key, item]) => leaves(item, [...path, key]))
}

function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value
  Object.values(value).forEach(freeze)
  return Object.freeze(value)
}
