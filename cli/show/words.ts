import type { JobView, VwnView } from '../../wire/api.ts'

/** Whether a job's VWN was made for it, stood ready, or was used before; null while it has none. */
export const howMade = ({ vwn, reused, made }: JobView): string | null => (vwn === null ? null : reused === true ? 'reused' : (made ?? 'new'))

/** What a VWN is about, and whether it stands still in that. */
export const vwnState = ({ state, paused }: Pick<VwnView, 'state' | 'paused'>): string => (paused ? `${state}, paused` : state)
