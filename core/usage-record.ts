/**
 * Accounting records as Usage Records of the Open Grid Forum, version 1.0 (GFD.98): the version that accounting services take in. Order, names and
 * types are those of its schema. What the schema has no element for is told as `TimeDuration`, `Resource` or `ConsumableResource`.
 */
import type { AccountingRecord } from './accounting.ts'

/** Name space of the schema; every element and attribute is in it. */
export const usageRecordNamespace = 'http://schema.ogf.org/urf/2003/09/urf'

/** A document with these parts between is one of usage records. */
export const usageRecordsHead = `<?xml version="1.0" encoding="UTF-8"?>\n<urf:UsageRecords xmlns:urf="${usageRecordNamespace}">\n`
export const usageRecordsTail = '</urf:UsageRecords>\n'

/** One record; `farm` makes its identity unique among farms. */
export function usageRecord(record: AccountingRecord, farm: string): string {
  const lines = [
    empty('RecordIdentity', { recordId: `${token(farm)}/${record.record}`, createTime: instant(record.endedAtMs) }),
    nested('JobIdentity', [
      element('GlobalJobId', `${token(farm)}/${record.job}`),
      record.batchJobId === null ? '' : element('LocalJobId', record.batchJobId),
    ]),
    nested('UserIdentity', [element('LocalUserId', record.user)]),
    element('JobName', record.name),
    element('Status', statusOf(record)),
    ...volumes(record),
    ...phases(record),
    element('WallDuration', seconds(record.wallMs)),
    ...cpu('user', record.cpuUserMs),
    ...cpu('system', record.cpuSystemMs),
    ...(record.cpus === null ? [] : [element('Processors', record.cpus)]),
    element('EndTime', instant(Math.max(record.submittedAtMs, record.endedAtMs))),
    element('StartTime', instant(record.submittedAtMs)),
    ...(isDomainName(record.host) ? [element('MachineName', record.host)] : []),
    ...(record.queue === null ? [] : [element('Queue', record.queue)]),
    ...(record.project === null ? [] : [element('ProjectName', record.project)]),
    ...resources(record),
  ]
  return `<urf:JobUsageRecord>\n${lines.map((line) => `  ${line}\n`).join('')}</urf:JobUsageRecord>\n`
}

function statusOf({ cause, exitCode }: AccountingRecord): string {
  switch (cause) {
    case 'exited': return exitCode === 0 ? 'Completed' : 'Failed'
    case 'signalled': case 'outOfMemory': case 'timeLimit': return 'Failed'
    case 'cancelled': case 'lost': case 'refused': return 'Aborted'
    case 'bare': return 'Started' // its starter became it: how that ended is on the batch system's record
    default: return cause satisfies never
  }
}

/** The schema takes positive numbers only. */
function volumes({ memoryPeakBytes }: AccountingRecord): string[] {
  return memoryPeakBytes === null || memoryPeakBytes === 0 ? [] : [element('Memory', memoryPeakBytes, { storageUnit: 'B', metric: 'max', type: 'physical' })]
}

const phaseNames = ['wait', 'boot', 'contact', 'stage', 'start', 'run', 'collect', 'other', 'scrub', 'overhead'] as const
const phases = (record: AccountingRecord): string[] => [
  ...phaseNames.map((phase) => element('TimeDuration', seconds(record[`${phase}Ms`]), { type: phase })),
  ...(record.startedAtMs === null ? [] : [element('TimeInstant', instant(record.startedAtMs), { type: 'start' })]),
]

const cpu = (usageType: 'user' | 'system', ms: number | null): string[] => (ms === null ? [] : [element('CpuDuration', seconds(ms), { usageType })])

const texts = ['group', 'batchSystem', 'host', 'type', 'vwn', 'image', 'made', 'cause', 'exitCode', 'signal', 'failure'] as const
const amounts = [['memoryMib', 'MiB'], ['scratchGib', 'GiB'], ['readBytes', 'B'], ['writtenBytes', 'B']] as const
const resources = (record: AccountingRecord): string[] => [
  ...texts.flatMap((description) => (record[description] === null ? [] : [element('Resource', record[description], { description })])),
  ...amounts.flatMap(([description, units]) => (record[description] === null ? [] : [element('ConsumableResource', record[description], { units, description })])),
]

type Attributes = Readonly<Record<string, string>>
const attributes = (pairs: Attributes): string => Object.entries(pairs).map(([name, value]) => ` urf:${name}="${escaped(value)}"`).join('')
const element = (name: string, value: string | number, pairs: Attributes = {}): string => `<urf:${name}${attributes(pairs)}>${escaped(String(value))}</urf:${name}>`
const empty = (name: string, pairs: Attributes): string => `<urf:${name}${attributes(pairs)}/>`
const nested = (name: string, parts: readonly string[]): string => `<urf:${name}>${parts.join('')}</urf:${name}>`

const seconds = (ms: number): string => `PT${ms / 1_000}S`
/** The last moment that a year of four digits has. */
const lastMs = 253_402_300_799_999
const instant = (ms: number): string => new Date(Math.min(ms, lastMs)).toISOString()

/** A token has no spaces at its ends and no two in a row. */
const token = (text: string): string => text.trim().replace(/\s+/g, ' ')

/** What the schema takes for the name of a machine: every part has two characters or more. */
const isDomainName = (text: string): boolean => text.length <= 255 && /^([a-zA-Z0-9][a-zA-Z0-9'-]*[a-zA-Z0-9]\.)*([a-zA-Z0-9][a-zA-Z0-9'-]*[a-zA-Z0-9])$/.test(text)

/** XML has no way to say most control characters, nor half a surrogate pair; a carriage return would not survive as it is. */
function escaped(text: string): string {
  const marks: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\t': '&#9;', '\n': '&#10;', '\r': '&#13;' }
  return text
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd')
    .replace(/[&<>"\t\n\r]/g, (mark) => marks[mark] ?? mark)
}
