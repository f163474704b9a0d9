/** One thing in full: `wnod show | explain | receipt`. */
import { VwnError } from '../../core/errors.ts'
import { idPatterns } from '../../core/ids.ts'
import { orderWords } from '../../core/orders.ts'
import { duration, moment, outcomeWords } from '../../core/words.ts'
import { explanationSchema, hostsReplySchema, jobViewSchema, receiptSchema, vwnDetailSchema } from '../../wire/api.ts'
import type { Explanation, HostView, JobView, Receipt, VwnDetail } from '../../wire/api.ts'
import { show, type Context } from '../context.ts'
import { facts, mebibytes, roll, table } from '../table.ts'
import { howMade, vwnState } from './words.ts'

/** A VWN, a job or a host, told apart by its id; a host may be named like a job, so jobs are looked up first. */
export async function showOne(context: Context, id: string): Promise<void> {
  if (idPatterns.vwn.test(id)) return show(context, await context.api.get(`/vwns/${id}`, vwnDetailSchema), vwnText)
  if (idPatterns.job.test(id)) {
    const job = await context.api.get(`/jobs/${id}`, jobViewSchema).catch((error: unknown) => {
      if (error instanceof VwnError && error.code === 'JOB_NOT_FOUND') return null
      throw error
    })
    if (job !== null) return show(context, job, jobText)
  }
  if (!idPatterns.host.test(id)) throw new VwnError('OPTION_INVALID', { id, problem: 'this is no id of a VWN (v17), a job (h1-17) or a host (h1)' })
  const { hosts } = await context.api.get('/hosts', hostsReplySchema)
  const host = hosts.find((one) => one.host === id)
  if (host === undefined) throw new VwnError(idPatterns.job.test(id) ? 'JOB_NOT_FOUND' : 'HOST_NOT_FOUND', { id })
  show(context, host, hostText)
}

/** Why a job got, gets or would get what: the rule, the type, the host, and why not the others. */
export async function explainOne(context: Context, asked: { job: string } | { query: Readonly<Record<string, string | readonly string[] | undefined>> }): Promise<void> {
  const reply =
    'job' in asked
      ? await context.api.get(`/jobs/${encodeURIComponent(asked.job)}/explain`, explanationSchema)
      : await context.api.get('/explain', explanationSchema, asked.query)
  show(context, reply, explanationText)
}

/** Where the time of one job went. */
export async function receipt(context: Context, job: string): Promise<void> {
  show(context, await context.api.get(`/jobs/${encodeURIComponent(job)}/receipt`, receiptSchema), receiptText)
}

/** A VWN in full, with what happened to it. */
export const vwnText = (vwn: VwnDetail): string =>
  facts([
    ['vwn', vwn.vwn],
    ['host', vwn.host],
    ['type', vwn.type],
    ['image', `${vwn.image.name ?? '?'} (${vwn.image.digest.slice(0, 12)}, contact by ${vwn.contact})`],
    ['shape', `${vwn.shape.cpus} cpus, ${vwn.shape.memoryMib} MiB memory, ${vwn.shape.scratchGib} GiB scratch`],
    ['network', vwn.network],
    ['state', vwnState(vwn)],
    ['since', moment(vwn.sinceMs)],
    ['deadline', moment(vwn.deadlineAtMs)],
    ['token', vwn.token],
    ['job', vwn.job],
    ['owner', vwn.owner === null ? 'nobody yet' : `${vwn.owner.user} (uid ${vwn.owner.uid}, group ${vwn.owner.group}, project ${vwn.owner.project ?? 'none'})`],
    ['reuse', vwn.reuse],
    ['jobs run', vwn.jobsRun],
    ['made', moment(vwn.createdAtMs)],
    ['made by', vwn.madeBy],
    ['boot', `${duration(vwn.phases.boot)}, then contact in ${duration(vwn.phases.contact)}${vwn.bootAttempt > 1 ? `, attempt ${vwn.bootAttempt}` : ''}`],
    ['process', vwn.pid === null ? null : `${vwn.pid} (${vwn.accelerator ?? '?'})`],
    ['cause', vwn.cause === null ? null : `${vwn.cause.message} (${vwn.cause.code})`],
    ['orders', vwn.ordersTaken ? 'all taken in by its bait' : 'the last not taken in by its bait yet'],
  ]) +
  '\n' +
  table(
    [
      { title: 'AT', cell: (event) => moment(event.atMs) },
      { title: 'EVENT', cell: (event) => event.event },
      { title: 'FROM', cell: (event) => event.from },
      { title: 'TO', cell: (event) => event.to },
      { title: 'JOB', cell: (event) => event.job },
      { title: 'WHY', cell: (event) => event.why },
    ],
    vwn.events,
    roll,
  ) +
  '\n' +
  table(
    [
      { title: 'TOLD AT', cell: (order) => moment(order.atMs) },
      { title: 'ORDER', cell: (order) => orderWords[order.does] },
      { title: 'JOB', cell: (order) => order.job },
      { title: 'BECAUSE OF', cell: (order) => order.event },
      { title: 'WHY', cell: (order) => order.why },
    ],
    vwn.orders,
    roll,
  )

const batchWords = (job: JobView): string | null => (job.batchSystem === null ? null : `${job.batchSystem} ${job.batchJobId ?? ''}`.trimEnd())

const ruleWords = ({ rule }: JobView): string => (rule === null ? 'the default rule' : `rule ${rule}`)

const jobFacts = (job: JobView): (readonly [string, string | number | null])[] => [
  ['job', job.job],
  ['name', job.name],
  ['user', `${job.user} (uid ${job.uid}, group ${job.group})`],
  ['queue', job.queue],
  ['project', job.project],
  ['batch job', batchWords(job)],
  ['host', job.host],
  ['type', job.type === null ? null : `${job.type} by ${ruleWords(job)}`],
  ['bare', job.outcome?.is === 'bare' ? `on ${job.host} itself by ${ruleWords(job)}` : null],
  ['vwn', job.vwn === null ? null : `${job.vwn} (${howMade(job)})`],
  ['state', job.state],
  ['outcome', job.outcome === null ? null : outcomeWords(job.outcome)],
  ['why', job.why],
  ['submitted', moment(job.submittedAtMs)],
  ['ended', moment(job.endedAtMs)],
  ['trace', job.trace],
]

const jobText = (job: JobView): string => facts(jobFacts(job))

/** A host in full. */
export const hostText = (host: HostView): string =>
  facts([
    ['host', host.host],
    ['want', host.want],
    ['fact', host.fact],
    ['heard', moment(host.lastReportAtMs)],
    ['cpus', `${host.used.cpus} of ${host.capacity.cpus} used`],
    ['memory', `${host.used.memoryMib} of ${host.capacity.memoryMib} MiB used`],
    ['scratch', `${host.used.scratchGib} of ${host.capacity.scratchGib} GiB used`],
    ['vwns', host.vwns],
    ['jobs', host.jobs],
    ['images', host.images],
    ['templates', `${host.templates.diskMib} of ${host.templates.diskMibMax} MiB of disk used`],
    ...host.templates.kept.map((one) => [one.id ?? '-', templateText(one)] as const),
    ['hypervisor', host.hypervisor],
    ...host.accelerators.map((one) => [one.name, one.works ? 'works' : `does not work: ${one.why}`] as const),
    ['broken', host.broken],
    ['version', host.version],
  ])

function templateText({ image, shape, network, state, why, diskMib, tookMs }: HostView['templates']['kept'][number]): string {
  const kind = `${state}: image ${image.slice(0, 12)}, ${shape.cpus} cpus, ${shape.memoryMib} MiB memory, ${shape.scratchGib} GiB scratch, ${network}`
  if (state !== 'ready') return why === null ? kind : `${kind}; ${why}`
  return `${kind}; takes ${diskMib} MiB${tookMs === null ? '' : `, made in ${duration(tookMs)}`}`
}

function explanationText(reply: Explanation): string {
  const { asked, decision } = reply
  const wanted = [
    ['queue', asked.queue], ['project', asked.project], ['batch system', asked.batchSystem], ['asks for type', asked.type],
  ].flatMap(([name, value]) => (value === null ? [] : [`${name} ${value}`]))
  return (
    facts([
      ['job', reply.job],
      ['asked', [`user ${asked.user}`, `groups ${asked.groups.join(',') || 'none'}`, ...wanted].join(', ')],
      ['rule', reply.rule ?? (reply.type === null && decision.is !== 'bare' ? null : 'the default rule')],
      ['type', reply.type],
      ['may ask for', reply.allowed.join(', ') || null],
      ['shape', reply.shape === null ? null : `${reply.shape.cpus} cpus, ${reply.shape.memoryMib} MiB memory, ${reply.shape.scratchGib} GiB scratch`],
      ['decision', [decision.is, decision.vwn, decision.host === null ? null : `on ${decision.host}`].filter((word) => word !== null).join(' ')],
      ['because', decision.why],
      ['made by', reply.made === null ? null : `${reply.made.by}: ${reply.made.why}`],
      ['failure', decision.failure === null ? null : `${decision.failure.message} (${decision.failure.code})`],
    ]) +
    (reply.rules.length === 0 ? '' : `\n${table([{ title: 'RULE', cell: (rule) => rule.rule }, { title: 'IS', cell: (rule) => rule.is }, { title: 'WHY', cell: (rule) => rule.why }], reply.rules, roll)}`) +
    (reply.hosts.length === 0 ? '' : `\n${table([{ title: 'HOST', cell: (host) => host.host }, { title: 'WHY', cell: (host) => host.why }], reply.hosts, roll)}`)
  )
}

/** A job in full, and where its time went. */
export function receiptText(reply: Receipt): string {
  const rows = [...reply.timeline, ...(reply.otherMs === null ? [] : [{ phase: 'other', ms: reply.otherMs }]), ...(reply.totalMs === null ? [] : [{ phase: 'total', ms: reply.totalMs }])]
  const used = reply.usage
  return (
    facts([
      ...jobFacts(reply),
      ['cpu', used === null ? null : `${duration(used.cpuUserMs)} user, ${duration(used.cpuSystemMs)} system`],
      ['memory', used === null ? null : `${mebibytes(used.memoryPeakBytes)} at most`],
      ['disk', used === null ? null : `${mebibytes(used.readBytes)} read, ${mebibytes(used.writtenBytes)} written`],
    ]) +
    '\n' +
    table(
      [
        { title: 'PHASE', cell: (row) => row.phase },
        { title: 'MS', cell: (row) => row.ms.toFixed(1), right: true },
      ],
      rows,
      roll,
    ) +
    (reply.scrubReceipt === null ? '' : `\n${scrubText(reply.scrubReceipt, reply.phases.scrub)}`)
  )
}

const formerWords = { nobody: 'nobody', 'same-user': "the same user's jobs", 'same-group': 'jobs of the same group', 'same-project': 'jobs of the same project' } as const

/** What the VWN was when the job came in. The scrub after the job is proved by the receipt of the next. */
const scrubText = ({ image, made, template, bootedBecause, overlay, policy, jobsBefore, before, scrub, atMs }: NonNullable<Receipt['scrubReceipt']>, afterMs: number | undefined): string =>
  facts([
    ['let in', moment(atMs)],
    ['image', image],
    ['made by', made === 'clone' ? `a clone of template ${template ?? '?'}` : made === 'boot' ? `a boot: ${bootedBecause ?? '?'}` : null],
    ['overlay', overlay],
    ['reuse', policy],
    ['before it', jobsBefore === 0 ? formerWords.nobody : `${jobsBefore} ${jobsBefore === 1 ? 'job' : 'jobs'}: ${formerWords[before]}`],
    ['scrubbed', scrub === null ? null : `${moment(scrub.atMs) ?? '?'}, in ${duration(scrub.tookMs)}: nothing left`],
    ['checked', scrub === null ? null : scrub.checked.join(', ')],
    ['cleared after', afterMs === undefined ? null : duration(afterMs)],
  ])
