/** How VWNs of a type came up of late, and why they failed, as its page shows it. */
import { duration } from '../../core/words.ts'
import type { MakingReply } from '../../wire/accounting.ts'
import type { Diagram } from './times.ts'

/** Causes that can be told apart in one diagram. */
const causesMax = 4

/** Two diagrams; one without names has nothing to draw. */
export function makingDiagrams({ types, fromMs, stepMs, toMs }: MakingReply, name: string): readonly [Diagram, Diagram] {
  const found = types.find(({ type }) => type === name)
  const atS = Array.from({ length: Math.round((toMs - fromMs) / stepMs) }, (_, step) => (fromMs + step * stepMs) / 1_000)
  const ways = [{ name: 'cloned', ...found?.made.clone }, { name: 'booted', ...found?.made.boot }].filter(({ vwns = 0 }) => vwns > 0)
  const failures = found?.failures ?? []
  const shown = failures.slice(0, causesMax)
  return [
    {
      title: 'Making a VWN', unit: 'seconds, for half of them, in the last day', names: ways.map((way) => way.name),
      lines: [atS, ...ways.map(({ halfMs = [] }) => halfMs.map((ms) => (ms === null ? null : ms / 1_000)))],
      says: ways.length === 0 ? 'None was made.' : ways.map((way) => `${way.vwns} ${way.name}, half of them at last within ${duration(way.halfMs?.findLast((ms) => ms !== null))}`).join('; '),
    },
    {
      title: 'VWNs that failed', unit: 'by cause, each half hour of the last day', names: shown.map(({ code }) => code),
      lines: [atS, ...shown.map(({ counts }) => counts)],
      says: failures.length === 0 ? 'None has failed.' : failures.map(({ code, counts }) => `${counts.reduce((sum, count) => sum + count, 0)} ${code}`).join(', '),
    },
  ]
}
