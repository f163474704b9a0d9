/** Reads the text of a mapping file: YAML, strict schema, and for everything that is wrong the line that says it. Pure. */
import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml'
import type { z } from 'zod'
import { VwnError } from '../core/errors.ts'
import { nearest } from '../kit/config.ts'
import { mappingBytesMax, mappingFileSchema, type MappingFile } from '../wire/mapping.ts'

type Path = readonly (string | number)[]

/** One thing wrong with a mapping; `path` leads to it in the file. */
export interface MappingProblem {
  readonly path: Path
  readonly problem: string
}

/** A mapping file that has the right shape, and the way back from a key to its line. */
export interface ParsedMapping {
  readonly file: MappingFile
  lineOf(path: Path): number | null
}

/** The file's content; MAPPING_REFUSED with the line and reason of the first problem. `name` is for the message. */
export function parseMapping(text: string, name: string): ParsedMapping {
  if (Buffer.byteLength(text) > mappingBytesMax) {
    throw new VwnError('MAPPING_REFUSED', { file: name, problem: `larger than ${mappingBytesMax} bytes` })
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const broken = document.errors[0] ?? document.warnings[0]
  if (broken !== undefined) {
    throw new VwnError('MAPPING_REFUSED', { file: name, line: lines.linePos(broken.pos[0]).line, problem: broken.message.split('\n')[0] })
  }
  const lineOf = (path: Path): number | null => {
    const offset = offsetOf(document, path)
    return offset === null ? null : lines.linePos(offset).line
  }
  const parsed = mappingFileSchema.safeParse(content(document, name))
  if (parsed.success) return { file: parsed.data, lineOf }
  // A misspelled key is often also a missing one; its spelling says more.
  const spelling = (issue: z.core.$ZodIssue): number => (issue.code === 'unrecognized_keys' ? 0 : 1)
  throw refused(name, lineOf, [...parsed.error.issues].sort((a, b) => spelling(a) - spelling(b)).flatMap(problemsOf))
}

/** The refusal of a whole file for these problems; the first one is named, the rest are counted. */
export function refused(file: string, lineOf: (path: Path) => number | null, problems: readonly MappingProblem[]): VwnError {
  const ordered = problems
    .map(({ path, problem }) => ({ line: lineOf(path), key: path.join('.'), problem }))
    .sort((a, b) => (a.line ?? Infinity) - (b.line ?? Infinity))
  const first = ordered[0]
  return new VwnError('MAPPING_REFUSED', {
    file,
    line: first?.line ?? undefined,
    key: first?.key === '' ? undefined : first?.key,
    problem: first?.problem,
    more: ordered.length > 1 ? ordered.length - 1 : undefined,
  })
}

function content(document: Document, name: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 }) ?? {}
  } catch (cause) {
    throw new VwnError('MAPPING_REFUSED', { file: name, problem: 'aliases that cannot be resolved' }, { cause })
  }
}

/** One problem per unknown key, with the name that was probably meant; all others in zod's words. */
function problemsOf(issue: z.core.$ZodIssue): MappingProblem[] {
  const path = issue.path.map((part) => (typeof part === 'number' ? part : String(part)))
  if (issue.code !== 'unrecognized_keys') return [{ path, problem: wordsOf(issue) }]
  return issue.keys.map((key) => {
    const near = nearest(key, knownKeys(path))
    return { path: [...path, key], problem: `unknown key "${key}"${near === null ? '' : `, did you mean "${near}"?`}` }
  })
}

function wordsOf(issue: Exclude<z.core.$ZodIssue, { code: 'unrecognized_keys' }>): string {
  if (issue.code === 'invalid_key') return issue.issues[0]?.message ?? issue.message
  return issue.message.endsWith('received undefined') ? 'is missing' : issue.message
}

/** The keys that are allowed at a place of the file. */
function knownKeys(path: Path): string[] {
  const file = mappingFileSchema.shape
  const rule = file.rules.unwrap().element
  const fallback = file.default.unwrap().unwrap()
  const [top, , below] = path
  if (top === undefined) return Object.keys(file)
  const type = file.types.valueType.shape
  if (below === 'mounts') return Object.keys(type.mounts.unwrap().element.shape)
  if (top === 'types') return Object.keys(below === 'pool' ? type.pool.unwrap().unwrap().shape : type)
  if (path.includes('limits')) return Object.keys(fallback.shape.limits.unwrap().shape)
  if (top === 'rules') return Object.keys(below === 'match' ? rule.shape.match.unwrap().shape : rule.shape)
  return Object.keys(fallback.shape)
}

/** Where the key or item at the end of the path begins; of a path that does not exist, its nearest outer part. */
function offsetOf(document: Document, path: Path): number | null {
  let node: unknown = document.contents
  let offset = isNode(node) ? (node.range?.[0] ?? null) : null
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document)
    let key: Node | null = null
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(part))
      if (pair === undefined) return offset
      key = isNode(pair.key) ? pair.key : null
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(part)]
      key = isNode(node) ? node : null
    } else return offset
    offset = key?.range?.[0] ?? offset
  }
  return offset
}
