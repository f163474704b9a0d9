/** What the page says about states, beside their colour. */
import { duration } from '../../core/words.ts'
import type { FarmJob, FarmVwn } from '../../wire/farm.ts'
import { stateOf } from './filter.ts'

interface StateWords {
  /** Stands in the VWN's block, so that nobody needs the colour. */
  readonly sign: string
  readonly means: string
}

/** In the order of a happy life. */
export const states: Readonly<Record<string, StateWords>> = {
  requested: { sign: '○', means: 'its bait has been asked to make it' },
  preparing: { sign: '◊', means: 'its disks are being made' },
  booting: { sign: '▲', means: 'its guest is being cloned or booted' },
  idle: { sign: '–', means: 'ready, without a job' },
  busy: { sign: '■', means: 'has a job' },
  paused: { sign: '=', means: 'stands still: ready and nobody’s, or its job is suspended' },
  cleaning: { sign: '≈', means: 'is being scrubbed after a job' },
  stopping: { sign: '×', means: 'on its way out' },
  fencing: { sign: '!', means: 'out of hearing: nothing is assumed until it is proven gone' },
}

/** A state that this page does not know is shown all the same. */
export const signOf = (state: string): string => states[state]?.sign ?? '?'

/** One VWN in one line, for whoever hears the page or points at a block. */
export function vwnWords(vwn: FarmVwn): string {
  const job = vwn.job === null ? 'no job' : `job ${vwn.job}`
  return `${vwn.vwn} ${stateOf(vwn)}, ${vwn.type}, ${vwn.user ?? 'nobody’s'}, ${job}, ${vwn.cpus} cpus, ${vwn.memoryMib} MiB${vwn.cause === null ? '' : `, ${vwn.cause}`}`
}

/** What a job is waiting for, or what it is doing, in one sentence. */
export function jobSentence(job: Pick<FarmJob, 'state' | 'why' | 'vwn' | 'host'>, vwn: Pick<FarmVwn, 'vwn' | 'state' | 'paused'> | null): string {
  if (job.state === 'waiting') {
    if (vwn === null) return job.why ?? 'The controller has not looked at it yet.'
    return vwn.state === 'busy' ? `Is on its way into ${vwn.vwn}.` : `Waits for ${vwn.vwn}, which is ${stateOf(vwn)}.`
  }
  if (job.state === 'ended') return job.why ?? 'Has ended.'
  return job.vwn === null ? `Is ${job.state} on ${job.host}.` : `Is ${job.state} in ${job.vwn} on ${job.host}.`
}

/** How long ago, never less than nothing: two machines' clocks differ. */
export const ago = (atMs: number, nowMs: number): string => duration(Math.max(0, Math.round((nowMs - atMs) / 1_000) * 1_000)).replace('.0 s', ' s')

/** A size in the unit that leaves it short. */
export function mib(value: number): string {
  return value < 1024 ? `${value} MiB` : `${Number((value / 1024).toFixed(1))} GiB`
}

/** Bytes that a job has used; `-` where the guest could not tell. */
export const bytes = (value: number | null | undefined): string => (value === null || value === undefined ? '-' : mib(Number((value / 1024 ** 2).toFixed(1))))
