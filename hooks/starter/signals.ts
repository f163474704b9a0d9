/**
 * Signals on their way to the job. A batch system sends them to us in the job's stead, some of them twice within milliseconds.
 *
 *   TSTP        goes to the job, then we stop as well: whoever waits for us must see us stopped
 *   CONT        wakes us, and goes to the job
 *   TTIN, TTOU  are about our own use of the terminal and keep their default action
 *   PIPE        is how Linux says that our own output has no reader; KILL and STOP cannot be seen
 *   SEGV, BUS, FPE, ILL  cannot safely be caught by a node program: they kill us, which cancels the job
 */

/** All that we listen to; the job gets each under its own name. */
export const forwarded = [
  'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM', 'SIGPROF', 'SIGIO', 'SIGPWR', 'SIGSTKFLT',
  'SIGXCPU', 'SIGXFSZ', 'SIGABRT', 'SIGTRAP', 'SIGSYS', 'SIGCONT', 'SIGTSTP', 'SIGURG', 'SIGWINCH',
] as const satisfies readonly NodeJS.Signals[]
export type Forwarded = (typeof forwarded)[number]

/** Those that do not kill a process that has made no arrangements. */
export const harmless: ReadonlySet<string> = new Set<Forwarded>(['SIGCONT', 'SIGTSTP', 'SIGURG', 'SIGWINCH'])

/**
 * Two of a kind within this time are one, milliseconds. Grid Engine sends each signal twice, some milliseconds apart and on a busy node some tens; a
 * person, or a script of his, may well mean two.
 */
export const sameMs = { person: 10, batchSystem: 50 } as const

/** Of these one takes back the other, so what follows is news however soon it comes. */
const opposite: Readonly<Partial<Record<string, Forwarded>>> = { SIGTSTP: 'SIGCONT', SIGCONT: 'SIGTSTP' }

/** Calls for every signal from now on; the answer stops that, leaving every signal its default action. */
export function listen(onSignal: (signal: Forwarded) => void, withinMs: number): () => void {
  const lastMs = new Map<string, number>()
  const handler = (signal: NodeJS.Signals): void => {
    const nowMs = performance.now()
    const beforeMs = lastMs.get(signal) ?? -Infinity
    lastMs.set(signal, nowMs)
    lastMs.delete(opposite[signal] ?? '')
    // Of a window that was given several sizes at once the last one counts.
    if (signal === 'SIGWINCH' || nowMs - beforeMs >= withinMs) onSignal(signal as Forwarded)
  }
  for (const signal of forwarded) process.on(signal, handler)
  return () => {
    for (const signal of forwarded) process.off(signal, handler)
  }
}
