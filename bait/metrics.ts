/**
 * What the bait says of its host to Prometheus: the state of VWNs, jobs and templates as it is when somebody asks, and counts of what leaves no
 * state, taken at the seams that exist: the effects of a VWN's life, the scrub, the templates, the end of a job, the door.
 */
import { freemem } from 'node:os'
import { vwnErrorIn } from '../core/errors.ts'
import { outcomeKinds, type Outcome } from '../core/failure.ts'
import { flag, one, sums, workSeconds, zeros, type Metrics, type ReadFamily, type Sample } from '../kit/metrics.ts'
import { liveJobStates, observedStates, templateStates } from '../wire/bait.ts'
import type { Clean, Jobs } from './contracts.ts'
import { freeSpaceGib } from './disk/scratch.ts'
import type { DoorFacts } from './starter-socket.ts'
import type { Templates } from './templates/templates.ts'
import type { EffectName } from './vwns/boot.ts'
import type { Handle } from './vwns/handles.ts'
import type { Vwns } from './vwns/vwns.ts'

export interface Counts {
  /** An effect of a VWN's life has come about. */
  effect(effect: EffectName, handle: Handle): void
  jobEnded(outcome: Outcome): void
  /** The same scrub, timed. */
  timed(clean: Clean): Clean
  /** The same templates, with the failures of their clones counted. */
  watched(templates: Templates): Templates
}

/** The families that are counted as things come about. */
export function countedFamilies(metrics: Metrics): Counts {
  const made = metrics.seconds({ name: 'wnod_bait_vwn_make_seconds', help: 'From a VWN being begun to it being available, by how it was made.', labels: ['made'], buckets: workSeconds })
  const contact = metrics.seconds({ name: 'wnod_bait_vwn_contact_seconds', help: "From the guest's first word to the open ssh connection.", labels: ['made'], buckets: workSeconds })
  const cloneFailed = metrics.counter({ name: 'wnod_bait_clone_failures_total', help: 'Clones that did not come up; the VWN was booted.', labels: ['code'] })
  const gone = metrics.counter({ name: 'wnod_bait_vwns_gone_total', help: 'VWNs that are gone, with the error code of their cause where they had one.', labels: ['code'], from: [{ code: '' }] })
  const scrubbed = metrics.seconds({ name: 'wnod_bait_scrub_seconds', help: 'How long scrubs took that were carried out.', buckets: workSeconds })
  const scrubFailed = metrics.counter({ name: 'wnod_bait_scrub_failures_total', help: 'Scrubs that left something, or that the guest did not answer.', labels: ['why'], from: [{ why: 'left' }, { why: 'unanswered' }] })
  const ended = metrics.counter({ name: 'wnod_bait_jobs_ended_total', help: 'Jobs of this host that ended, by how.', labels: ['outcome'], from: outcomeKinds.map((outcome) => ({ outcome })) })
  return {
    effect(effect, { made: by, phases, cause }) {
      if (effect === 'gone') gone({ code: cause?.code ?? '' })
      if (effect !== 'ready' || by === null) return
      const { boot = 0, contact: contactMs = 0 } = phases
      made({ made: by }, (boot + contactMs) / 1000)
      contact({ made: by }, contactMs / 1000)
    },
    jobEnded: ({ is: outcome }) => ended({ outcome }),
    timed: (clean) => async (place, signal) => {
      try {
        const report = await clean(place, signal)
        scrubbed({}, report.tookMs / 1000)
        if (report.left.length > 0) scrubFailed({ why: 'left' })
        return report
      } catch (error) {
        scrubFailed({ why: 'unanswered' })
        throw error
      }
    },
    watched: (templates) => ({
      ...templates,
      failed(template, error) {
        cloneFailed({ code: vwnErrorIn(error)?.code ?? 'BUG' })
        return templates.failed(template, error)
      },
    }),
  }
}

/** What is asked when somebody wants to know. */
export interface BaitState {
  /** Null until the bait has found out what its host has. */
  readonly parts: { readonly vwns: Vwns; readonly jobs: Jobs; readonly templates: Templates } | null
  readonly door: DoorFacts
  readonly bus: { readonly connected: boolean; readonly dropped: number } | null
  /** Whether the last report was answered. */
  readonly heard: boolean
  readonly isReady: boolean
  /** Why no guest can be started here; null where one can. */
  readonly broken: string | null
  readonly hasCgroups: boolean
  /** Where disks are. */
  readonly folder: string
}

const mib = 1024 ** 2

/** The families that are read from the host as it is. */
export function stateFamilies(look: () => BaitState): readonly ReadFamily[] {
  const states = (names: readonly string[], found: readonly { readonly state: string }[]): readonly Sample[] =>
    sums([...zeros(names.map((state) => ({ state }))), ...found.map(({ state }): Sample => [{ state }, 1])])
  const vwns = () => look().parts?.vwns.all().map((vwn) => vwn.observed()) ?? []
  const templates = () => look().parts?.templates.facts() ?? []
  return [
    { name: 'wnod_bait_ready', help: '1 when jobs can be taken: bus connected, socket open, a guest can be started.', read: () => one(flag(look().isReady)) },
    { name: 'wnod_bait_bus_connected', help: '1 while the NATS server is connected.', read: () => one(flag(look().bus?.connected === true)) },
    { name: 'wnod_bait_bus_dropped_total', help: 'Messages over the bus that nobody could read.', counts: true, read: () => one(look().bus?.dropped ?? 0) },
    { name: 'wnod_bait_controller_answers', help: '1 when the controller has answered the last report.', read: () => one(flag(look().heard)) },
    { name: 'wnod_bait_guests_possible', help: '1 unless hypervisor or accelerators are known not to work.', read: () => one(flag(look().broken === null)) },
    { name: 'wnod_bait_vwns', help: 'VWNs of this host.', labels: ['state'], read: () => states(observedStates, vwns()) },
    { name: 'wnod_bait_vwns_paused', help: 'VWNs that stand still.', read: () => one(vwns().filter(({ paused }) => paused).length) },
    { name: 'wnod_bait_jobs', help: 'Jobs of this host that have not ended.', labels: ['state'], read: () => states(liveJobStates, look().parts?.jobs.live() ?? []) },
    { name: 'wnod_bait_jobs_unacknowledged', help: 'Jobs that ended and are not in the history of the controller yet.', read: () => one(look().parts?.jobs.ended().length ?? 0) },
    { name: 'wnod_bait_templates', help: 'Templates of this host.', labels: ['state'], read: () => states(templateStates, templates()) },
    { name: 'wnod_bait_templates_disk_bytes', help: 'Disk that templates take.', read: () => one(templates().reduce((sum, { diskMib }) => sum + diskMib, 0) * mib) },
    { name: 'wnod_bait_starter_connections', help: 'Connections of job starters and hooks.', read: () => one(look().door.connections) },
    { name: 'wnod_bait_starter_refusals_total', help: 'Requests of job starters and hooks that were refused, by error code.', labels: ['code'], counts: true, read: () => [...look().door.refusals].map(([code, times]) => [{ code }, times]) },
    {
      name: 'wnod_bait_starter_bytes_total', help: 'What was carried between job starters and guests, by direction.', labels: ['direction'], counts: true,
      read: () => [[{ direction: 'to_guest' }, look().door.bytesRead], [{ direction: 'to_starter' }, look().door.bytesWritten]],
    },
    { name: 'wnod_bait_host_memory_available_bytes', help: 'Memory that could be had without swapping.', read: () => one(freemem()) },
    { name: 'wnod_bait_host_disk_available_bytes', help: 'Space where disks and templates are.', read: async () => one(Math.round((await freeSpaceGib(look().folder)) * 1024 ** 3)) },
    { name: 'wnod_bait_cgroups_usable', help: '1 when each VM has a control group of its own.', read: () => one(flag(look().hasCgroups)) },
  ]
}
