/** The listings: `wnod hosts | vwns | jobs | types | images`. */
import { compareIds } from '../../core/ids.ts'
import { ownerWords } from '../../core/reuse.ts'
import { age, duration, outcomeWords } from '../../core/words.ts'
import { hostsReplySchema, imagesReplySchema, jobsReplySchema, statusSchema, typesReplySchema, vwnsReplySchema } from '../../wire/api.ts'
import type { HostView, ImageView, JobView, PoolView, TypeView, VwnView } from '../../wire/api.ts'
import { systemClock } from '../../kit/clock.ts'
import { show, type Context } from '../context.ts'
import type { Query } from '../client.ts'
import { facts, table, type Column } from '../table.ts'
import { plain } from '../../kit/plain.ts'
import { gib, howMade, outcomeTone, stateTone, vwnState } from './words.ts'

const since = (sinceMs: number): string => age(sinceMs, systemClock.nowMs())
const listed = (hosts: readonly string[]): string => [...hosts].sort(compareIds).join(',') || 'none'
const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)

/** How many hosts have it, and how many not. */
function templateWords({ templates }: TypeView): string {
  const states = [...new Set(templates.map(({ state }) => state))]
  if (states.length <= 1) return states[0] ?? '-'
  return states.map((state) => `${templates.filter((one) => one.state === state).length} ${state}`).join(', ')
}

const hostColumns: readonly Column<HostView>[] = [
  { title: 'HOST', cell: (host) => host.host },
  { title: 'WANT', cell: (host) => host.want, tone: ({ want }) => (want === 'open' ? undefined : stateTone(want)) },
  { title: 'FACT', cell: (host) => host.fact, tone: ({ fact }) => stateTone(fact) },
  { title: 'CPUS', cell: (host) => `${host.used.cpus}/${host.capacity.cpus}`, right: true },
  { title: 'MEMORY', cell: (host) => `${gib(host.used.memoryMib)}/${gib(host.capacity.memoryMib)}`, right: true, spare: 1 },
  { title: 'SCRATCH', cell: (host) => `${host.used.scratchGib}G/${host.capacity.scratchGib}G`, right: true, spare: 3 },
  { title: 'VWNS', cell: (host) => host.vwns, right: true },
  { title: 'JOBS', cell: (host) => host.jobs, right: true },
  { title: 'TEMPLATES', cell: (host) => (host.templates.diskMibMax === 0 ? 'none' : `${gib(host.templates.diskMib)}/${gib(host.templates.diskMibMax)}`), right: true, spare: 4 },
  { title: 'ACCEL', cell: (host) => host.accelerators.filter((one) => one.works).map((one) => one.name).join(',') || 'none', spare: 5 },
  { title: 'HEARD', cell: (host) => (host.lastReportAtMs === null ? 'never' : `${since(host.lastReportAtMs)} ago`), spare: 2 },
]

const vwnColumns: readonly Column<VwnView>[] = [
  { title: 'VWN', cell: (vwn) => vwn.vwn },
  { title: 'HOST', cell: (vwn) => vwn.host, cut: true },
  { title: 'TYPE', cell: (vwn) => vwn.type, cut: true },
  { title: 'STATE', cell: vwnState, tone: ({ state }) => stateTone(state) },
  { title: 'SINCE', cell: (vwn) => since(vwn.sinceMs) },
  { title: 'OWNER', cell: (vwn) => (vwn.owner === null ? null : ownerWords(vwn.reuse, vwn.owner)), cut: true, spare: 1 },
  { title: 'REUSE', cell: (vwn) => vwn.reuse, spare: 5 },
  { title: 'JOB', cell: (vwn) => vwn.job },
  { title: 'RAN', cell: (vwn) => vwn.jobsRun, right: true, spare: 6 },
  { title: 'CPUS', cell: (vwn) => vwn.shape.cpus, right: true, spare: 4 },
  { title: 'MEMORY', cell: (vwn) => gib(vwn.shape.memoryMib), right: true, spare: 3 },
  { title: 'ACCEL', cell: (vwn) => vwn.accelerator, spare: 7 },
  { title: 'CAUSE', cell: (vwn) => vwn.cause?.code ?? null, cut: true, spare: 2, tone: () => 'bad' },
]

const jobColumns: readonly Column<JobView>[] = [
  { title: 'JOB', cell: (job) => job.job },
  { title: 'NAME', cell: (job) => job.name, cut: true },
  { title: 'USER', cell: (job) => job.user, cut: true },
  { title: 'STATE', cell: (job) => job.state, tone: ({ state }) => stateTone(state) },
  { title: 'TYPE', cell: (job) => job.type ?? job.requestedType, cut: true, spare: 2 },
  { title: 'VWN', cell: (job) => job.vwn, spare: 1 },
  { title: 'MADE', cell: howMade, spare: 5 },
  { title: 'AGE', cell: (job) => since(job.submittedAtMs), spare: 3 },
  { title: 'RUN', cell: (job) => duration(job.phases.run), right: true, spare: 4 },
  { title: 'OUTCOME', cell: (job) => (job.outcome === null ? (job.why ?? '-') : outcomeWords(job.outcome)), cut: true, tone: ({ outcome }) => (outcome === null ? 'warn' : outcomeTone(outcome)) },
]

const typeColumns: readonly Column<TypeView>[] = [
  { title: 'TYPE', cell: (type) => type.type },
  { title: 'IMAGE', cell: (type) => type.image, cut: true, spare: 2 },
  { title: 'CPUS', cell: (type) => type.shape.cpus, right: true, spare: 4 },
  { title: 'MEMORY', cell: (type) => gib(type.shape.memoryMib), right: true, spare: 3 },
  { title: 'SCRATCH', cell: (type) => `${type.shape.scratchGib}G`, right: true, spare: 6 },
  { title: 'NETWORK', cell: (type) => type.network, spare: 8 },
  { title: 'REUSE', cell: (type) => (type.reuse === 'never' ? 'never' : `${type.reuse}, ${type.jobsMax} jobs, ${duration(type.ageMaxMs)}`), spare: 7 },
  { title: 'READY', cell: (type) => (type.pool === null ? null : `${sum(type.pools.map(({ ready }) => ready))}/${sum(type.pools.map(({ wanted }) => wanted))}`), right: true },
  { title: 'VWNS', cell: (type) => `${type.vwns}${type.limit === null ? '' : `/${type.limit}`}`, right: true },
  { title: 'TEMPLATE', cell: (type) => templateWords(type), spare: 1 },
  { title: 'HOSTS', cell: (type) => listed(type.hosts), cut: true, spare: 5 },
  { title: 'PROBLEM', cell: (type) => type.problem, cut: true, tone: () => 'bad' },
]

const poolColumns: readonly Column<PoolView & { readonly type: string }>[] = [
  { title: 'POOL OF', cell: (pool) => pool.type },
  { title: 'HOST', cell: (pool) => pool.host },
  { title: 'READY', cell: (pool) => pool.ready, right: true },
  { title: 'MAKING', cell: (pool) => pool.making, right: true, spare: 1 },
  { title: 'GOING', cell: (pool) => pool.going, right: true, spare: 2 },
  { title: 'WANTED', cell: (pool) => pool.wanted, right: true },
  { title: 'WHY', cell: (pool) => pool.why, cut: true },
]

const imageColumns: readonly Column<ImageView>[] = [
  { title: 'IMAGE', cell: (image) => (image.name === image.digest ? null : image.name) },
  { title: 'DIGEST', cell: (image) => image.digest.slice(0, 12) },
  { title: 'CONTACT', cell: (image) => image.contact, spare: 1 },
  { title: 'TYPES', cell: (image) => image.types.join(',') || 'none', cut: true, spare: 2 },
  { title: 'HOSTS', cell: (image) => listed(image.hosts), cut: true },
]

/** Every host of the farm, what is wanted of it and what is so. */
export async function hosts(context: Context): Promise<void> {
  show(context, await context.api.get('/hosts', hostsReplySchema), (reply) => table(hostColumns, [...reply.hosts].sort((a, b) => compareIds(a.host, b.host)), context))
}

/** The VWNs that are there, or also those that are gone. */
export async function vwns(context: Context, query: Query): Promise<void> {
  show(context, await context.api.get('/vwns', vwnsReplySchema, query), (reply) => table(vwnColumns, reply.vwns, context))
}

/** The latest jobs. */
export async function jobs(context: Context, query: Query): Promise<void> {
  show(context, await context.api.get('/jobs', jobsReplySchema, query), (reply) => table(jobColumns, reply.jobs, context))
}

/** The VWN types of the mapping in force, and what each host keeps ready of them; on stderr, what is wrong with the file as it is now. */
export async function types(context: Context): Promise<void> {
  show(context, await context.api.get('/types', typesReplySchema), (reply) => {
    const pools = reply.types.flatMap(({ type, pools: some }) => some.map((pool) => ({ ...pool, type })))
    return table(typeColumns, reply.types, context) + (pools.length === 0 ? '' : `\n${table(poolColumns, pools, context)}`) + pendingNotes(reply.types) + templateNotes(reply.types)
  })
  const { mapping } = await context.api.get('/status', statusSchema)
  if (mapping.problem !== null) context.say(`the mapping file is refused, the one before stays in force: ${mapping.problem.message} (${mapping.problem.code})`)
}

const notes = (lines: readonly string[]): string => (lines.length === 0 ? '' : `\n${lines.map((line) => `${plain(line)}\n`).join('')}`)

/** How many jobs batch systems have said to pend, one line each. */
const pendingNotes = (types: readonly TypeView[]): string =>
  notes(types.flatMap(({ type, pending }) => pending.map(({ batchSystem, jobs, agoMs }) => `${type}: ${jobs} pending, as ${batchSystem} said ${duration(agoMs)} ago`)))

/** Why a type has no template on a host, one line each. */
const templateNotes = (types: readonly TypeView[]): string =>
  notes(types.flatMap(({ type, templates }) => templates.flatMap(({ host, state, why }) => (why === null ? [] : [`${type} on ${host}: template ${state}, ${why}`]))))

/** The controller itself: its bus, its mapping, and how many of what there are. */
export async function status(context: Context): Promise<void> {
  const counted = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts).map(([state, count]) => `${count} ${state}`).join(', ') || 'none'
  show(context, await context.api.get('/status', statusSchema), (now) =>
    facts([
      ['controller', `${now.name} ${now.version}, term ${now.term}, up for ${duration(now.nowMs - now.startedAtMs)}`],
      ['bus', now.bus.connected ? 'connected' : 'not connected'],
      ['dropped', `${now.bus.dropped} messages that nobody can read, ${now.bus.stale} that came late`],
      ['mapping', `${now.mapping.file}: ${now.mapping.types} types, ${now.mapping.rules} rules`],
      ['problem', now.mapping.problem === null ? null : `${now.mapping.problem.message} (${now.mapping.problem.code})`],
      ...now.mapping.warnings.map((warning) => ['warning', warning] as const),
      ['hosts', counted(now.counts.hosts)],
      ['vwns', counted(now.counts.vwns)],
      ['jobs', counted(now.counts.jobs)],
    ]))
}

/** The OS images that hosts have. */
export async function images(context: Context): Promise<void> {
  show(context, await context.api.get('/images', imagesReplySchema), (reply) => table(imageColumns, reply.images, context))
}
