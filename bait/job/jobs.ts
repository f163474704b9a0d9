/** Every job of this host: taken from starters, run in VWNs, kept on record until the controller has it in its history. */
import type { HostId, JobId } from '../../core/ids.ts'
import { jobLimits, type JobLimits } from '../../core/job.ts'
import { failure, type Outcome } from '../../core/failure.ts'
import type { Kit } from '../../kit/service.ts'
import type { EndedJob, LiveJob } from '../../wire/bait.ts'
import type { Jobs, ReadyVwn } from '../contracts.ts'
import { failureOf } from '../failures.ts'
import type { Control } from '../../wire/hook.ts'
import type { Controlled, StarterLink } from '../starter-socket.ts'
import { agentContact } from './agent-contact.ts'
import type { OpenContact } from './contact.ts'
import { chosenBy } from './chosen.ts'
import { driveJob, type DrivenJob } from './drive.ts'
import { jobRecords, type JobRecord } from './record.ts'
import { sshContact } from './ssh-contact.ts'

export interface JobsOptions {
  readonly host: HostId
  /** Folder of the records. */
  readonly folder: string
  readonly limits?: JobLimits
  /** Told of every end of a job that was taken here. */
  readonly onEnded?: (outcome: Outcome) => void
}

/** What `Jobs` promises, and the way in for job starters. */
export interface JobDesk extends Jobs {
  /** Takes a job on; whatever becomes of it is told to its starter. */
  accept(link: StarterLink): void
  /** Does what a caller has asked for to all the jobs that it means and may ask this of; JOB_NOT_YOURS where it may of none. */
  control(control: Control): Promise<Controlled>
}

/** A Report holds no more. */
const endedMax = 1_000

/** The jobs half of the bait; `recover` comes before anything else. */
export function createJobs(kit: Kit, options: JobsOptions): JobDesk {
  const records = jobRecords(options.folder, options.host, kit.log)
  const live = new Map<JobId, DrivenJob>()
  const ended = new Map<JobId, JobRecord>()
  /** Acknowledged before their scrub was measured; they come once more when it is. */
  const unscrubbed = new Map<JobId, JobRecord>()
  /** Ended, but their guests are not yet free of them. */
  const leaving = new Map<JobId, { readonly was: LiveJob; readonly gone: Promise<void> }>()
  const listeners: (() => void)[] = []
  const changed = (): void => listeners.forEach((listener) => listener())

  const take = async (link: StarterLink): Promise<void> => {
    const { identity, submit } = link
    const who = { job: records.nextId(), identity, want: submit.want, trace: submit.trace, name: nameOf(submit.run.argv[0]), submittedAtMs: kit.clock.nowMs() }
    try {
      await records.save({ v: 1, ...who, state: 'waiting', vwn: null, phases: {}, reused: false, scrubReceipt: null, end: null })
    } catch (error) {
      kit.log.error({ err: error }, 'job could not be recorded, and is refused')
      link.tell({ kind: 'ended', outcome: { is: 'refused', failure: failureOf(error, 'FILE_UNWRITABLE') }, phases: {} })
      return link.end()
    }
    const log = kit.log.child({ job: who.job, trace: who.trace })
    log.info({ user: identity.user, type: submit.want.type }, 'job accepted')
    const onEnded = (record: JobRecord): void => {
      const { live: was, gone } = driven
      leaving.set(who.job, { was: was(), gone: gone.finally(() => leaving.delete(who.job)) })
      live.delete(who.job)
      ended.set(who.job, record)
      if (record.end !== null) options.onEnded?.(record.end.outcome)
      log.info({ outcome: record.end?.outcome.is, vwn: record.vwn }, 'job ended')
      changed()
    }
    const driven = driveJob({ kit: { ...kit, log }, limits: options.limits ?? jobLimits, save: records.save, openContact, onChange: changed, onEnded }, link, who)
    live.set(who.job, driven)
    changed()
  }
  const forget = async (jobs: readonly JobId[]): Promise<void> => {
    const known = jobs.filter((job) => ended.has(job))
    for (const job of known) {
      const record = ended.get(job)
      if (record !== undefined && record.vwn !== null && record.phases.scrub === undefined) unscrubbed.set(job, record)
      ended.delete(job)
    }
    for (const job of [...unscrubbed.keys()].slice(0, -endedMax)) unscrubbed.delete(job)
    if (known.length > 0) await records.forget(known)
  }
  return {
    accept: (link) => void take(link),
    async control({ uid, which, order }) {
      const chosen = chosenBy(which, uid, [...[...live.values()].map((job) => job.live()), ...[...leaving.values()].map(({ was }) => was)])
      kit.log.info({ ...which, uid, order: order.do, jobs: chosen.join() }, 'control of jobs asked for')
      return Promise.all(chosen.map(async (job) => {
        const is = await live.get(job)?.control(order)
        if (is === undefined && order.do === 'terminate') await leaving.get(job)?.gone
        return { job, is: is ?? 'ended' }
      }))
    },
    live: () => [...live.values()].map((job) => job.live()),
    ended: () => [...ended.values()].slice(0, endedMax).flatMap((record) => endedJob(record) ?? []),
    waits: (job) => live.get(job)?.waits() ?? false,
    assign: (job, place, facts) => live.get(job)?.assign(place, facts) ?? Promise.resolve({ mustClean: false }),
    answer: (answer) => live.get(answer.job)?.answer(answer),
    traceOf: (job) => live.get(job)?.trace ?? ended.get(job)?.trace ?? unscrubbed.get(job)?.trace ?? null,
    scrubbed(job, tookMs) {
      const record = ended.get(job) ?? unscrubbed.get(job)
      unscrubbed.delete(job)
      if (record === undefined) return
      const whole = { ...record, phases: { ...record.phases, scrub: tookMs } }
      ended.set(job, whole)
      records.save(whole).catch((error: unknown) => kit.log.warn({ err: error, job }, 'scrub of a job could not be recorded'))
      changed()
    },
    acknowledge: (jobs) => void forget(jobs).catch((error: unknown) => kit.log.warn({ err: error }, 'job records could not be removed')),
    async recover() {
      for (const record of await records.load()) {
        const settled = record.end === null ? abandoned(record, kit.clock.nowMs()) : record
        if (record.end === null) {
          kit.log.warn({ job: record.job, state: record.state, outcome: settled.end?.outcome.is }, 'job of a former bait ended')
          await records.save(settled)
        }
        ended.set(record.job, settled)
      }
      changed()
    },
    onChange: (listener) => void listeners.push(listener),
  }
}

/** Its starter's connection ended with the bait that had it. Before `starting` the guest had not been told. */
function abandoned(record: JobRecord, endedAtMs: number): JobRecord {
  const neverRan = record.state === 'waiting' || record.state === 'staging'
  const outcome = { is: neverRan ? 'refused' : 'lost', failure: failure('JOB_BAIT_RESTARTED') } as const
  return { ...record, state: neverRan ? 'done' : 'lost', end: { outcome, endedAtMs, usage: null } }
}

function endedJob({ v: _v, state: _state, end, ...rest }: JobRecord): EndedJob | null {
  return end === null ? null : { ...rest, ...end }
}

const openContact = (place: ReadyVwn): OpenContact => (place.spec.contact === 'agent' ? agentContact : sshContact)

/** The base name of the program, as far as it can be printed. */
function nameOf(argument: string | undefined): string {
  const text = Buffer.from(argument ?? '', 'base64').toString('utf8').replace(/[^\x20-\x7e]/g, '?')
  return text.slice(text.lastIndexOf('/') + 1).slice(0, 64)
}
