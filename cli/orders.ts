/** What an operator may order: `wnod drain | undrain | kill`. */
import { VwnError } from '../core/errors.ts'
import { hostOrderedSchema, vwnDetailSchema, vwnOrderedSchema } from '../wire/api.ts'
import { show, type Context } from './context.ts'

/** The host finishes what it has and takes no more, or takes jobs again. */
export async function orderHost(context: Context, verb: 'drain' | 'undrain', host: string): Promise<void> {
  const reply = await context.api.order(`/hosts/${encodeURIComponent(host)}/${verb}`, hostOrderedSchema)
  show(context, reply, ({ host: now }) => `${now.host} is ${now.want} now; it has ${now.vwns} VWNs and ${now.jobs} jobs\n`)
}

/** Shows what a kill would do; does it only with consent. */
export async function kill(context: Context, vwn: string, yes: boolean): Promise<void> {
  const now = await context.api.get(`/vwns/${encodeURIComponent(vwn)}`, vwnDetailSchema)
  context.say(`${now.vwn} (${now.type} on ${now.host}, ${now.state}) is killed${now.job === null ? '; it runs no job' : `, and with it job ${now.job}, which ends as lost`}`)
  if (!yes) throw new VwnError('CONSENT_NEEDED', { vwn })
  const reply = await context.api.order(`/vwns/${encodeURIComponent(vwn)}/kill`, vwnOrderedSchema)
  show(context, reply, (ordered) => `${ordered.vwn.vwn} is ${ordered.vwn.state} now\n`)
}
