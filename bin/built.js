import { existsSync } from 'node:fs'

/** Runs one built program; says what to do when it is not built yet. */
export async function run(program) {
  const file = new URL(`../dist/${program}`, import.meta.url)
  if (existsSync(file)) return import(file.href)
  process.stderr.write(`wnod: ${file.pathname} is not built yet: run \`npm run build\` first\n`)
  process.exitCode = 70
}
