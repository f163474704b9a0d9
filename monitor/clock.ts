/** Where the page gets its time from. What it shows is the controller's time (shell/live.ts); this only measures how much of it has passed. */

/** Milliseconds since some fixed moment; never goes back. */
export const monotonicMs = (): number => performance.now()

/** Calls once, after `ms`; the result ends that. */
export function after(ms: number, call: () => void): () => void {
  const timer = setTimeout(call, ms)
  return () => clearTimeout(timer)
}

/** Calls again and again; the result ends that. */
export function every(ms: number, call: () => void): () => void {
  const timer = setInterval(call, ms)
  return () => clearInterval(timer)
}
