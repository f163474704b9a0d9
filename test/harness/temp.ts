import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errnoOf } from '../../kit/atomic-file.ts'
import { until } from '../../kit/until.ts'

/** A fresh folder that is gone when the scope is left. */
export async function tempFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'wnod-'))
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
