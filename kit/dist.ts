import { basename, dirname, join } from 'node:path'

/** The folder of the built programs, whether we run from there or from the sources. */
export function distFolder(): string {
  const here = import.meta.dirname
  return basename(here) === 'dist' ? here : join(dirname(here), 'dist')
}
