/**
 * The hosts of the farm as they are known at this moment. Heartbeats move numbers every few seconds, so they are kept in memory and
 * written when something else is, or now and then; what an operator wants, and what decides about VWNs, is written at once.
 */
import type { Database } from '../db/open.ts'
import { allHosts, saveHost, type HostRecord } from '../db/queries/host.ts'
import { transaction } from '../db/statement.ts'
import { afterRestart, newHost, type Host } from '../core/host.ts'
import type { HostId } from '../core/ids.ts'
import type { HostFacts } from '../wire/bait.ts'

/** One host with what its bait says of it, and the number of its newest orders. */
export type KnownHost = HostRecord<HostFacts>

const nothing: HostFacts = { capacity: { cpus: 0, memoryMib: 0, scratchGib: 0 }, hypervisor: '', accelerators: [], broken: null, images: [], version: '', templates: [], templatesMibMax: 0 }

/** How long the database may lag behind in what only counts heartbeats. */
const lagMs = 60_000

export interface HostBook {
  readonly all: readonly KnownHost[]
  readonly hosts: readonly Host[]
  get(id: HostId): KnownHost | null
  /** As `get`; a host that is heard for the first time begins here. */
  getOrNew(id: HostId): KnownHost
  /** Takes this in; written with the transaction under way if `durable`, or if the last write is long ago. */
  put(known: KnownHost, durable: boolean): void
  /** `begin` … then `keep` after a commit or `drop` after a failure: memory never runs ahead of the database. */
  begin(): void
  keep(): void
  drop(): void
}

/** The hosts of this database as a controller finds them that starts at `nowMs`. */
export function openHosts(db: Database, nowMs: number): HostBook {
  const known = new Map<HostId, KnownHost>(
    allHosts<HostFacts>(db).map((record) => [record.host.id, { ...record, facts: { ...nothing, ...record.facts }, host: afterRestart(record.host, nowMs) }]),
  )
  // What people see is what is on record, and on record none of them may stay alive that is never heard again.
  transaction(db, () => { for (const record of known.values()) saveHost(db, record) })
  /** What the change under way has replaced. */
  const before = new Map<HostId, KnownHost | undefined>()
  const writtenAtMs = new Map<HostId, number>()
  return {
    get all() { return [...known.values()] },
    get hosts() { return [...known.values()].map(({ host }) => host) },
    get: (id) => known.get(id) ?? null,
    getOrNew: (id) => known.get(id) ?? { host: newHost(id), facts: nothing, generation: 0 },
    put(next, durable) {
      const { id, heardAtMs } = next.host
      if (!before.has(id)) before.set(id, known.get(id))
      known.set(id, next)
      const now = heardAtMs ?? 0
      if (!durable && now - (writtenAtMs.get(id) ?? 0) < lagMs) return
      saveHost(db, next)
      writtenAtMs.set(id, now)
    },
    begin: () => before.clear(),
    keep: () => before.clear(),
    drop() {
      for (const [id, was] of before) if (was === undefined) known.delete(id); else known.set(id, was)
      before.clear()
    },
  }
}
