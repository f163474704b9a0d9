import type { BatchCase } from './case.ts'
import { cases } from './cases.ts'

/** Systems that the cases run on. */
export const systemNames = ['slurm', 'gridengine'] as const

const titles: Readonly<Record<(typeof systemNames)[number], string>> = { slurm: 'Slurm', gridengine: 'Grid Engine' }

/** Whether a system can do what the case is about: one with options names those that can. */
export const runsOn = (one: BatchCase, system: string): boolean => one.options === undefined || one.options[system] !== undefined

/** The text of docs/batch-conformance.md. */
export function page(): string {
  const groups = [...new Set(cases.map(({ group }) => group))].sort()
  return `# What a batch job in a VWN shares with one on the bare node

Printed from \`test/batch/cases.ts\` by \`npm run docs\`. Each case runs on the real batch system twice, natively and in a VWN, and what its owner can see is compared:
the system's own record (state, exit code, signal, restarts), stdout and stderr. A test fails where they differ, and where a difference that is named here is no more.
\`npm test\` runs two of each group; \`WNOD_BATCH=1 npx vitest run --project batch\` all of them, in some minutes.

${groups.map((group) => `## ${group[0]?.toUpperCase()}${group.slice(1)}\n\n${table(cases.filter((one) => one.group === group))}`).join('\n')}`
}

function table(rows: readonly BatchCase[]): string {
  const head = `| case | ${systemNames.map((name) => titles[name]).join(' | ')} |\n|---|${systemNames.map(() => '---|').join('')}\n`
  return head + rows.map((one) => `| ${cell(one.name)} | ${systemNames.map((name) => cell(answer(one, name))).join(' | ')} |\n`).join('')
}

const answer = (one: BatchCase, system: string): string => (runsOn(one, system) ? (one.differs?.[system] ?? 'same') : '–')
const cell = (text: string): string => text.replaceAll('|', '\\|')
