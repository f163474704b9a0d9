/** What the API says of itself: OpenAPI 3.1, from the table of routes and the schemas that its clients check by. */
import { z } from 'zod'
import { version } from '../../kit/version.ts'
import { errorReplySchema } from '../../wire/api.ts'
import { get, type Route } from './routes.ts'

type Json = Readonly<Record<string, unknown>>

/** The table, and one route more that describes all of them, itself too. */
export function withDescription(routes: readonly Route[]): readonly Route[] {
  const all = [...routes]
  all.push(get('/v1/openapi.json', { says: 'This description.', reply: { OpenApi: openApiSchema } }, () => described))
  const described = openApi(all)
  return all
}
const openApiSchema = z.looseObject({ openapi: z.string(), paths: z.record(z.string(), z.record(z.string(), z.looseObject({}))) })

/** The document that describes these routes. */
export function openApi(routes: readonly Route[]): z.output<typeof openApiSchema> {
  const schemas: Record<string, Json> = { Error: schemaOf(errorReplySchema) }
  const paths: Record<string, Record<string, Json>> = {}
  for (const route of routes) {
    if (route.reply.is === 'json') for (const [name, schema] of Object.entries(route.reply.named)) schemas[name] = schemaOf(schema)
    const path = route.path.replaceAll(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'wnod', version, description: 'Worker nodes on demand: what the controller answers. Orders (POST) are taken on the operator’s unix socket only.', license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    paths,
    components: { schemas, securitySchemes: { token: { type: 'http', scheme: 'bearer' }, cookie: { type: 'apiKey', in: 'cookie', name: 'wnod_token' } } },
    security: [{}, { token: [] }, { cookie: [] }],
  }
}

function operation({ path, says, query, status, reply, open }: Route): Json {
  return {
    summary: says,
    parameters: [...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string' } })), ...parametersIn(query)],
    responses: { [status]: reply.is === 'json' ? jsonReply(reply.named) : eventsReply(reply.named), default: { description: 'Why not.', content: { 'application/json': { schema: ref('Error') } } } },
    ...(open ? { security: [{}] } : {}),
  }
}

const jsonReply = (named: Route['reply']['named']): Json =>
  ({ description: 'The answer.', content: { 'application/json': { schema: ref(Object.keys(named)[0] ?? '') } } })

/** OpenAPI 3.1 has no word for the events of a stream: their kinds and schemas are named beside it. */
const eventsReply = (named: Route['reply']['named']): Json => ({
  description: `Server-sent events: ${Object.keys(named).join(', ')}.`,
  content: { 'text/event-stream': { schema: { type: 'string' }, 'x-events': Object.fromEntries(Object.entries(named).map(([name, schema]) => [name, schemaOf(schema)])) } },
})

function parametersIn(query: z.ZodObject): Json[] {
  const { properties = {}, required = [] } = schemaOf(query) as { properties?: Record<string, Json>; required?: string[] }
  return Object.entries(properties).map(([name, schema]) => ({ name, in: 'query', required: required.includes(name), schema }))
}

const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` })

/** As it crosses the wire: before ids are branded and defaults filled in. */
function schemaOf(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  return rest
}
