/** What measurements say, how it is printed, and the file that it is kept in: pictures and docs/performance.md come from that file. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { round, summarize } from './stats.ts'

const summarySchema = z.object({ runs: z.int(), medianMs: z.number(), minMs: z.number(), p95Ms: z.number(), p99Ms: z.number(), maxMs: z.number() })

const comparisonSchema = z.object({
  name: z.string(),
  ours: summarySchema,
  floor: summarySchema,
  ratio: z.number(),
  bound: z.string(),
  holds: z.boolean(),
  note: z.string(),
  /** Where our time went. */
  phases: z.record(z.string(), summarySchema).optional(),
})
/** Ours against a floor, or another way, of the same run. */
export type Comparison = z.output<typeof comparisonSchema>

const amountSchema = z.object({
  name: z.string(),
  value: z.number(),
  unit: z.string(),
  /** Null where nothing is demanded. */
  bound: z.string().nullable(),
  holds: z.boolean(),
  note: z.string(),
  /** What it is made of, in the same unit. */
  parts: z.record(z.string(), z.number()).optional(),
})
/** One number with its unit. */
export type Amount = z.output<typeof amountSchema>

const curveSchema = z.object({
  name: z.string(),
  x: z.string(),
  y: z.string(),
  lines: z.array(z.object({ name: z.string(), points: z.array(z.tuple([z.number(), z.number()])) })),
  note: z.string(),
})
/** One or more lines over the same axes. */
export type Curve = z.output<typeof curveSchema>

/** What a measurement comes to. */
export interface Found {
  readonly comparisons?: readonly Comparison[]
  readonly amounts?: readonly Amount[]
  readonly curves?: readonly Curve[]
}

export const resultsSchema = z.object({
  at: z.string(),
  commit: z.string().nullable(),
  machine: z.object({ cpus: z.int(), cpu: z.string(), memoryMib: z.int(), node: z.string() }),
  runs: z.int(),
  results: z.array(comparisonSchema),
  amounts: z.array(amountSchema).default([]),
  curves: z.array(curveSchema).default([]),
})
export type Results = z.output<typeof resultsSchema>

export interface Rule {
  readonly most: number
  /** Milliseconds of ours that are not counted. */
  readonly allowMs?: number
  readonly note: string
  readonly phases?: Readonly<Record<string, readonly number[]>>
}

/** Medians of both, and whether their ratio is at most `most`. */
export function compare(name: string, ours: readonly number[], floor: readonly number[], { most, allowMs, note, phases }: Rule): Comparison {
  const [mine, bare] = [summarize(ours), summarize(floor)]
  const ratio = (mine.medianMs - (allowMs ?? 0)) / bare.medianMs
  const bound = `≤ ${most < 0.5 ? `1/${Math.round(1 / most)}` : most.toFixed(2)}${allowMs === undefined ? '' : ' after node'}`
  const parts = phases && Object.fromEntries(Object.entries(phases).map(([phase, values]) => [phase, summarize(values)]))
  return { name, ours: mine, floor: bare, ratio: Math.round(ratio * 1000) / 1000, bound, holds: ratio <= most, note, ...(parts && { phases: parts }) }
}

/** A number that is to be at most `most`, or just to be known. */
export function amount(name: string, value: number, unit: string, rule: { most?: number; note: string; parts?: Readonly<Record<string, number>> }): Amount {
  const { most, note, parts } = rule
  return { name, value: round(value), unit, bound: most === undefined ? null : `≤ ${most}`, holds: most === undefined || value <= most, note, ...(parts && { parts: rounded(parts) }) }
}

const rounded = (parts: Readonly<Record<string, number>>): Record<string, number> => Object.fromEntries(Object.entries(parts).map(([name, value]) => [name, round(value)]))

/** For people. */
export function print({ comparisons = [], amounts = [], curves = [] }: Found): void {
  const spread = ({ medianMs, minMs, maxMs }: Comparison['ours']): string => `${medianMs} (${minMs}–${maxMs})`
  if (comparisons.length > 0) table([
    ['measured, ms: median (min–max)', 'ours', 'floor', 'ratio', 'bound', ''],
    ...comparisons.map((one) => [one.name, spread(one.ours), spread(one.floor), String(one.ratio), one.bound, one.holds ? 'holds' : 'MISSED']),
  ])
  for (const one of comparisons) {
    say(`  ${one.name}: ${one.note}`)
    for (const [phase, { medianMs, p95Ms, p99Ms, maxMs }] of Object.entries(one.phases ?? {})) say(`      ${phase.padEnd(12)} ${medianMs}  p95 ${p95Ms}  p99 ${p99Ms}  max ${maxMs}`)
  }
  for (const one of amounts) {
    say(`${one.name}: ${one.value} ${one.unit}${one.bound === null ? '' : `  ${one.bound} ${one.holds ? 'holds' : 'MISSED'}`}   ${one.note}`)
    for (const [part, value] of Object.entries(one.parts ?? {})) say(`      ${part.padEnd(40)} ${value}`)
  }
  for (const { name, x, y, lines, note } of curves) {
    say(`${name} (${y} over ${x}): ${note}`)
    for (const line of lines) say(`      ${line.name}: ${line.points.map(([at, value]) => `${at}→${value}`).join('  ')}`)
  }
}

function table(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  for (const row of rows) say(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd())
}

const say = (text: string): void => void process.stdout.write(`${text}\n`)

/** Writes them down; answers where. */
export function save(found: Found, runs: number, out: string | undefined): string {
  const at = new Date().toISOString()
  const file = out ?? join(import.meta.dirname, '../bench/results', `${at.slice(0, 19).replaceAll(':', '')}.json`)
  mkdirSync(dirname(file), { recursive: true })
  const machine = { cpus: cpus().length, cpu: cpus()[0]?.model ?? 'unknown', memoryMib: Math.round(totalmem() / 1024 ** 2), node: process.version }
  const results: Results = { at, commit: tryGit(), machine, runs, results: [...(found.comparisons ?? [])], amounts: [...(found.amounts ?? [])], curves: [...(found.curves ?? [])] }
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`)
  return file
}

function tryGit(): string | null {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  } catch {
    return null // a release has no history
  }
}
