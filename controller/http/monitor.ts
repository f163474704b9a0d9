/** The monitor, a web page that reads this very API: the files that `npm run build` has put beside the program. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { VwnError } from '../../core/errors.ts'
import { errnoOf } from '../../kit/atomic-file.ts'
import { distFolder } from '../../kit/dist.ts'

/** Nothing from elsewhere, nothing written into the page, and nobody may frame it. */
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
const types: Readonly<Record<string, string>> = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8' }
/** As the build names them: the name changes with the content. */
const assetName = /^[A-Za-z0-9_-]+\.(js|css)$/

/** Adds the page and its files, for everybody: they tell nothing of the farm. */
export function monitorRoutes(app: FastifyInstance, folder = join(distFolder(), 'monitor')): void {
  app.get('/', { config: { open: true } }, async (_, reply) => {
    const page = await tryRead(join(folder, 'index.html'))
    if (page !== null) return send(reply, 'index.html', page, 'no-cache')
    const { entry, message } = new VwnError('MONITOR_NOT_BUILT', { folder })
    return reply.code(entry.http).type('text/plain; charset=utf-8').send(`${message}: ${entry.hint}\n`)
  })
  app.get<{ Params: { name: string } }>('/assets/:name', { config: { open: true } }, async ({ params: { name }, method, url }, reply) => {
    const file = assetName.test(name) ? await tryRead(join(folder, 'assets', name)) : null
    if (file === null) throw new VwnError('ROUTE_NOT_FOUND', { method, url: url.slice(0, 200) })
    return send(reply, name, file, 'public, max-age=31536000, immutable')
  })
}

const send = (reply: FastifyReply, name: string, content: Buffer, caching: string): FastifyReply =>
  reply.type(types[extname(name)] ?? 'application/octet-stream')
    .headers({ 'cache-control': caching, 'content-security-policy': policy, 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' })
    .send(content)

async function tryRead(file: string): Promise<Buffer | null> {
  return readFile(file).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  })
}
