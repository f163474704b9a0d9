/**
 * The other programs of the project, run from the command line. They are separate bundles beside this one; `wnod controller` does
 * not start a child but becomes it: same process, so that signals, exit status and standard streams are simply its own.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { distFolder } from '../kit/dist.ts'

export type Program = 'controller.js' | 'bait.js' | 'image.js' | 'starter.cjs' | 'hook.cjs' | 'wnod.js'

/** The path of a built program; a plain failure says that the clone was not built. */
export function programFile(program: Program): string {
  const file = join(distFolder(), program)
  if (existsSync(file)) return file
  throw new Error(`${file} is not there: run \`npm run build\` first`)
}

/** This process goes on as that program. */
export async function become(program: Program, args: readonly string[]): Promise<void> {
  const file = programFile(program)
  process.argv.splice(1, process.argv.length, file, ...args)
  await import(pathToFileURL(file).href)
}
