/** Bugs that somebody might write, planted one at a time; a search that does not find each of them proves nothing. */
import { failure } from '../../core/failure.ts'
import { realBrain, type Brain } from './world.ts'

export interface Mutant {
  readonly bug: string
  /** Part of the promise that it breaks. */
  readonly breaks: RegExp
  /** Number of the scenario that shows it, and how much must go wrong there if more than usual. */
  readonly scenario: number
  readonly faults?: number
  readonly brain: Brain
}

const mutant = (bug: string, breaks: RegExp, scenario: number, planted: Partial<Brain>, more: Pick<Mutant, 'faults'> = {}): Mutant =>
  ({ bug, breaks, scenario, brain: { ...realBrain, ...planted }, ...more })
const { step, eventsFrom, plan, planPools, hear, reconcile, isNews, stepJob } = realBrain

export const mutants: readonly Mutant[] = [
  mutant('the controller takes a VWN for gone before its bait has followed that it should be', /never runs more VMs|quiet network/, 1, {
    eventsFrom: (row, sight) => eventsFrom(row, { ...sight, ordersSeen: { term: 9, generation: 1e9 } }),
  }),
  mutant('the controller takes late reports for news', /./, 1, {
    hear: (host, beat, nowMs) => hear({ ...host, session: '', seq: 0 }, beat, nowMs),
  }),
  mutant('a bait follows orders that were meant for the process before it', /never runs more VMs|quiet network/, 7, {
    isNews: (orders, _session, followed) => isNews(orders, orders.session, followed),
  }, { faults: 2 }),
  mutant('the controller plans every job as if it were alone', /more than a host has|never runs more/, 3, {
    plan: (jobs, farm, nowMs) => jobs.flatMap((job) => plan([job], farm, nowMs)),
  }),
  mutant('the controller forgets whose a warm VWN is', /owner is for life|may not share/, 1, {
    plan: (jobs, farm, nowMs) => plan(jobs, { ...farm, vwns: farm.vwns.map((row) => ({ ...row, owner: jobs[0]?.owner ?? row.owner })) }, nowMs),
    step: (row, event, token, at) => step(event.kind === 'assigned' ? { ...row, owner: event.owner } : row, event, token, at),
  }),
  mutant('the controller takes jobs of no project for jobs of one', /may not share/, 5, {
    plan: (jobs, farm, nowMs) => plan(jobs.map((job) => ({ ...job, owner: { ...job.owner, project: 'none' } })), farm, nowMs),
    step: (row, event, token, at) => step(row, event.kind === 'assigned' ? { ...event, owner: { ...event.owner, project: 'none' } } : event, token, at),
  }),
  mutant('the scheduler makes no room', /h1-2 never ended/, 1, {
    plan: (jobs, farm, nowMs) => plan(jobs, farm, nowMs).map((decision) => (decision.is === 'wait' ? { ...decision, evict: [] } : decision)),
  }),
  mutant('the pool fills a host without regard to jobs', /more than a host has|limit of a type/, 6, {
    planPools: (farm, settings, nowMs) => planPools({ ...farm, vwns: farm.vwns.filter(({ owner }) => owner === null) }, settings, nowMs),
  }),
  mutant('a ready VWN is given to a user who has enough', /limit of a user/, 6, {
    plan: (jobs, farm, nowMs) => plan(jobs, { ...farm, mapping: { ...farm.mapping, default: farm.mapping.default === null ? null : { ...farm.mapping.default, limits: { perUser: null } } } }, nowMs),
  }),
  mutant('what is kept ready is not given up for a job', /h2-1 never ended|h1-1 never ended/, 7, {
    plan: (jobs, farm, nowMs) => plan(jobs, farm, nowMs).map((decision) => (decision.is === 'wait' ? { ...decision, evict: [] } : decision)),
  }),
  mutant('a VWN is kept for ever for a job that was cancelled before it came', /quiet network/, 1, {
    eventsFrom: (row, sight) => eventsFrom(row, sight).filter((event) => event.kind !== 'released' || (row.job !== null && sight.jobs.ended.get(row.job)?.vwn === row.id)),
  }),
  mutant('a VWN on a lost host is taken for gone', /./, 1, {
    step: (row, event, token, at) => {
      const verdict = step(row, event, token, at)
      return verdict.is === 'moved' && verdict.next.state === 'fencing' ? { ...verdict, next: { ...verdict.next, state: 'gone' } } : verdict
    },
  }),
  mutant('a bait ends a running job because its VWN is no longer wanted', /lost without cause/, 1, {
    reconcile: (wanted, local, waits) => reconcile(wanted?.want === 'gone' ? { ...wanted, insist: true } : wanted, local, waits),
  }),
  mutant('a bait leaves the files of dead VMs where they are', /quiet network/, 1, {
    reconcile: (wanted, local, waits) => (local?.state === 'dead' ? { do: 'wait' } : reconcile(wanted, local, waits)),
  }),
  mutant('a bait runs a job again that its orders still name', /started twice|stays ended/, 0, {
    reconcile: (wanted, local) => reconcile(wanted, local, () => true),
    stepJob: (job, event, nowMs) => stepJob(event.kind === 'assigned' ? { ...job, state: 'waiting', outcome: null } : job, event, nowMs),
  }),
  mutant('a job that may have run is given back as if it had not', /refused/, 1, {
    stepJob: (job, event, nowMs) => {
      const verdict = stepJob(job, event, nowMs)
      if (verdict.is !== 'moved' || verdict.next.state !== 'lost') return verdict
      const outcome = { is: 'refused', failure: failure('JOB_GUEST_LOST') } as const
      return { ...verdict, next: { ...verdict.next, state: 'done', outcome } }
    },
  }),
]
