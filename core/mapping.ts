/**
 * Which VWN type a job gets. Rules are tried in order and the first one that matches decides, even if it then refuses: an administrator
 * reads the file from the top and stops at the first line that fits. The default rule is tried last.
 */
import type { Amount } from './amount.ts'
import { mountPointProblem, type DirectoryPolicy, type Mount } from './directory.ts'
import { compareIds, type TypeName } from './ids.ts'
import type { ErrorCode } from './errors.ts'
import type { PoolPolicy } from './pool.ts'
import type { ReuseLimits } from './reuse.ts'

/** A kind of VWN that jobs can get. */
export interface VwnType {
  readonly name: TypeName
  /** Name of an OS image, or its digest to pin one; each host resolves it among its own. */
  readonly image: string
  /** For jobs that do not say how much they need. */
  readonly shape: Amount
  readonly network: 'isolated' | 'outbound'
  /** What every job finds mounted. */
  readonly mounts: readonly Mount[]
  /** Where jobs start; null: below a mount where their directory is there, else as they ask. */
  readonly directory: DirectoryPolicy | null
  readonly limits: ReuseLimits
  /** Deadline of one boot attempt. */
  readonly bootMs: number
  /** VWNs of this type at a time, in the whole farm; null is no limit. */
  readonly limit: number | null
  /** How many each host keeps ready for whoever comes. */
  readonly pool: PoolPolicy
}

/** Absent matches everything. A name may hold `*` for any characters. */
export interface Match {
  readonly users?: readonly string[]
  readonly groups?: readonly string[]
  readonly queues?: readonly string[]
  readonly projects?: readonly string[]
  readonly batchSystems?: readonly string[]
  readonly types?: readonly string[]
}

export interface RuleLimits {
  /** VWNs of one user at a time, over this rule's types; null is no limit. */
  readonly perUser: number | null
}

/** What becomes of a job whose host can start no guest: it is given back, runs on the host itself, or is refused for good. */
export const fallbacks = ['requeue', 'bare', 'refuse'] as const
export type Fallback = (typeof fallbacks)[number]

export interface Rule {
  readonly name: string
  readonly match: Match
  /** What the job gets when it does not ask; null: no VWN, it runs on the host itself. */
  readonly type: TypeName | null
  /** What it may ask for instead; `type` is always allowed. */
  readonly allow: readonly TypeName[]
  readonly limits: RuleLimits
  readonly fallback: Fallback
}

export interface Mapping {
  readonly types: readonly VwnType[]
  readonly rules: readonly Rule[]
  /** Its `match` is not looked at; null refuses jobs that no rule matches. */
  readonly default: Rule | null
}

/** Who asks, and for what. */
export interface Who {
  readonly user: string
  readonly groups: readonly string[]
  readonly queue: string | null
  readonly project: string | null
  readonly batchSystem: string | null
  readonly requestedType: TypeName | null
}

export type Resolution =
  | { readonly is: 'matched'; readonly rule: Rule; readonly type: VwnType; readonly allowed: readonly TypeName[] }
  | { readonly is: 'bare'; readonly rule: Rule; readonly allowed: readonly TypeName[] }
  | { readonly is: 'refused'; readonly rule: Rule | null; readonly code: ErrorCode; readonly why: string; readonly allowed: readonly TypeName[] }

/** The VWN type that the mapping gives, or why it gives none. */
export function resolveType(mapping: Mapping, who: Who): Resolution {
  const asked = who.requestedType
  if (asked !== null && typeNamed(mapping, asked) === null) {
    const allowed = matchingRule(mapping, { ...who, requestedType: null })
    return { is: 'refused', rule: null, code: 'TYPE_UNKNOWN', why: `there is no VWN type ${asked}`, allowed: allowed === null ? [] : allowedBy(allowed) }
  }
  const rule = matchingRule(mapping, who)
  if (rule === null) return { is: 'refused', rule: null, code: 'MAPPING_NO_RULE', why: `no rule speaks of ${describe(who)}`, allowed: [] }
  const allowed = allowedBy(rule)
  const name = asked ?? rule.type
  if (name === null) return { is: 'bare', rule, allowed }
  if (!allowed.includes(name)) {
    const why = allowed.length === 0 ? `rule ${rule.name} runs jobs on the host itself and allows no type` : `rule ${rule.name} allows ${allowed.join(', ')}, not ${name}`
    return { is: 'refused', rule, code: 'TYPE_NOT_ALLOWED', why, allowed }
  }
  const type = typeNamed(mapping, name)
  if (type === null) return { is: 'refused', rule, code: 'TYPE_UNKNOWN', why: `rule ${rule.name} gives ${name}, which is not defined`, allowed }
  return { is: 'matched', rule, type, allowed }
}

/** One line of `wnod explain`: what a rule made of the question. `notReached` comes after the rule that decided. */
export interface RuleTrace {
  readonly rule: string
  readonly is: 'matched' | 'noMatch' | 'notReached'
  readonly why: string
}

/** Every rule in order, and why it did or did not decide. */
export function explainMapping(mapping: Mapping, who: Who): readonly RuleTrace[] {
  const traces: RuleTrace[] = []
  let decidedBy: string | null = null
  for (const rule of everyRule(mapping)) {
    if (decidedBy !== null) {
      traces.push({ rule: rule.name, is: 'notReached', why: `${decidedBy} has decided` })
      continue
    }
    const unmet = unmetCondition(rule, who)
    traces.push({ rule: rule.name, is: unmet === null ? 'matched' : 'noMatch', why: unmet ?? met(rule) })
    if (unmet === null) decidedBy = rule.name
  }
  return traces
}

/** What is wrong with a mapping. Errors make it useless; warnings are valid, but surely not what was meant. */
export interface Problem {
  readonly severity: 'error' | 'warning'
  /** Where: `types.el9`, `rules.2.allow.0`, `default.type`. */
  readonly path: readonly (string | number)[]
  readonly message: string
}

/** Everything wrong with a mapping beyond its syntax. */
export function checkMapping(mapping: Mapping): readonly Problem[] {
  const problems: Problem[] = []
  const say: Say = (severity, path, message) => void problems.push({ severity, path, message })
  for (const twice of repeated(mapping.types.map(({ name }) => name))) say('error', ['types', twice], `type ${twice} is defined twice`)
  for (const type of mapping.types) {
    const { name, pool } = type
    if (pool.min > pool.max) say('error', ['types', name, 'pool', 'min'], `${pool.min} is more than max, ${pool.max}`)
    checkMounts(type, say)
  }
  for (const twice of repeated(everyRule(mapping).map(({ name }) => name))) say('error', ['rules'], `two rules are called ${twice}`)
  mapping.rules.forEach((rule, index) => checkRule(mapping, rule, index, say))
  if (mapping.default !== null) checkTypes(mapping, mapping.default, ['default'], say)
  checkCompleteness(mapping, say)
  const used = new Set(everyRule(mapping).flatMap(allowedBy))
  for (const { name } of mapping.types) if (!used.has(name)) say('warning', ['types', name], `no rule gives type ${name}`)
  return problems
}

type Say = (severity: Problem['severity'], path: Problem['path'], message: string) => void

function checkRule(mapping: Mapping, rule: Rule, index: number, say: Say): void {
  const path = ['rules', index]
  checkTypes(mapping, rule, path, say)
  const shadow = mapping.rules.slice(0, index).find((earlier) => covers(earlier.match, rule.match))
  if (shadow !== undefined) say('warning', path, `is never reached: ${shadow.name} matches everything that it matches`)
  for (const [condition, names] of Object.entries(rule.match)) {
    if (names.length === 0) say('error', [...path, 'match', condition], 'is empty and so matches nothing')
  }
  for (const name of rule.match.types ?? []) {
    const allowed = name.includes('*') || allowedBy(rule).some((each) => each === name)
    if (!allowed) say('warning', [...path, 'match', 'types'], `type ${name} is matched, but not allowed`)
  }
}

function checkMounts({ name, mounts, directory }: VwnType, say: Say): void {
  const path = ['types', name, 'mounts']
  mounts.forEach(({ at }, index) => {
    const problem = mountPointProblem(at)
    if (problem !== null) say('error', [...path, index, 'at'], `${at} ${problem}`)
    if (mounts.findIndex((other) => other.at === at) < index) say('error', [...path, index, 'at'], `something else is mounted at ${at} already`)
  })
  if (directory === 'shared' && mounts.length === 0) say('error', ['types', name, 'directory'], 'is shared, and the type has no `mounts`: every job would be refused')
}

function checkTypes(mapping: Mapping, rule: Rule, path: Problem['path'], say: Say): void {
  const unknown = (name: TypeName): boolean => typeNamed(mapping, name) === null
  if (rule.type !== null && unknown(rule.type)) {
    say('error', [...path, 'type'], `there is no VWN type ${rule.type}${rule.type === 'bare' ? '; to run jobs on the host itself, write `bare: true`' : ''}`)
  }
  rule.allow.forEach((name, index) => {
    if (unknown(name)) say('error', [...path, 'allow', index], `there is no VWN type ${name}`)
  })
}

function checkCompleteness(mapping: Mapping, say: Say): void {
  if (mapping.default !== null || mapping.rules.some((rule) => covers(rule.match, {}))) return
  if (mapping.rules.length === 0) say('error', ['rules'], 'has neither a rule nor a default: every job would be refused')
  else say('warning', ['default'], 'has no default: jobs that no rule matches are refused')
}

/** The rule's types, its own first and each once. */
export const allowedBy = ({ type, allow }: Pick<Rule, 'type' | 'allow'>): readonly TypeName[] =>
  [...(type === null ? [] : [type]), ...new Set([...allow].filter((name) => name !== type).sort(compareIds))]

/** The type with this name, or null. */
export const typeNamed = (mapping: Mapping, name: TypeName): VwnType | null => mapping.types.find((type) => type.name === name) ?? null

const everyRule = (mapping: Mapping): readonly Rule[] => (mapping.default === null ? mapping.rules : [...mapping.rules, { ...mapping.default, match: {} }])
const matchingRule = (mapping: Mapping, who: Who): Rule | null => everyRule(mapping).find((rule) => unmetCondition(rule, who) === null) ?? null

function unmetCondition({ match }: Rule, who: Who): string | null {
  const asked = [
    ['user', match.users, [who.user]],
    ['group', match.groups, who.groups],
    ['queue', match.queues, some(who.queue)],
    ['project', match.projects, some(who.project)],
    ['batch system', match.batchSystems, some(who.batchSystem)],
    ['requested type', match.types, some(who.requestedType)],
  ] as const
  for (const [word, wanted, has] of asked) {
    if (wanted === undefined || has.some((value) => wanted.some((pattern) => matches(pattern, value)))) continue
    return `${word} ${has.length === 0 ? 'is not given' : `${has.join(', ')} is`}${has.length === 0 ? ', wanted' : ' not'} ${wanted.join(' or ')}`
  }
  return null
}

const some = (value: string | null): readonly string[] => (value === null ? [] : [value])

function met({ match }: Rule): string {
  const conditions = Object.entries(match).map(([word, names]) => `${word} ${(names as readonly string[]).join(' or ')}`)
  return conditions.length === 0 ? 'matches every job' : conditions.join(', ')
}

/** `*` stands for any characters; everything else for itself. Linear in the product of the lengths, whatever the pattern. */
export function matches(pattern: string, value: string): boolean {
  const [head = '', ...rest] = pattern.split('*')
  const tail = rest.pop()
  if (tail === undefined) return pattern === value
  if (!value.startsWith(head) || value.length < head.length + tail.length || !value.endsWith(tail)) return false
  let from = head.length
  for (const part of rest) {
    const found = value.indexOf(part, from)
    if (found < 0 || found + part.length > value.length - tail.length) return false
    from = found + part.length
  }
  return true
}

/** True when every job that `narrow` matches is matched by `wide` too. Patterns are compared as text, so it may miss some. */
function covers(wide: Match, narrow: Match): boolean {
  return (['users', 'groups', 'queues', 'projects', 'batchSystems', 'types'] as const).every((condition) => {
    const [some, fewer] = [wide[condition], narrow[condition]]
    return some === undefined || (fewer !== undefined && fewer.length > 0 && fewer.every((name) => some.some((pattern) => pattern === name || matches(pattern, name))))
  })
}

const repeated = <T>(values: readonly T[]): readonly T[] => [...new Set(values.filter((value, index) => values.indexOf(value) !== index))]

function describe(who: Who): string {
  const parts = [`user ${who.user}`, ...(who.queue === null ? [] : [`queue ${who.queue}`]), ...(who.project === null ? [] : [`project ${who.project}`])]
  return parts.join(', ')
}
