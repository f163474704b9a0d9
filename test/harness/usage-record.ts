/** What is wrong with a document of usage records (GFD.98): a small, strict reader of XML, and a table of what the schema allows where. */
import { usageRecordNamespace } from '../../core/usage-record.ts'

interface Element {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: Element[]
  text: string
}

const dateTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/
const duration = /^PT\d+(\.\d+)?S$/
const positive = /^[1-9]\d*$/
const number = /^\d+(\.\d+)?$/
const token = /^\S+( \S+)*$/
const text = /^[^]*$/
const domain = /^([a-zA-Z0-9][a-zA-Z0-9'-]*[a-zA-Z0-9]\.)*([a-zA-Z0-9][a-zA-Z0-9'-]*[a-zA-Z0-9])?$/

/** Groups in their order; within one, any order. How often: required, at most so many times. */
const groups: readonly (readonly { readonly name: string; readonly least?: number; readonly most?: number; readonly value: RegExp; readonly attributes?: Readonly<Record<string, RegExp>> }[])[] = [
  [{ name: 'RecordIdentity', least: 1, most: 1, value: /^$/, attributes: { recordId: token, createTime: dateTime } }],
  [{ name: 'JobIdentity', most: 1, value: /^$/ }],
  [{ name: 'UserIdentity', value: /^$/ }],
  [{ name: 'JobName', most: 1, value: text }],
  [{ name: 'Charge', most: 1, value: number }],
  [{ name: 'Status', least: 1, most: 1, value: /^(Aborted|Completed|Failed|Held|Queued|Started|Suspended)$/ }],
  [
    { name: 'Memory', value: positive, attributes: { storageUnit: /^[KMGPE]?[bB]$/, metric: token, type: token } },
    { name: 'TimeDuration', value: duration, attributes: { type: token } },
    { name: 'TimeInstant', value: dateTime, attributes: { type: token } },
  ],
  [
    { name: 'WallDuration', most: 1, value: duration },
    { name: 'CpuDuration', most: 2, value: duration, attributes: { usageType: /^(user|system)$/ } },
    { name: 'Processors', most: 1, value: positive },
    { name: 'EndTime', most: 1, value: dateTime },
    { name: 'StartTime', most: 1, value: dateTime },
    { name: 'MachineName', most: 1, value: domain },
    { name: 'Queue', most: 1, value: text },
    { name: 'ProjectName', value: text },
    { name: 'Resource', value: text, attributes: { description: text } },
    { name: 'ConsumableResource', value: number, attributes: { units: text, description: text } },
  ],
]
const identities: Readonly<Record<string, readonly string[]>> = { JobIdentity: ['GlobalJobId', 'LocalJobId', 'ProcessId'], UserIdentity: ['LocalUserId', 'GlobalUserName'] }

/** One sentence per offence; none: the document is valid. */
export function usageRecordProblems(document: string): string[] {
  if (!document.startsWith('<?xml version="1.0" encoding="UTF-8"?>\n')) return ['no declaration']
  const root = parse(document.slice(document.indexOf('\n') + 1))
  if (root.name !== 'UsageRecords' || root.attributes['xmlns:urf'] !== usageRecordNamespace) return ['the root is no UsageRecords of the name space']
  return root.children.flatMap((record) => (record.name === 'JobUsageRecord' ? problemsOf(record) : [`${record.name} stands where a record should`]))
}

function problemsOf(record: Element): string[] {
  const problems: string[] = []
  let group = 0
  for (const child of record.children) {
    const at = groups.findIndex((some) => some.some(({ name }) => name === child.name))
    const rule = groups[at]?.find(({ name }) => name === child.name)
    if (rule === undefined) { problems.push(`${child.name} is no element of a record`); continue }
    if (at < group) problems.push(`${child.name} comes too late`)
    group = at
    if (!rule.value.test(child.text)) problems.push(`${child.name} has the value ${JSON.stringify(child.text)}`)
    for (const [name, value] of Object.entries(child.attributes)) {
      if (rule.attributes?.[name.replace(/^urf:/, '')]?.test(value) !== true || !name.startsWith('urf:')) problems.push(`${child.name} has the attribute ${name}=${JSON.stringify(value)}`)
    }
    const places = child.children.map(({ name }) => identities[child.name]?.indexOf(name) ?? -1)
    if (places.some((place, index) => place < 0 || place <= (places[index - 1] ?? -1))) problems.push(`${child.name} has other parts, or in another order`)
  }
  for (const { name, least = 0, most = Infinity } of groups.flat()) {
    const count = record.children.filter((child) => child.name === name).length
    if (count < least || count > most) problems.push(`${name} is there ${count} times`)
  }
  return problems
}

/** Elements with prefix `urf:`, attributes, text with the five entities and numbers; nothing else is understood. */
function parse(source: string): Element {
  const root: Element = { name: '', attributes: {}, children: [], text: '' }
  const open = [root]
  const pieces = /<urf:([A-Za-z]+)((?: [a-z]+:[A-Za-z]+="[^"<]*")*)(\/?)>|<\/urf:([A-Za-z]+)>|([^<]+)/gy
  let end = 0
  for (const [whole, name, attributes = '', closed, closing, characters] of source.matchAll(pieces)) {
    const inner = open.at(-1) ?? root
    end += whole.length
    if (name !== undefined) {
      const element: Element = { name, attributes: Object.fromEntries([...attributes.matchAll(/ ([^=]+)="([^"]*)"/g)].map(([, key = '', value = '']) => [key, decoded(value)])), children: [], text: '' }
      inner.children.push(element)
      if (closed === '') open.push(element)
    } else if (closing !== undefined) {
      if (open.pop()?.name !== closing) throw new Error(`</urf:${closing}> closes another element`)
      if (inner.children.length > 0) inner.text = inner.text.trim()
    } else inner.text += decoded(characters ?? '')
  }
  const [only] = root.children
  if (end !== source.length || open.length !== 1 || only === undefined) throw new Error(`not well-formed at ${end}: ${source.slice(end, end + 80)}`)
  return only
}

function decoded(text: string): string {
  // The characters that XML 1.0 has (production 2).
  const foreign = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u.exec(text)
  if (foreign !== null || /&(?!(amp|lt|gt|quot|#\d+);)/.test(text)) throw new Error(`no text of XML: ${JSON.stringify(text)}`)
  const marks: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"' }
  return text.replace(/&(?:#(\d+)|([a-z]+));/g, (_, code: string | undefined, mark: string) => (code === undefined ? (marks[mark] ?? '') : String.fromCodePoint(Number(code))))
}
