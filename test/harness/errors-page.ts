import { catalogue, type Entry } from '../../core/errors.ts'

const retries = {
  never: 'No: the same request fails again.',
  same: 'Yes, as it is.',
  elsewhere: 'Yes, on another host.',
} as const satisfies Record<Entry['retry'], string>

/** The text of docs/errors.md. */
export function page(): string {
  const rows = Object.entries<Entry>(catalogue).sort(([a], [b]) => (a < b ? -1 : 1))
  const sections = rows.map(
    ([code, entry]) =>
      `## ${code}\n\n${sentence(entry.say)}\n\n- What to do: ${sentence(entry.hint)}\n- Worth a retry? ${retries[entry.retry]}\n- HTTP ${entry.http}, exit code ${entry.exit}\n`,
  )
  return `# Errors\n\nPrinted from \`core/errors.ts\` by \`npm run docs\`; one section per code.\n\n${sections.join('\n')}`
}

const sentence = (words: string): string => `${words.charAt(0).toUpperCase()}${words.slice(1)}${words.endsWith('.') ? '' : '.'}`
