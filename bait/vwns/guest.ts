/**
 * From a running VM to a guest that is available. Two ways, by the image's contract:
 *
 *   contact agent   hello ─▶ identity ─▶ ready (on the virtio port) ─▶ ssh session
 *   contact ssh     ssh session, which begins with the server's first byte ─▶ a probe command answers
 *
 * Nothing here waits for time to pass: each step waits for the guest's word, until `signal` says that it is too late.
 */
import { isVwnError, VwnError } from '../../core/errors.ts'
import { vwnId, type HostId, type VwnId } from '../../core/ids.ts'
import { sameToken, type LeaseToken } from '../../core/lease.ts'
import { randomBytes } from '../../kit/clock.ts'
import { gate, type Kit } from '../../kit/service.ts'
import { until } from '../../kit/until.ts'
import { guestVersion, type FromPort, type GuestIdentity } from '../../wire/guest.ts'
import type { GuestAddress, GuestSession } from '../contracts.ts'
import { orAborted } from './in-time.ts'
import { newKeyPair, type KeyPair } from './keys.ts'
import { openGuestPort, type GuestPort } from './port.ts'
import { setClock } from './wake.ts'

/** One attempt to open an ssh session; bait/ssh/session.ts is the real one. */
export type Connect = (address: GuestAddress, signal: AbortSignal, on?: { readonly onWord: () => void }) => Promise<GuestSession>

/** Who the guest is to be, and how to reach it. */
export interface Meeting {
  readonly host: HostId
  readonly vwn: VwnId
  readonly token: LeaseToken
  readonly portSocket: string
  readonly sshPort: number
  readonly hostKey: KeyPair
  readonly clientKey: KeyPair
  /** For guests without agent: succeeds when the guest can take a job. */
  readonly probe?: string | null
  /** It was booted before, in a template: it can take its identity as soon as it runs. */
  readonly booted?: boolean
}

/** A guest that is available. */
export interface Guest {
  readonly session: GuestSession
  /** Null where no agent is. */
  readonly port: GuestPort | null
}

/** What happens on the way. */
export interface Way {
  /** Lets the guest run; called when nothing that it says can be missed any more. */
  start(): Promise<void>
  /** The guest's first word has come; of a server without agent it may come again, when a login fails. */
  hello(): void
}

const anyCommand = 'exit 0'
/**
 * What a new guest's clock may be wrong by: half of the 50 ms that are promised, for whoever compares cannot know it without an error of his
 * own. On a busy host no answer may ever be so quick, and then the guest is taken all the same.
 */
const clock = { errorMs: 25, tries: 8 } as const
const pauseMs = 50
const pingMs = 15_000

/** Where this guest's ssh server is, and its only right key. */
export const addressOf = (meeting: Pick<Meeting, 'sshPort' | 'hostKey' | 'clientKey'>): GuestAddress =>
  ({ host: '127.0.0.1', port: meeting.sshPort, hostKey: meeting.hostKey.shared, clientKey: meeting.clientKey.secret })

/** Meets a guest that has the agent. */
export async function meetAgent(kit: Kit, meeting: Meeting, connectGuest: Connect, on: Way, signal: AbortSignal): Promise<Guest> {
  const [ready, onTime] = [gate(), gate()]
  const identity = identityOf(meeting)
  let greeted = false
  let saidMs = 0
  let timed = 0
  const identify = (): void => {
    if (!greeted) on.hello()
    if (!greeted || timed > 0) saidMs = kit.clock.monotonicMs() // what it takes of several greetings is the first
    greeted = true
    port.send({ ...identity, nowMs: kit.clock.nowMs() }) // said again to every hello: the agent takes it once, but for the time
  }
  /** Its clock was set between our word and its answer, less what it was busy with: nobody can know when, but it is wrong by no more. */
  const checkTime = (tookMs: number): void => {
    timed += 1
    if (kit.clock.monotonicMs() - saidMs - tookMs <= clock.errorMs || timed >= clock.tries) onTime.open()
    else identify()
  }
  const port = await portTo(kit, meeting, signal, (message) => {
    if (message.kind === 'hello') identify()
    else if (message.kind === 'ready' && message.vwn === meeting.vwn && sameToken(message.token, meeting.token)) {
      kit.log.debug({ vwn: meeting.vwn, tookMs: message.tookMs }, 'guest has taken its identity')
      ready.open()
      checkTime(message.tookMs)
    } else if (message.kind === 'trouble') kit.log.warn({ vwn: meeting.vwn, what: message.what }, 'guest has trouble')
  })
  try {
    await on.start()
    if (meeting.booted === true) identify()
    await orAborted(ready.opened, signal, 'hello and ready of the agent')
    const session = await sessionTo(kit, meeting, connectGuest, signal)
    await orAborted(onTime.opened, signal, 'time of the guest').catch((error: unknown) => {
      session.close()
      throw error
    })
    return { port, session }
  } catch (error) {
    port.close()
    throw error
  }
}

/**
 * A guest with the agent that is to become a template. What each clone will do first it does here once, as nobody, and forgets it: it
 * takes an identity and serves a login. So all that this needs of its disk is in its memory. The connection stays open.
 */
export async function meetNameless(kit: Kit, at: { host: HostId; portSocket: string; sshPort: number }, connectGuest: Connect, start: () => Promise<void>, signal: AbortSignal): Promise<GuestPort> {
  const heard = { hello: gate(), ready: gate(), forgotten: gate() }
  let wasSomebody = false
  const nobody: Meeting = { ...at, vwn: vwnId('v1'), token: { term: 0, epoch: 0 }, hostKey: newKeyPair('ecdsa'), clientKey: newKeyPair('ecdsa') }
  const port = await portTo(kit, { vwn: null, portSocket: at.portSocket }, signal, ({ kind }) => {
    if (kind === 'hello') heard[wasSomebody ? 'forgotten' : 'hello'].open()
    else if (kind === 'ready') heard.ready.open()
    wasSomebody ||= kind === 'ready'
  })
  try {
    await start()
    await orAborted(heard.hello.opened, signal, 'hello of a template')
    port.send({ ...identityOf(nobody), nowMs: kit.clock.nowMs() })
    await orAborted(heard.ready.opened, signal, 'rehearsal of a template')
    const session = await sessionTo(kit, nobody, connectGuest, signal)
    const stream = await session.openAgent(signal).finally(() => session.close())
    stream.destroy()
    port.send({ kind: 'forget' })
    await orAborted(heard.forgotten.opened, signal, 'end of the rehearsal of a template')
    return port // while its new ssh server started, all else in it came to rest
  } catch (error) {
    port.close()
    throw error
  }
}

/** Meets a guest that has an ssh server and nothing of ours. */
export async function meetSsh(kit: Kit, meeting: Meeting, connectGuest: Connect, on: Way, signal: AbortSignal): Promise<Guest> {
  await on.start()
  const session = await sessionTo(kit, meeting, connectGuest, signal, { onWord: () => on.hello() })
  try {
    await probe(kit, session, meeting.probe ?? anyCommand, signal)
    return { port: null, session }
  } catch (error) {
    session.close()
    throw error
  }
}

/** Finds a guest again that was met by a bait before this one: it must answer, on the port where it has an agent. `slept`: it stood still. */
export async function meetAgain(kit: Kit, meeting: Meeting & { readonly contact: 'agent' | 'ssh'; readonly slept: boolean }, connectGuest: Connect, signal: AbortSignal): Promise<Guest> {
  if (meeting.contact === 'ssh') return meetSsh(kit, meeting, connectGuest, { start: () => Promise.resolve(), hello: () => undefined }, signal)
  const port = await portTo(kit, meeting, signal)
  try {
    const late = new AbortController()
    using _deadline = kit.clock.after(pingMs, () => late.abort(new VwnError('VWN_SILENT', { vwn: meeting.vwn, pingMs })))
    const soon = AbortSignal.any([late.signal, signal])
    if (meeting.slept) await setClock(kit, port, soon)
    else await orAborted(port.ask({ kind: 'ping' }), soon, 'pong of the agent')
    return { port, session: await sessionTo(kit, meeting, connectGuest, signal) }
  } catch (error) {
    port.close()
    throw error
  }
}

/** Logs in; a server that is not up yet is asked again, one with a wrong key is not. */
export async function sessionTo(kit: Kit, meeting: Meeting, connectGuest: Connect, signal: AbortSignal, on?: Parameters<Connect>[2]): Promise<GuestSession> {
  for (;;) {
    try {
      return await connectGuest(addressOf(meeting), signal, on)
    } catch (error) {
      if (signal.aborted || isVwnError(error, 'GUEST_KEY_WRONG')) throw error
      kit.log.debug({ vwn: meeting.vwn, err: error }, 'guest login failed, trying again')
      await kit.clock.sleep(pauseMs, signal)
    }
  }
}

function portTo(kit: Kit, meeting: { readonly vwn: VwnId | null; readonly portSocket: string }, signal: AbortSignal, onMessage: (message: FromPort) => void = () => undefined): Promise<GuestPort> {
  const log = kit.log.child({ vwn: meeting.vwn })
  return until(() => openGuestPort({ path: meeting.portSocket, clock: kit.clock, log, onMessage }), {
    withinMs: 10_000, everyMs: 10, clock: kit.clock, signal, what: 'port of the guest',
  })
}

function identityOf(meeting: Meeting): Omit<GuestIdentity, 'nowMs'> {
  return {
    kind: 'identity',
    v: guestVersion,
    vwn: meeting.vwn,
    token: meeting.token,
    hostname: `${meeting.host}-${meeting.vwn}`,
    machineId: Buffer.from(randomBytes(16)).toString('hex'),
    hostKey: meeting.hostKey.secret,
    authorizedKey: meeting.clientKey.shared,
    entropy: Buffer.from(randomBytes(64)).toString('base64'),
  }
}

/** The image's own word for `available`: asked until it succeeds. */
async function probe(kit: Kit, session: GuestSession, command: string, signal: AbortSignal): Promise<void> {
  for (;;) {
    const channel = await session.exec(command, signal)
    channel.resume()
    channel.stderr.resume()
    const ended = new Promise<number | null>((resolve) => {
      channel.once('exit', (code: number | null) => resolve(code))
      channel.once('close', () => resolve(null))
    })
    const exit = await orAborted(ended, signal, 'probe command')
    if (exit === 0) return
    kit.log.debug({ probe: command, exit }, 'guest cannot take a job yet')
    await kit.clock.sleep(pauseMs, signal)
  }
}
