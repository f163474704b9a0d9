import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { VwnError } from '../../core/errors.ts'
import { tryReadJson, writeJson } from '../../kit/atomic-file.ts'
import type { Home } from '../../kit/paths.ts'
import { hostIdSchema } from '../../wire/common.ts'

const port = z.int().min(1).max(65_535)

/** What `wnod up` made of a home, so that `down` removes that and nothing else. */
const recordSchema = z.strictObject({
  v: z.literal(1),
  hosts: z.array(hostIdSchema).min(1),
  natsPort: port,
  httpPort: port,
  images: z.string(),
  /** SHA-256 of the mapping as `up` wrote it; null when the home had one already. */
  mapping: z.string().nullable(),
  /** True when the home was not there before. */
  madeHome: z.boolean(),
})
export type FarmRecord = z.output<typeof recordSchema>

const recordFile = (home: Home): string => join(home.home, 'farm.json')

/** The record of this home, or null when no farm was ever made here. */
export async function readRecord(home: Home): Promise<FarmRecord | null> {
  return (await tryReadJson(recordFile(home), recordSchema))?.content ?? null
}

/** Keeps the record. */
export const writeRecord = (home: Home, record: FarmRecord): Promise<void> => writeJson(recordFile(home), record, { mode: 0o644 })

/** FARM_FOREIGN when somebody else's farm lives here: settings or a database without our record. */
export function refuseForeign(home: Home): void {
  const foreign = [home.controllerConfig, home.natsConfig, home.db, home.hosts].find((path) => existsSync(path))
  if (foreign !== undefined) throw new VwnError('FARM_FOREIGN', { home: home.home, because: foreign })
}

/** `wnod down` sends this to the supervisor: leave the programs to me. */
export const leaveSignal = 'SIGUSR2'
