/**
 * What a bait's report changes: the host, its VWNs (by events that core/observe derives), its jobs. A report is a whole state, so
 * only the newest of the newest bait process counts; all else is answered with the orders and otherwise ignored.
 */
import { failure, type Outcome } from '../core/failure.ts'
import { hear } from '../core/host.ts'
import type { HostId, JobId } from '../core/ids.ts'
import { eventsFrom, type Sight } from '../core/observe.ts'
import type { Database } from '../db/open.ts'
import { addPhases, getJob, liveJobsOn, saveJob, type JobRecord, type JobReported } from '../db/queries/job.ts'
import { presentVwnsOn, saveVwnFacts } from '../db/queries/vwn.ts'
import type { Kit } from '../kit/service.ts'
import { endedMax, type Answer, type EndedJob, type LiveJob, type ObservedVwn, type Report } from '../wire/bait.ts'
import type { HostBook } from './hosts.ts'
import type { Desk, Lifecycle } from './lifecycle.ts'

export interface ReportsParts {
  readonly kit: Kit
  readonly db: Database
  readonly book: HostBook
  readonly lifecycle: Lifecycle
}

export interface Reports {
  /** Takes a report in, all of it or nothing; false when there was nothing to take. */
  take(report: Report): boolean
  /** Ended jobs of a host's newest report: all of them are on record. */
  acknowledged(host: HostId): readonly JobId[]
  /** Jobs that a host must not run although nothing is on record for them. */
  turnedAway(host: HostId): readonly Answer[]
  /** How many reports were taken in. */
  readonly taken: number
  /** How many came late or twice. */
  readonly stale: number
}

/** What was said last by a host, so that saying it again costs nothing. */
interface Said {
  readonly things: ReadonlyMap<string, string>
  readonly ended: readonly JobId[]
  readonly turnedAway: readonly Answer[]
}
const nothingSaid: Said = { things: new Map(), ended: [], turnedAway: [] }

/** Takes reports in for one controller. */
export function openReports({ kit, db, book, lifecycle }: ReportsParts): Reports {
  const said = new Map<HostId, Said>()
  let [taken, stale] = [0, 0]

  const take = (report: Report): boolean => {
    const known = book.getOrNew(report.host)
    const { capacity, images, broken } = report.facts
    const heard = hear(known.host, { ...report, capacity, images, broken }, kit.clock.nowMs())
    if (heard.is === 'ignored') {
      stale += 1
      kit.log.debug({ host: report.host, seq: report.seq, why: heard.why }, 'report ignored')
      return false
    }
    const last = said.get(report.host) ?? nothingSaid
    const now = lifecycle.change((desk) => {
      const news = known.host.fact !== 'alive' || known.host.session !== report.session || JSON.stringify(known.facts) !== JSON.stringify(report.facts)
      desk.putHost({ ...known, host: heard.next, facts: report.facts }, news)
      if (news) desk.touch(report.host)
      return record(db, desk, report, last, heard.rebooted)
    }, report.host)
    said.set(report.host, now)
    taken += 1
    if (known.host.fact !== 'alive') kit.log.info({ host: report.host, session: report.session, rebooted: heard.rebooted }, 'host is alive')
    return true
  }
  return {
    take,
    acknowledged: (host) => said.get(host)?.ended ?? [],
    turnedAway: (host) => said.get(host)?.turnedAway ?? [],
    get taken() { return taken },
    get stale() { return stale },
  }
}

/** Everything that a report says, as rows; what it said before is left alone. */
function record(db: Database, desk: Desk, report: Report, last: Said, rebooted: boolean): Said {
  const { host } = report
  const things = new Map<string, string>()
  const isNews = (id: string, thing: unknown): boolean => {
    const text = JSON.stringify(thing)
    things.set(id, text)
    return last.things.get(id) !== text
  }
  const turnedAway = report.jobs.flatMap((job) => (isNews(job.job, job) && !takeLive(db, desk, host, job) ? [turnAway(job)] : keptAway(last, job)))
  for (const job of report.ended) if (isNews(job.job, job)) takeEnded(db, desk, host, job)
  endVanished(db, desk, report)
  moveVwns(db, desk, report, rebooted)
  for (const vwn of report.vwns) if (isNews(vwn.vwn, vwn)) saveVwnFacts(db, vwn.vwn, factsOf(vwn))
  return { things, ended: report.ended.map(({ job }) => job), turnedAway }
}

/** True when the job is on record; false when another job of that name has ended long ago. */
function takeLive(db: Database, desk: Desk, host: HostId, job: LiveJob): boolean {
  const before = getJob(db, job.job)
  if (before?.state !== job.state) desk.touch(host)
  if (before?.state === 'ended') return false
  saveJob(db, { ...job, host, outcome: null, endedAtMs: null, reused: null, usage: null, scrubReceipt: null })
  return true
}

/** An ended job is written once; a bait that says it again only wants to hear that it was. */
function takeEnded(db: Database, desk: Desk, host: HostId, job: EndedJob): void {
  if (!end(db, desk, { ...job, host, state: 'ended' })) addPhases(db, job)
  desk.touch(host)
}

type JobAtEnd = JobReported & { readonly outcome: Outcome }

/** True when this is how the job has ended; false when it had ended before. */
function end(db: Database, desk: Desk, job: JobAtEnd): boolean {
  const isNews = saveJob(db, job)
  if (isNews) desk.tell({ is: 'ended', outcome: job.outcome, phases: job.phases })
  return isNews
}

/** A job that its bait neither runs nor has ended is lost: its record was removed by hand, or with its disk. */
function endVanished(db: Database, desk: Desk, report: Report): void {
  if (report.ended.length >= endedMax) return // more have ended than fit: the others come when these are acknowledged
  const told = new Set<JobId>([...report.jobs, ...report.ended].map(({ job }) => job))
  for (const job of liveJobsOn(db, report.host)) {
    if (told.has(job.job)) continue
    end(db, desk, vanished(job, Math.max(job.submittedAtMs, report.startedAtMs)))
    desk.touch(report.host)
  }
}
const vanished = (job: JobRecord, endedAtMs: number): JobAtEnd =>
  ({ ...job, state: 'ended', endedAtMs, outcome: { is: 'lost', failure: failure('JOB_VANISHED', job.job) } })

function moveVwns(db: Database, desk: Desk, report: Report, rebooted: boolean): void {
  const sight: Sight = {
    vwns: new Map(report.vwns.map((vwn) => [vwn.vwn, vwn])),
    jobs: { live: new Map(report.jobs.map((job) => [job.job, job])), ended: new Map(report.ended.map((job) => [job.job, job])) },
    ordersSeen: report.ordersSeen,
    rebooted,
  }
  for (const row of presentVwnsOn(db, report.host)) {
    let now = row
    for (const event of eventsFrom(row, sight)) {
      const verdict = desk.deliver(now, event)
      if (verdict.is !== 'moved') break
      now = verdict.next
    }
  }
}

const turnAway = ({ job }: LiveJob): Answer => ({ job, is: 'refused', failure: failure('JOB_ID_TAKEN', job) })
const keptAway = (last: Said, { job }: LiveJob): readonly Answer[] => last.turnedAway.filter((answer) => answer.job === job)

const factsOf = (vwn: ObservedVwn): Parameters<typeof saveVwnFacts>[2] =>
  ({ observed: vwn.state, bootAttempt: vwn.bootAttempt, phases: vwn.phases, accelerator: vwn.accelerator, pid: vwn.pid, paused: vwn.paused, madeBy: vwn.madeBy })
