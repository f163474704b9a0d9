/** docs/json.md, printed from the schemas that the command line checks what it prints against. */
import { z } from 'zod'
import {
  explanationSchema, hostViewSchema, imageViewSchema, jobViewSchema, receiptSchema, statusSchema, typeViewSchema, vwnDetailSchema, vwnViewSchema,
} from '../../wire/api.ts'
import { consoleReplySchema, samplesReplySchema } from '../../wire/look.ts'
import { farmEventSchema } from '../../wire/history.ts'

/** What there is to print; a thing that has all of another names it. */
const things: readonly { readonly name: string; readonly schema: z.ZodType; readonly like?: { readonly name: string; readonly schema: z.ZodType } }[] = [
  { name: 'host', schema: hostViewSchema },
  { name: 'vwn', schema: vwnViewSchema },
  { name: 'vwn in full', schema: vwnDetailSchema, like: { name: 'vwn', schema: vwnViewSchema } },
  { name: 'job', schema: jobViewSchema },
  { name: 'receipt', schema: receiptSchema, like: { name: 'job', schema: jobViewSchema } },
  { name: 'type', schema: typeViewSchema },
  { name: 'image', schema: imageViewSchema },
  { name: 'event', schema: farmEventSchema },
  { name: 'samples', schema: samplesReplySchema },
  { name: 'piece of a console', schema: consoleReplySchema },
  { name: 'status', schema: statusSchema },
  { name: 'explanation', schema: explanationSchema },
]

const head = `# What --json prints

Printed by \`npm run docs\` from [wire/](../wire); a test compares. UTF-8, one JSON value on stdout; \`wnod events --json\` prints one value on each line instead, as does
\`--follow\`. Words and failures are on stderr, the exit status is the same as without \`--json\`. Nothing is cut, left out or coloured, whatever the terminal.

Fields are added as needed, so ignore those that you do not know. None is taken away, renamed or given another meaning but in a version whose entry in
[CHANGELOG.md](../CHANGELOG.md) says **Breaking**. Times (\`…Ms\`) are milliseconds, those of moments (\`atMs\`, \`sinceMs\`, \`…AtMs\`) since 1970. A field that says *or null* is
always there. \`x[]\` is each element of the list \`x\`.

| command | prints |
|---|---|
| \`wnod hosts\`, \`vwns\`, \`jobs\`, \`types\`, \`images\` | an object with a list of that name: \`{ "hosts": [host, …] }\` |
| \`wnod show ID\` | a host, a vwn in full or a job |
| \`wnod events\` | events |
| \`wnod samples VWN\` | samples |
| \`wnod console VWN\` | pieces of a console, one on each line |
| \`wnod receipt\`, \`explain\`, \`status\` | what its name says |
| \`wnod drain\`, \`undrain\`, \`kill\` | \`{ "host": host }\`, \`{ "vwn": vwn }\` |
`

/** The whole page. */
export const page = (): string => head + things.map(({ name, schema, like }) => `\n## ${name}\n\n${like === undefined ? '' : `All of a ${like.name}, and:\n\n`}| field | |\n|---|---|\n${rows(schema, like?.schema)}`).join('')

function rows(schema: z.ZodType, without?: z.ZodType): string {
  const known = new Set(without === undefined ? [] : fieldsOf('', inJson(without)).map(([name]) => name))
  return fieldsOf('', inJson(schema)).filter(([name]) => !known.has(name)).map(([name, words]) => `| \`${name}\` | ${words} |\n`).join('')
}

/** What of JSON Schema zod writes for what can be sent as JSON. */
interface Shape {
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, Shape>>
  readonly additionalProperties?: Shape | boolean
  readonly items?: Shape
  readonly anyOf?: readonly Shape[]
  readonly oneOf?: readonly Shape[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
}

const inJson = (schema: z.ZodType): Shape => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Shape

const isNull = ({ type }: Shape): boolean => type === 'null'
/** All that it can be. */
function variants(shape: Shape): readonly Shape[] {
  const { anyOf, oneOf, type } = shape
  if (Array.isArray(type)) return type.map((one: string) => ({ ...shape, type: one }))
  const some = anyOf ?? oneOf
  return some === undefined ? [shape] : some.flatMap(variants)
}

/** Every field that is in it at any depth, with its words. */
function fieldsOf(prefix: string, shape: Shape): readonly (readonly [string, string])[] {
  const fields = new Map<string, Shape[]>()
  for (const { properties = {} } of variants(shape)) for (const [name, field] of Object.entries(properties)) fields.set(name, [...(fields.get(name) ?? []), field])
  return [...fields].flatMap(([name, alike]) => {
    const field = alike.length === 1 && alike[0] !== undefined ? alike[0] : { anyOf: alike }
    const path = `${prefix}${name}`
    const items = variants(field).flatMap(({ items: each }) => each ?? [])
    const within = fieldsOf(`${path}.`, field)
    const own = within.length > 0 && wordsOf(field) === 'object' ? [] : [[path, wordsOf(field)] as const]
    return [...own, ...within, ...items.flatMap((each) => fieldsOf(`${path}[].`, each))]
  })
}

const wordsOf = (shape: Shape): string => {
  const all = variants(shape)
  const words = [...new Set(all.filter((one) => !isNull(one)).map(simple))].join(', ')
  return all.some(isNull) ? `${words} or null` : words
}

function simple({ type, enum: values, const: only, items, additionalProperties }: Shape): string {
  if (only !== undefined) return `\`${String(only)}\``
  if (values !== undefined) return values.map((value) => `\`${String(value)}\``).join(', ')
  if (type === 'array') return items === undefined ? 'list' : `list of ${wordsOf(items)}`
  if (type === 'object') return typeof additionalProperties === 'object' && additionalProperties.type !== undefined ? `object of ${wordsOf(additionalProperties)}` : 'object'
  return String(type ?? 'anything')
}
