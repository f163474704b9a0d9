/**
 * Guests without VMs, for quick rounds on one's own machine (`WNOD_CONFORMANCE=near`): the real agent and a real dropbear, each in
 * namespaces of this host, behind the real jobs half of a bait. What only a kernel of its own can show is not tried there.
 */
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { connect } from 'node:net'
import type { GuestSession } from '../../bait/contracts.ts'
import { explain } from '../../core/errors.ts'
import { clean } from '../../bait/job/clean.ts'
import { connectWhenUp } from '../../bait/ssh/session.ts'
import type { Settings } from '../../vwn-agent/settings.ts'
import { buildPrograms, startAgent } from '../agent/harness.ts'
import { freshPlace, openDesk, readyVwn } from '../handover/desk.ts'
import { tinyGuest } from '../handover/tiny-guest.ts'
import type { Contact } from './case.ts'

export interface Places extends AsyncDisposable {
  /** Path of the bait's socket. */
  readonly socket: string
  readonly typeOf: Readonly<Record<Contact, string>>
}

/** One guest of each kind, each scrubbed after each job. */
export async function nearPlaces(changes: Partial<Settings> = {}): Promise<Places> {
  const programs = await buildPrograms()
  const agent = await startAgent(programs, changes)
  await agent.identify()
  const tiny = await tinyGuest()
  const ssh = await connectWhenUp(tiny.address, AbortSignal.timeout(20_000))
  const desk = await openDesk()
  chmodSync(desk.folder, 0o755)
  const sessions: Readonly<Record<Contact, GuestSession>> = { agent: sessionTo(agent.settings.socket, ssh), ssh }
  const busy = new Set<Contact>()
  const serve = async (): Promise<void> => {
    for (const { job, want, state } of desk.jobs.live()) {
      const contact = want.type === 'ssh' ? 'ssh' : 'agent'
      if (state !== 'waiting' || busy.has(contact)) continue
      busy.add(contact)
      const place = readyVwn(sessions[contact], contact)
      await desk.jobs.assign(job, place, freshPlace)
      const left = await clean(place, AbortSignal.timeout(20_000)).then((report) => report.left, (error: unknown) => [explain(error)])
      if (left.length > 0) process.stderr.write(`left after ${job}: ${left.join(', ')}\n`)
      busy.delete(contact)
      return void serve()
    }
  }
  desk.jobs.onChange(() => void serve())
  return {
    socket: desk.socket,
    typeOf: { agent: 'agent', ssh: 'ssh' },
    async [Symbol.asyncDispose]() {
      ssh.close()
      await desk[Symbol.asyncDispose]()
      await tiny[Symbol.asyncDispose]()
      await agent[Symbol.asyncDispose]()
      await programs[Symbol.asyncDispose]()
    },
  }
}

/** Straight to the agent's socket, where otherwise ssh would be in between. */
function sessionTo(socket: string, like: GuestSession): GuestSession {
  return {
    ...like,
    async openAgent() {
      const duplex = connect(socket)
      await once(duplex, 'connect')
      return duplex
    },
  }
}
