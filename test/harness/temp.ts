import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errnoOf } from '../../kit/atomic-file.ts'
import { until } from '../../kit/until.ts'

const run = process.env['WNOD_TEST_RUN'] ?? ''
/** In the environment of what this run of vitest has started, unless it was taken away. */
export const runVariable = `WNOD_TEST_RUN=${run}`
/** In the name of every folder of this run in which guests, farms or batch systems live: whoever was started for one names it. */
export const folderMark = `-run${run}-`
/** How the path of such a folder begins; mkdtemp has the rest. */
export const folderOfRun = (what: string): string => join(tmpdir(), `wnod-${what}${folderMark}`)

/** A fresh folder that is gone when the scope is left. */
export async function tempFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(folderOfRun('t'))
  return { path, [Symbol.asyncDispose]: () => removeFolder(path) }
}

/** The folder is gone, also when somebody is just finishing a file in it. */
export async function removeFolder(path: string): Promise<void> {
  const gone = (): Promise<boolean> => rm(path, { recursive: true, force: true }).then(() => true, (error: unknown) => {
    if (errnoOf(error) !== 'ENOTEMPTY') throw error
    return false
  })
  await until(gone, { withinMs: 5_000, what: `${path} is gone` })
}
