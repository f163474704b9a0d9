import { z } from 'zod'
import { readRoutes } from '../../controller/http/read.ts'
import type { Route } from '../../controller/http/routes.ts'
import { withDescription } from '../../controller/http/openapi.ts'
import { verbRoutes } from '../../controller/http/verbs.ts'

/** The text of docs/api.md. */
export function page(): string {
  return [
    '# HTTP API',
    'The tables are printed from the routes themselves by `npm run docs`; `GET /v1/openapi.json` says the same to programs (OpenAPI 3.1), with every shape. Over TCP the controller only reads. Orders are taken on the operator\'s unix socket (mode 0600), which answers everything below.',
    'Answers are JSON; times are milliseconds since 1970. A refusal is `{ code, message, hint, facts }` with the HTTP status of its [code](errors.md). Clients ignore fields that they do not know. An answer has an `ETag`; who sends it as `If-None-Match` gets 304 while it holds.',
    '## Token',
    'With `token_file` in `[http]` every request over TCP but `/healthz` shows the token, as `Authorization: Bearer TOKEN` or as the cookie `wnod_token`; else 401 `TOKEN_REQUIRED`. A controller that listens elsewhere than on the loopback does not start without one. It is read once, at the start.',
    '## Addresses',
    table(withDescription(readRoutes)),
    '## Orders',
    table(verbRoutes),
    '## Lists',
    '`/v1/vwns` and `/v1/jobs` have the newest first, `limit` of them. `next` in the answer is the `cursor` of the next page, and null on the last one; what comes in front meanwhile moves no page. `fields=job,state` leaves everything else out of the rows.',
    '## Watching',
    'A watcher fetches `/v1/farm`, keeps the rows by id, and follows `/v1/changes?since=GENERATION`. The generation rises with every change that the farm shows, and with no heartbeat. Each `change` has whole rows, so the last one said of an id counts; one whose generation is not above what the watcher has is ignored; VWNs that are `gone` and jobs that have `ended` are dropped. On `reset` (another database, or more missed than is worth telling) the farm is fetched again, and the same connection goes on with what comes after.',
    'Changes come within 200 ms, a `tick` at once and then every 5 s: who hears none for long is cut off, not up to date. A browser\'s `EventSource` comes back by itself and says the last id that it had; no change is missed, over restarts of the controller either. Who does not read is dropped when 1 MiB waits for it.',
    '`/v1/events/follow` tells events the same way; ids are theirs.',
    '## One VWN, now',
    '`/v1/vwns/{id}/samples` and `/console` are asked of the host of the VWN while the request waits: 503 `HOST_AWAY` when its bait does not answer within 3 s, 404 `VWN_UNSEEN` when it has nothing of that VWN. Samples are sums since the VM was started, taken every `everyMs` for an hour; ask for more with `since=` the last `atMs`. A figure that cannot be had is null. Of a console each answer has `next`, which is the `from` of the next question; an answer whose `from` is later than asked for has left out what was between. [Decision 0018](decisions/0018-who-looks-asks-the-host.md) says where the figures come from.',
    '## The past',
    '`/v1/history?at=MS` is the farm at that moment: VWNs from their recorded events, jobs from their times. What nobody recorded is null: `want`, `fact`, `capacity` and `broken` of hosts, `paused` of VWNs, `state`, `made` and `why` of jobs. `history.days` in the settings says how long is kept.',
    '',
  ].join('\n\n').replace(/\n+$/, '\n')
}

function table(routes: readonly Route[]): string {
  const rows = routes.map((route) => `| \`${route.method} ${route.path.replaceAll(/:(\w+)/g, '{$1}')}\` | ${route.says} | ${comesBack(route)} | ${parameters(route.query)} |`)
  return ['| address | what it says | answer | parameters |', '|---|---|---|---|', ...rows].join('\n')
}

const comesBack = ({ reply: { is, named } }: Route): string =>
  is === 'text' ? 'text' : is === 'json' ? `\`${Object.keys(named).join('`, `')}\`` : `events ${Object.keys(named).map((name) => `\`${name}\``).join(', ')}`

function parameters(query: z.ZodObject): string {
  const { properties = {}, required = [] } = z.toJSONSchema(query, { io: 'input', unrepresentable: 'any' })
  return Object.entries(properties).map(([name, schema]) => `\`${name}\`${required.includes(name) ? ' (required)' : ''}${defaultOf(schema)}`).join(', ')
}

const defaultOf = (schema: unknown): string => (typeof schema === 'object' && schema !== null && 'default' in schema && schema.default !== false ? ` (${String(schema.default)})` : '')
