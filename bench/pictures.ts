/** Pictures of saved results, for docs/: lines for curves, bars for what a number is made of. Plain SVG that reads on light and dark. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { resultsSchema, type Curve, type Results } from './results.ts'

const size = { width: 720, height: 360, left: 64, right: 24, top: 40, bottom: 48 } as const
const colours = ['#3b82f6', '#f97316', '#22a06b', '#a855f7', '#e11d48'] as const
const ink = '#808080'
const barHeight = 22

/** Writes every picture that these results have something for; the files. */
export function drawAll(resultFiles: readonly string[], folder: string): readonly string[] {
  const every = resultFiles.map((file) => resultsSchema.parse(JSON.parse(readFileSync(file, 'utf8'))))
  const pictures = every.flatMap((results) => [...results.curves.map((curve) => ({ name: curve.name, svg: lines(curve) })), ...bars(results)])
  mkdirSync(folder, { recursive: true })
  return pictures.map(({ name, svg }) => {
    const file = join(folder, `${name.replaceAll(/[^a-z0-9]+/g, '-')}.svg`)
    writeFileSync(file, svg)
    return file
  })
}

interface Bar {
  readonly name: string
  readonly parts: Readonly<Record<string, number>>
}

function bars({ results, amounts }: Results): { name: string; svg: string }[] {
  const making = results.filter(({ name }) => name.includes('clone to available')).flatMap((one): Bar[] => [
    ...(one.phases === undefined ? [] : [{ name: one.name.split(',')[0] ?? '', parts: Object.fromEntries(Object.entries(one.phases).map(([phase, { medianMs }]) => [phase, medianMs])) }]),
    { name: one.name.replace('clone to available, against ', ''), parts: { all: one.floor.medianMs } },
  ])
  const memory = amounts.filter(({ parts, unit }) => parts !== undefined && unit.startsWith('MiB')).map(({ name, parts = {} }): Bar => ({ name, parts }))
  return [
    ...(making.length === 0 ? [] : [{ name: 'clone', svg: stacked(making, 'ms, median') }]),
    ...(memory.length === 0 ? [] : [{ name: 'memory', svg: stacked(memory, 'MiB, median') }]),
  ]
}

/** Each part is a piece of its bar, in the order of its first appearance. */
export function stacked(rows: readonly Bar[], unit: string): string {
  const names = [...new Set(rows.flatMap(({ parts }) => Object.keys(parts)))]
  const sumOf = ({ parts }: Bar): number => Object.values(parts).reduce((sum, value) => sum + value, 0)
  const most = Math.max(...rows.map(sumOf), 1)
  const scale = (size.width - size.left - size.right) / most
  const height = size.top + rows.length * barHeight * 2 + barHeight * names.length
  const drawn = rows.map((row, index) => {
    const y = size.top + index * barHeight * 2
    let x: number = size.left
    const pieces = names.flatMap((name) => {
      const width = (row.parts[name] ?? 0) * scale
      x += width
      return width === 0 ? [] : [`<rect x="${fixed(x - width)}" y="${y}" width="${fixed(width)}" height="${barHeight - 4}" fill="${colourOf(names.indexOf(name))}"/>`]
    })
    return `${text(size.left, y - 4, `${row.name}: ${fixed(sumOf(row))} ${unit}`, 'start')}${pieces.join('')}`
  })
  const legend = names.map((name, index) => legendLine(name, index, size.left, size.top + rows.length * barHeight * 2 + index * barHeight))
  return svg(height, [...drawn, ...legend])
}

/** All lines over the same axes, which begin at nought. */
export function lines({ x, y, lines: given, name }: Curve): string {
  const points = given.flatMap((line) => line.points)
  const [xMost, yMost] = [niceAbove(Math.max(...points.map(([at]) => at), 1)), niceAbove(Math.max(...points.map(([, value]) => value), 1))]
  const toX = (at: number): number => size.left + (at / xMost) * (size.width - size.left - size.right)
  const toY = (value: number): number => size.height - size.bottom - (value / yMost) * (size.height - size.top - size.bottom)
  const ticks = [0, 0.25, 0.5, 0.75, 1]
  const grid = ticks.flatMap((share) => [
    `<line x1="${size.left}" x2="${size.width - size.right}" y1="${fixed(toY(share * yMost))}" y2="${fixed(toY(share * yMost))}" stroke="${ink}" stroke-opacity="0.3"/>`,
    text(size.left - 6, toY(share * yMost) + 4, fixed(share * yMost), 'end'),
    text(toX(share * xMost), size.height - size.bottom + 18, fixed(share * xMost), 'middle'),
  ])
  const drawn = given.map((line, index) => `<polyline fill="none" stroke="${colourOf(index)}" stroke-width="2" points="${line.points.map(([at, value]) => `${fixed(toX(at))},${fixed(toY(value))}`).join(' ')}"/>`)
  const legend = given.map((line, index) => legendLine(line.name, index, size.left + 12, size.top + index * 18))
  return svg(size.height, [text(size.left, 20, `${name}: ${y}`, 'start'), ...grid, ...drawn, ...legend, text(size.width / 2, size.height - 8, x, 'middle')])
}

/** The next of 1, 2, 5, 10, 20 … that is not below. */
export function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value))
  return ([1, 2, 5, 10].find((step) => step * power >= value) ?? 10) * power
}

const fixed = (value: number): string => String(Math.round(value * 10) / 10)
const colourOf = (index: number): string => colours[index % colours.length] ?? ink
const escaped = (words: string): string => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
const text = (x: number, y: number, words: string, anchor: 'start' | 'middle' | 'end'): string => `<text x="${fixed(x)}" y="${fixed(y)}" fill="${ink}" text-anchor="${anchor}">${escaped(words)}</text>`
const legendLine = (name: string, index: number, x: number, y: number): string => `<rect x="${x}" y="${y}" width="10" height="10" fill="${colourOf(index)}"/>${text(x + 16, y + 10, name, 'start')}`
const svg = (height: number, inside: readonly string[]): string =>
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${height}" font-family="sans-serif" font-size="12">\n${inside.join('\n')}\n</svg>\n`
