/** The guest's clocks. */
import type { Helper } from './helper.ts'
import type { Settings } from './settings.ts'

/** CLOCK_MONOTONIC, the same that the helper reads. */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000

/** The wall clock is the host's, which was `nowMs` when this was called. */
export const resetClock = ({ kernel }: Settings, helper: Helper, nowMs: number): Promise<void> =>
  kernel === null ? Promise.resolve() : helper.setClock(nowMs - monotonicMs())
