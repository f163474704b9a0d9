/** Programs that we run for a job, beside it. */
import { readFileSync, unlinkSync } from 'node:fs'
import type { Account } from './accounts.ts'
import { encodeSpec } from './spec.ts'

export interface Errand {
  readonly who: Pick<Account, 'uid' | 'gid' | 'groups'>
  /** The cgroup.procs to join, or null to stay in ours. */
  readonly cgroupProcs: string | null
  readonly directory: Buffer
  readonly argv: readonly string[]
}

/** The errand as the helper takes it. */
export const errandSpec = ({ who: { uid, gid, groups }, cgroupProcs, directory, argv }: Errand): Uint8Array => encodeSpec({
  argv: argv.map((word) => Buffer.from(word)),
  env: ['PATH=/usr/bin:/bin', 'LC_ALL=C'].map((entry) => Buffer.from(entry)),
  directories: [directory],
  uid,
  gid,
  groups,
  umask: 0o022,
  nice: 0,
  limits: [],
  ignored: [],
  cgroupProcs,
  rows: 0,
  cols: 0,
})

/** What a program said to this file, the first few lines of it. */
export function takeWords(path: string): string {
  const text = readFileSync(path).subarray(0, 8192).toString('utf8')
  unlinkSync(path)
  return text
}
