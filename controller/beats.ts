/**
 * Most reports of a large farm say what the one before has said, but for their number: the host lives, and nothing has changed. Of such a one no
 * more is looked at than its bytes, and it is answered with the bytes of the answer before; reading it would take fifty times as long.
 *
 *   bytes ─▶ like those of its last report?  orders as new as its last answer?  ─yes▶ the host was heard; the same answer
 *                        └──────────────────────────no──────────────────────────▶ read whole, taken in, kept for the next one
 */
import { hear } from '../core/host.ts'
import type { HostId } from '../core/ids.ts'
import type { Kit } from '../kit/service.ts'
import type { Orders, Report } from '../wire/bait.ts'
import { subjects } from '../wire/subjects.ts'
import type { HostBook } from './hosts.ts'
import type { Lifecycle } from './lifecycle.ts'

export interface Beats {
  /** The answer to a report that says nothing new; null where it has to be read. */
  answered(bytes: Uint8Array, subject: string): Uint8Array | null
  /** This one was read and answered so. */
  keep(bytes: Uint8Array, report: Report, orders: Orders, answer: Uint8Array): void
  /** How many were not read. */
  readonly count: number
}

/** What a host said last, and was answered. */
interface Kept {
  readonly host: HostId
  /** Of the last report that said this. */
  readonly seq: number
  readonly before: Buffer
  readonly after: Buffer
  /** Of the orders in the answer: whatever changes them, or a row that its next report is held against, raises it. */
  readonly generation: number
  readonly answer: Uint8Array
}

/** The number of a report, which comes before all that can be long. Within a text its quotes would be escaped, and no other part has this name. */
const key = Buffer.from('"seq":')
const lookedAt = 1_024

/** Knows what the hosts of one controller have said. */
export function openBeats({ book, lifecycle, kit }: { readonly book: HostBook; readonly lifecycle: Lifecycle; readonly kit: Kit }): Beats {
  const kept = new Map<string, Kept>()
  let count = 0

  const answered = (bytes: Uint8Array, subject: string): Uint8Array | null => {
    const last = kept.get(subject)
    const known = last === undefined ? null : book.get(last.host)
    if (last === undefined || known === null || known.host.seq !== last.seq || known.generation !== last.generation || known.host.fact !== 'alive') return null
    const seq = numberIn(bytes, last)
    if (seq === null) return null
    const heard = hear(known.host, { ...known.host, bootId: known.host.bootId ?? '', seq }, kit.clock.nowMs())
    if (heard.is === 'ignored') return null
    lifecycle.change((desk) => desk.putHost({ ...known, host: heard.next }, false))
    kept.set(subject, { ...last, seq })
    count += 1
    return last.answer
  }
  const keep: Beats['keep'] = (bytes, { host, session, seq }, { generation }, answer) => {
    const now = book.get(host)?.host
    if (now?.session !== session || now.seq !== seq) return // it came late, or another was taken in meanwhile
    const text = Buffer.from(bytes) // what came is a part of a larger buffer
    const at = text.subarray(0, lookedAt).indexOf(key) + key.length
    const end = at + String(seq).length
    const subject = subjects.report(host)
    if (at < key.length || text.toString('latin1', at, end) !== String(seq)) kept.delete(subject)
    else kept.set(subject, { host, before: text.subarray(0, at), after: text.subarray(end), seq, generation, answer })
  }
  return { answered, keep, get count() { return count } }
}

/** The number of a report that is otherwise this one; null where anything else differs. */
function numberIn(bytes: Uint8Array, { before, after }: Kept): number | null {
  const end = bytes.length - after.length
  if (end <= before.length || end > before.length + String(Number.MAX_SAFE_INTEGER).length) return null
  if (before.compare(bytes, 0, before.length) !== 0 || after.compare(bytes, end) !== 0) return null
  const digits = Buffer.from(bytes.buffer, bytes.byteOffset + before.length, end - before.length).toString('latin1')
  const seq = /^[1-9]\d*$/.test(digits) ? Number(digits) : NaN
  return Number.isSafeInteger(seq) ? seq : null
}
