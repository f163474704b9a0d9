/** `wnod logs`: what the programs of a local farm have logged about one job, as one story in the order of time. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { idPatterns } from '../../core/ids.ts'
import { show, type Context } from '../context.ts'
import { table, type Paper } from '../table.ts'

/** A line of a log, with the name of its file for the program that it is of: `controller`, `bait-h1`. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly time: string; readonly program: string; readonly level: string; readonly msg: string }

export interface Log {
  readonly program: string
  readonly text: string
}

export interface Story {
  readonly job: string | null
  /** Null: it was logged without one. */
  readonly trace: string | null
  readonly lines: readonly LogLine[]
}

const tracePattern = /^[0-9a-f]{32}$/

/** Prints it; JOB_NOT_FOUND when no log here speaks of it. */
export function jobLogs(context: Context, id: string): void {
  if (!idPatterns.job.test(id) && !tracePattern.test(id)) throw new VwnError('OPTION_INVALID', { id, problem: 'this is no id of a job (h1-17) and no trace (32 hexadecimal digits)' })
  const story = storyOf(readLogs(context.home.logs), id)
  if (story.lines.length === 0) throw new VwnError('JOB_NOT_FOUND', { job: id, logs: context.home.logs })
  show(context, story, ({ lines }) => storyText(lines, context))
}

/** The lines about this job, or about all jobs of this trace. */
export function storyOf(logs: readonly Log[], id: string): Story {
  const told = tracePattern.test(id)
  const naming = (word: string): readonly LogLine[] => logs.flatMap(({ program, text }) =>
    text.split('\n').flatMap((line) => (line.includes(`"${word}"`) ? (parsed(program, line) ?? []) : [])))
  const own = told ? [] : naming(id).filter(({ job }) => job === id)
  const trace = told ? id : (own.map((line) => line['trace']).find((one) => typeof one === 'string') ?? null)
  // Several jobs may be of one trace, where whatever submitted them has one: what is said of another is not about this.
  const traced = trace === null ? [] : naming(trace).filter((line) => line['trace'] === trace && (told || line['job'] === undefined))
  const lines = [...own, ...traced].sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0))
  return { job: told ? null : id, trace, lines }
}

/** Null for what is no line of ours: other programs write into these files when they fail. */
function parsed(program: string, text: string): LogLine | null {
  try {
    const line = JSON.parse(text) as Partial<LogLine> | null
    const { time, level, msg } = line ?? {}
    return typeof time === 'string' && typeof level === 'string' && typeof msg === 'string' ? { ...line, time, program, level, msg } : null
  } catch {
    return null
  }
}

/** The logs in this folder, each behind the part of it that was put aside when it had grown too large. */
function readLogs(folder: string): readonly Log[] {
  try {
    const names = readdirSync(folder).filter((name) => /\.log(\.1)?$/.test(name)).sort().reverse()
    return names.map((name) => ({ program: name.replace(/\.log(\.1)?$/, ''), text: readFileSync(join(folder, name), 'utf8') }))
  } catch (cause) {
    throw new VwnError('FILE_UNREADABLE', { folder, why: 'programs that systemd runs log to its journal: docs/operating.md has the question to ask it' }, { cause })
  }
}

const storyText = (lines: readonly LogLine[], paper: Paper): string =>
  table([
    { title: 'TIME', cell: ({ time }) => time },
    { title: 'PROGRAM', cell: ({ program }) => program },
    { title: 'LEVEL', cell: ({ level }) => level },
    { title: 'WHAT', cell: ({ msg }) => msg },
    { title: 'FACTS', cell: factsText, cut: true },
  ], lines, paper)

const everyLine = new Set(['time', 'program', 'level', 'msg', 'pid', 'trace'])

const factsText = (line: LogLine): string =>
  Object.entries(line).flatMap(([name, value]) => (everyLine.has(name) || value === null ? [] : `${name}=${valueText(value)}`)).join(' ')

function valueText(value: unknown): string {
  if (typeof value === 'object' && value !== null && 'why' in value && typeof value.why === 'string') return JSON.stringify(value.why)
  return typeof value === 'string' && !/[\s"]/.test(value) ? value : JSON.stringify(value)
}
