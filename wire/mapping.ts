/**
 * The mapping file: which VWN type a job gets. YAML in snake_case, as administrators write it; `controller/mapping.ts` turns it
 * into core's terms. A commented example is `controller/mapping.example.yaml`.
 */
import { z } from 'zod'
import { directoryPolicies, unknownMountOption } from '../core/directory.ts'
import { idPatterns } from '../core/ids.ts'
import { fallbacks } from '../core/mapping.ts'
import { readyMax } from '../core/pool.ts'
import { reusePolicies } from '../core/reuse.ts'
import { shapeSchema } from './common.ts'

/** Largest mapping file that is read. */
export const mappingBytesMax = 1024 * 1024

const typeNameText = z.string().regex(idPatterns.type, 'a type is named by letters, digits, dot, dash and underscore')
/** How many VWNs of a type each host keeps ready, nobody's yet. */
const poolSchema = z.strictObject({
  /** Kept ready though nobody asks. */
  min: z.int().min(0).max(readyMax).default(0),
  /** Kept ready however many ask. */
  max: z.int().min(0).max(readyMax).default(10),
  /** Part of the host's memory that they may hold together. */
  memory_share: z.number().min(0).max(1).default(0.25),
})

const seconds = z.int().min(1).max(366 * 86_400)

const reuseSchema = z.enum(reusePolicies, {
  error: ({ input }) => `is one of ${reusePolicies.join(', ')}${typeof input === 'boolean' ? `: write ${input ? 'same-user' : 'never'}` : ''}`,
})

/** `server:/export`, as mount(8) takes it; an IPv6 address stands in brackets. */
export const nfsPattern = /^(?:([A-Za-z0-9][A-Za-z0-9._-]{0,252})|\[([0-9A-Fa-f:.]+)\]):(\/[\x21-\x7e]*)$/
const mountSchema = z.strictObject({
  nfs: z.string().max(1024).regex(nfsPattern, 'is a server and the path that it exports: `server:/export`'),
  /** Where it is on the hosts, and so in the guest. */
  at: z.string().max(1024).regex(/^\/[\x21-\x7e]*$/, 'is an absolute path without blanks'),
  port: z.int().min(1).max(65_535).default(2049),
  read_only: z.boolean().default(false),
  /** As mount.nfs(8) takes them, separated by commas. */
  options: z.string().max(256).regex(/^(|[a-z]+(=[a-z0-9]+)?(,[a-z]+(=[a-z0-9]+)?)*)$/, 'are `name` or `name=value`, separated by commas').superRefine((options, context) => {
    const unknown = unknownMountOption(options)
    if (unknown !== null) context.addIssue({ code: 'custom', message: `${unknown} is none that a guest may have` })
  }).default(''),
})
export type MappingMount = z.output<typeof mountSchema>
/** Mounts of one type; each job waits for all of them. */
const mountsMax = 32

const mappingTypeSchema = z.strictObject({
  /** Name of an OS image, or its digest to pin one. */
  image: z.string().min(1).max(64),
  cpus: shapeSchema.shape.cpus.default(1),
  memory_mib: shapeSchema.shape.memoryMib.default(1024),
  scratch_gib: shapeSchema.shape.scratchGib.default(4),
  network: z.enum(['isolated', 'outbound']).default('isolated'),
  /** File systems that every job finds where its host has them. */
  mounts: z.array(mountSchema).max(mountsMax).default([]),
  /** Where jobs start; without it, below a mount if their directory is there, else as they ask. */
  directory: z.enum(directoryPolicies, { error: () => `is one of ${directoryPolicies.join(', ')}` }).nullable().default(null),
  /** Whose jobs may come after the first; `never`: a VWN of this type runs one job and is removed. */
  reuse: reuseSchema.default('same-user'),
  jobs_max: z.int().min(1).max(1_000_000).default(100),
  age_max_s: seconds.default(86_400),
  /** How long an idle VWN waits for the next job. */
  idle_max_s: seconds.default(300),
  /** Of one boot attempt; a boot is attempted twice. */
  boot_deadline_s: z.int().min(1).max(3600).default(120),
  /** VWNs of this type at a time, in the whole farm; null is no limit. */
  limit: z.int().min(0).max(1_000_000).nullable().default(null),
  /** Null: none is kept ready. */
  pool: poolSchema.nullable().default(null),
})
export type MappingType = z.output<typeof mappingTypeSchema>

const name = z.string().min(1).max(256)
const names = z.union([name, z.array(name).min(1).max(1024)], 'a name or a list of names')
const condition = {
  user: names, users: names, group: names, groups: names, queue: names, queues: names, project: names, projects: names,
  batch_system: names, batch_systems: names, type: names, types: names,
}
/** Singular and plural mean the same: the job has one of these. Several conditions must all hold; none at all matches every job. */
const matchSchema = z.strictObject(condition).partial()
export type MappingMatch = z.output<typeof matchSchema>

const limitsSchema = z.strictObject({
  /** VWNs of one user at a time, over this rule's types; null is no limit. */
  per_user: z.int().min(0).max(1_000_000).nullable().default(null),
})
const decision = {
  /** What the job gets when it does not ask; there is this or `bare`. */
  type: typeNameText.optional(),
  /** The job runs on the host itself, in no VWN. */
  bare: z.boolean().default(false),
  /** Types that a user may ask for instead; `type` is always allowed. */
  allow: z.array(typeNameText).max(1024).default([]),
  limits: limitsSchema.prefault({}),
  /** What becomes of a job whose host can start no guest; without it, `requeue`. */
  fallback: z.enum(fallbacks, { error: () => `is one of ${fallbacks.join(', ')}` }).optional(),
}

interface Decision {
  readonly type?: string | undefined
  readonly bare: boolean
  readonly allow: readonly string[]
  readonly limits: z.output<typeof limitsSchema>
  readonly fallback?: string | undefined
}

/** What a decision says against itself, at the key that is too much or missing. */
function contradictions(rule: Decision, context: { addIssue(issue: { code: 'custom'; path: string[]; message: string }): void }): void {
  const say = (key: keyof Decision, message: string): void => context.addIssue({ code: 'custom', path: [key], message })
  if (rule.type === undefined && !rule.bare) say('type', 'is missing: the name of a VWN type, or `bare: true` for jobs that run on the host itself')
  if (!rule.bare) return
  if (rule.type !== undefined) say('type', 'contradicts `bare: true`: such jobs get no VWN unless they ask for one that `allow` names')
  if (rule.allow.length > 0) return
  if (rule.fallback !== undefined) say('fallback', 'is for jobs that get a VWN, and `bare: true` without `allow` gives none')
  if (rule.limits.per_user !== null) say('limits', 'count VWNs, and `bare: true` without `allow` gives none')
}

const mappingRuleSchema = z.strictObject({ name: name.optional(), match: matchSchema.default({}), ...decision }).superRefine(contradictions)
export type MappingRule = z.output<typeof mappingRuleSchema>

/** The whole file. */
export const mappingFileSchema = z.strictObject({
  types: z.record(typeNameText, mappingTypeSchema),
  rules: z.array(mappingRuleSchema).max(10_000).default([]),
  /** For jobs that no rule matches; without it such a job is refused. */
  default: z.strictObject(decision).superRefine(contradictions).nullable().default(null),
})
export type MappingFile = z.output<typeof mappingFileSchema>
