/** Who may read over TCP. On the operator's socket nobody is asked: its mode says who may. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { VwnError } from '../../core/errors.ts'
import { readTokenFile } from '../../kit/token-file.ts'
import type { Settings } from '../config.ts'

/** The token that readers have to know; null where none is needed, as only this machine can ask. HTTP_UNPROTECTED, HTTP_TOKEN_UNFIT. */
export function tokenOf({ host, tokenFile }: Settings['http']): string | null {
  if (tokenFile !== null) return readTokenFile(tokenFile)
  if (isLoopback(host)) return null
  throw new VwnError('HTTP_UNPROTECTED', { host })
}

const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)

/** Whatever is not open to all is answered only to those who know the token, as a header or as a cookie; TOKEN_REQUIRED. */
export function guard(app: FastifyInstance, token: string): void {
  const wanted = digest(token)
  app.addHook('onRequest', (request, reply, done) => {
    if (request.routeOptions.config.open === true || tokensIn(request).some((said) => timingSafeEqual(digest(said), wanted))) return done()
    void reply.header('www-authenticate', 'Bearer realm="wnod"')
    done(new VwnError('TOKEN_REQUIRED', {}))
  })
}

/** Of equal length, whatever was said. */
const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

function tokensIn({ headers }: FastifyRequest): string[] {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '')?.[1]
  const cookie = /(?:^|; *)wnod_token=([^;]*)/.exec(headers.cookie ?? '')?.[1]
  return [bearer, cookie].filter((said) => said !== undefined)
}
