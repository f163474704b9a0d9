/** The files that the agent has written, so that a scrub can show that they are still as it wrote them: a job of root may have added to them. */
import { lstatSync, readFileSync } from 'node:fs'

interface Own {
  readonly text: string
  readonly owner: string
}

const own = new Map<string, Own>()

/** Call it after each write of a file that outlives a job. */
export function remember(path: string, text: string): void {
  own.set(path, { text: text.trimEnd(), owner: ownerOf(path) })
}

/** As it is now; one that is gone again, as after a rehearsal, is nobody's. */
export function rememberPresent(path: string): void {
  try {
    remember(path, readFileSync(path, 'utf8'))
  } catch {
    own.delete(path)
  }
}

/** Paths of the files that are gone, are another's or hold another text. */
export const changedFiles = (): readonly string[] => [...own].filter(([path, was]) => !isAsWas(path, was)).map(([path]) => path)

/** For a rehearsal, whose files are gone when the agent wakes. */
export const forgetFiles = (): void => own.clear()

/** Looks before it reads: what was a file may be a FIFO now, which would keep a reader waiting. The kernel ends its texts with a line feed. */
function isAsWas(path: string, was: Own): boolean {
  try {
    return ownerOf(path) === was.owner && readFileSync(path, 'utf8').trimEnd() === was.text
  } catch {
    return false
  }
}

function ownerOf(path: string): string {
  const { mode, uid, gid } = lstatSync(path)
  return [mode, uid, gid].join(' ')
}
