/** What the host of a VWN shows of it: `wnod console | samples`. */
import { isVwnError } from '../core/errors.ts'
import { ratesOf, type Rates } from '../core/samples.ts'
import { moment } from '../core/words.ts'
import { systemClock } from '../kit/clock.ts'
import { harmless, safeJson } from '../kit/plain.ts'
import { consoleReplySchema, samplesReplySchema, type ConsoleReply } from '../wire/look.ts'
import { show, type Context } from './context.ts'
import { mebibytes, table, type Column } from './table.ts'

const followMs = 500

/** Prints all that its guest has said; with `follow`, also what comes until the VWN is gone or the signal aborts. */
export async function printConsole(context: Context, vwn: string, follow: AbortSignal | null): Promise<void> {
  let at = 0
  let away = false
  for (let begun = false; ; begun = true) {
    const piece = await read(context, vwn, at).catch((error: unknown) => {
      if (!begun || follow === null) throw error
      if (isVwnError(error, 'VWN_UNSEEN')) return null
      if (!isVwnError(error, 'HOST_AWAY') && !isVwnError(error, 'CONTROLLER_AWAY')) throw error
      if (!away) context.say(`${error.entry.say}; waiting for it`)
      away = true
      return 'away' as const
    })
    if (piece === null) return
    if (piece !== 'away') {
      away = false
      print(context, piece, at)
      const asked = at
      at = piece.next
      if (asked < at && at < piece.said) continue
    }
    if (follow === null || follow.aborted) return
    await systemClock.sleep(followMs, follow).catch(() => undefined)
  }
}

const read = ({ api }: Context, vwn: string, from: number): Promise<ConsoleReply> => api.get(`/vwns/${encodeURIComponent(vwn)}/console`, consoleReplySchema, { from })

function print(context: Context, piece: ConsoleReply, asked: number): void {
  if (piece.next === asked) return
  if (context.json) return context.print(`${safeJson(piece)}\n`)
  if (piece.from > asked) context.print(`\n[… ${piece.from - asked} bytes left out …]\n`)
  context.print(harmless(piece.text))
}

/** Prints what it has used, second for second between two looks. */
export async function printSamples(context: Context, vwn: string): Promise<void> {
  const reply = await context.api.get(`/vwns/${encodeURIComponent(vwn)}/samples`, samplesReplySchema)
  show(context, reply, ({ samples }) => table(columns, ratesOf(samples), context))
}

const bytes = (title: string, of: (row: Rates) => number | null): Column<Rates> => ({ title, cell: (row) => mebibytes(of(row)), right: true })

const columns: readonly Column<Rates>[] = [
  { title: 'AT', cell: ({ atMs }) => moment(atMs) },
  { title: 'CPUS BUSY', cell: ({ cpus }) => cpus?.toFixed(2) ?? null, right: true },
  bytes('MEMORY', ({ memoryBytes }) => memoryBytes),
  bytes('READ/S', ({ readBytes }) => readBytes),
  bytes('WRITTEN/S', ({ writtenBytes }) => writtenBytes),
  bytes('TO GUEST/S', ({ toGuestBytes }) => toGuestBytes),
  bytes('FROM GUEST/S', ({ fromGuestBytes }) => fromGuestBytes),
]
