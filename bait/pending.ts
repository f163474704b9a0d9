/**
 * What batch systems have said here of their pending jobs. The last word of each goes with every Report, with its age, so that a controller that
 * has just started learns it too. In memory only: whoever says it says it again.
 */
import { VwnError } from '../core/errors.ts'
import type { Kit } from '../kit/service.ts'
import { pendingSystemsMax, type PendingSaid } from '../wire/bait.ts'
import type { PendingReport } from '../wire/hook.ts'
import type { Users } from './job/users.ts'

export interface PendingBook {
  /** Keeps this word, in the place of the one before. */
  note(word: Pick<PendingReport, 'batchSystem' | 'counts'>): void
  /** The last word of each batch system that has spoken within the hour. */
  said(): readonly PendingSaid[]
  onChange(listener: () => void): void
}

/** After so long a word counts for nothing any more (core/pool.ts), and is forgotten. */
const keepMs = 3_600_000

export function openPending({ clock }: Pick<Kit, 'clock'>): PendingBook {
  const words = new Map<string, { readonly nth: number; readonly saidMs: number; readonly counts: PendingReport['counts'] }>()
  const listeners: (() => void)[] = []
  let nth = 0
  return {
    note({ batchSystem, counts }) {
      words.delete(batchSystem) // the newest comes last
      words.set(batchSystem, { nth: (nth += 1), saidMs: clock.monotonicMs(), counts })
      const [oldest = ''] = words.keys()
      if (words.size > pendingSystemsMax) words.delete(oldest)
      listeners.forEach((listener) => listener())
    },
    said() {
      const all = [...words].map(([batchSystem, { saidMs, ...word }]) => ({ batchSystem, ...word, agoMs: Math.round(clock.monotonicMs() - saidMs) }))
      return all.filter(({ agoMs }) => agoMs < keepMs)
    },
    onChange: (listener) => void listeners.push(listener),
  }
}

/** Takes a word from whoever may say it: root, the bait's own user and the users that its settings name; others get PENDING_NOT_YOURS. */
export function pendingDesk({ log }: Pick<Kit, 'log'>, { book, reporters, users }: { readonly book: PendingBook; readonly reporters: readonly string[]; readonly users: Users }) {
  return async ({ uid, gid, batchSystem, counts }: PendingReport): Promise<void> => {
    if (uid !== 0 && uid !== process.getuid?.()) {
      const { user } = await users.check({ uid, gid, groups: [] })
      if (!reporters.includes(user)) throw new VwnError('PENDING_NOT_YOURS', { user, reporters: reporters.join(',') || 'none' })
    }
    log.debug({ batchSystem, uid, counts }, 'pending jobs told')
    book.note({ batchSystem, counts })
  }
}
