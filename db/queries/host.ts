/** Hosts: what is wanted of them, what their reports prove, and the number of their newest orders. */
import type { Host } from '../../core/host.ts'
import { hostId } from '../../core/ids.ts'
import type { Database } from '../open.ts'
import { fromJson, statement, upsert, type Row } from '../statement.ts'

type KnownFacts = Pick<Host, 'capacity' | 'images' | 'broken'>

/** A host as it is stored. `Facts` is whatever its bait says of it; capacity, images and what is broken are a part of that. */
export interface HostRecord<Facts extends KnownFacts> {
  readonly host: Host
  readonly facts: Facts
  readonly generation: number
}

type HostRow = Row & {
  id: string; want: Host['want']; fact: Host['fact']; boot_id: string | null; session: string; started_at_ms: number; seq: number
  heard_at_ms: number | null; seen_term: number; seen_generation: number; generation: number; facts: string
}
const columns = [
  'id', 'want', 'fact', 'boot_id', 'session', 'started_at_ms', 'seq', 'heard_at_ms', 'seen_term', 'seen_generation', 'generation', 'facts',
] as const satisfies readonly (keyof HostRow)[]

const save = statement(upsert('host', 'id', columns))
/** The host is on record as given. */
export function saveHost<Facts extends KnownFacts>(db: Database, { host, facts, generation }: HostRecord<Facts>): void {
  save(db).run({
    id: host.id, want: host.want, fact: host.fact, boot_id: host.bootId, session: host.session, started_at_ms: host.startedAtMs, seq: host.seq,
    heard_at_ms: host.heardAtMs, seen_term: host.ordersSeen.term, seen_generation: host.ordersSeen.generation, generation,
    facts: JSON.stringify(facts),
  })
}

const all = statement<HostRow>('select * from host order by id')
/** Every host that was ever heard. */
export const allHosts = <Facts extends KnownFacts>(db: Database): HostRecord<Facts>[] =>
  all(db).all().map((row) => {
    const facts = fromJson<Facts>(row.facts)
    const host: Host = {
      id: hostId(row.id), want: row.want, fact: row.fact, bootId: row.boot_id, session: row.session, startedAtMs: row.started_at_ms, seq: row.seq,
      heardAtMs: row.heard_at_ms, ordersSeen: { term: row.seen_term, generation: row.seen_generation },
      capacity: facts.capacity, images: facts.images, broken: facts.broken ?? null,
    }
    return { host, facts, generation: row.generation }
  })
