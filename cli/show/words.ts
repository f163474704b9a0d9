import type { JobView, VwnView } from '../../wire/api.ts'
import type { Outcome } from '../../wire/common.ts'
import type { Tone } from '../text.ts'

/** How bad an ending is. */
export function outcomeTone(outcome: Outcome): Tone | undefined {
  if (outcome.is === 'bare') return 'quiet'
  if (outcome.is === 'exited') return outcome.code === 0 ? 'quiet' : 'warn'
  return outcome.is === 'lost' || outcome.is === 'refused' ? 'bad' : 'warn'
}

const stateTones: Readonly<Record<string, Tone>> = {
  busy: 'good', running: 'good', alive: 'good', open: 'good',
  draining: 'warn', closed: 'warn', stopping: 'warn', suspended: 'warn',
  fencing: 'bad', fenced: 'bad', silent: 'bad',
  gone: 'quiet', ended: 'quiet',
}

/** What a state of a host, a VWN or a job means to the reader. */
export const stateTone = (state: string): Tone | undefined => stateTones[state]

/** Whether a job's VWN was made for it, stood ready, or was used before; null while it has none. */
export const howMade = ({ vwn, reused, made }: JobView): string | null => (vwn === null ? null : reused === true ? 'reused' : (made ?? 'new'))

/** What a VWN is about, and whether it stands still in that. */
export const vwnState = ({ state, paused }: Pick<VwnView, 'state' | 'paused'>): string => (paused ? `${state}, paused` : state)

/** Memory in the largest unit that keeps the number short. */
export const gib = (mib: number): string => (mib < 1024 ? `${mib}M` : `${Number((mib / 1024).toFixed(1))}G`)
