/** A job gets its environment as it was given, byte for byte, with the few changes of this table. */
import { statSync } from 'node:fs'

/** What a job's surroundings in the guest are. */
export interface Surroundings {
  readonly home: string
  readonly temp: string
  /** Where the job starts, when that is not where it was asked to. */
  readonly movedTo: Buffer | null
}

export interface EnvironmentRule {
  readonly name: string
  /** For docs. */
  readonly says: string
  /** The value in the guest; the variable is never added where there is none. */
  value(given: Buffer, guest: Surroundings): Buffer
}

/** Every change that is made; variables that are not named here pass as they are. */
export const environmentRules: readonly EnvironmentRule[] = [
  { name: 'HOME', says: 'kept where that folder exists in the guest, else the home made for the user there', value: (given, guest) => (isFolder(given) ? given : Buffer.from(guest.home)) },
  { name: 'TMPDIR', says: 'kept where that folder exists in the guest, else `/tmp`', value: (given, guest) => (isFolder(given) ? given : Buffer.from(guest.temp)) },
  { name: 'PWD', says: 'kept where the job starts in that folder, else the folder that it starts in', value: (given, guest) => guest.movedTo ?? given },
]

/** The job's environment in the guest. */
export function guestEnvironment(given: readonly Buffer[], guest: Surroundings): readonly Buffer[] {
  return given.map((entry) => {
    const rule = environmentRules.find(({ name }) => entry.subarray(0, name.length + 1).equals(Buffer.from(`${name}=`)))
    if (rule === undefined) return entry
    const head = entry.subarray(0, rule.name.length + 1)
    return Buffer.concat([head, rule.value(entry.subarray(head.length), guest)])
  })
}

function isFolder(path: Buffer): boolean {
  try {
    return path[0] === 0x2f && statSync(path).isDirectory()
  } catch {
    return false
  }
}
