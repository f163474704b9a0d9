/**
 * The agent in the guest: says that it is there, becomes who the bait says it is, runs what it is told and scrubs. No policy.
 *
 * A guest's processor may be emulated, so what counts here is how little node has to load and compile: everything of ours is in a
 * snapshot of its heap (guest.c starts it from one), so nothing is used that a snapshot cannot hold, sockets above all, which are the
 * helper's (serve.c). Messages are checked by hand for the same reason.
 */
import { readFileSync } from 'node:fs'
import { startupSnapshot } from 'node:v8'
import { version } from '../kit/version.ts'
import type { FromPort, GuestIdentity } from '../wire/guest.ts'
import { guestVersion } from '../wire/guest-facts.ts'
import { connectHelper, type Helper } from './helper.ts'
import { become } from './identity.ts'
import { parseFromPort } from './messages.ts'
import { openPort } from './port.ts'
import { rehearse } from './rehearsal.ts'
import { serveTasks } from './server.ts'
import { settingsFrom, type Settings } from './settings.ts'

/** The socket that serve.c leaves for us; it is our parent. */
const helperFd = 3
const helloMs = 500

/** Whoever hears a hello may send a task as soon as he can reach the socket: so that is there first. */
async function main(): Promise<void> {
  const settings = settingsFrom(process.env)
  const helper = connectHelper(helperFd)
  const tasks = await serveTasks(settings, helper)
  let known: { readonly key: string; readonly ready: Promise<FromPort> } | null = null

  const port = openPort(settings.port, (line) => {
    const message = parseFromPort(line)
    if (message?.kind === 'ping') say({ kind: 'pong', n: message.n, memoryBytes: process.memoryUsage().rss, jobs: tasks.jobs })
    else if (message?.kind === 'identity') identify(message)
    return message !== null
  })
  const say = (message: FromPort): void => port.send(message)
  const greet = (): void => say({ kind: 'hello', v: guestVersion, agent: version, upMs: uptimeMs() })
  /** Once for each identity; the same one again gets the same answer, a failed one is tried again. */
  const identify = (identity: GuestIdentity): void => {
    clearInterval(greeting)
    const key = JSON.stringify([identity.vwn, identity.token])
    if (known?.key !== key) known = { key, ready: becomeReady(settings, helper, identity) }
    known.ready.then(say, (error: unknown) => {
      known = null
      say({ kind: 'trouble', what: String(error).slice(0, 4096) })
    })
  }

  greet()
  const greeting = setInterval(greet, helloMs)
}

async function becomeReady(settings: Settings, helper: Helper, identity: GuestIdentity): Promise<FromPort> {
  const heardAtMs = monotonicMs()
  await become(settings, helper, identity, heardAtMs)
  return { kind: 'ready', vwn: identity.vwn, token: identity.token, tookMs: monotonicMs() - heardAtMs }
}

/** Without its socket an agent is of no use: it ends, and with it the guest. */
function run(): void {
  main().catch((error: unknown) => {
    process.stderr.write(`agent: ${String(error)}\n`)
    process.exit(1)
  })
}

/** CLOCK_MONOTONIC, the same that the helper reads. */
const monotonicMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000

function uptimeMs(): number {
  try {
    return Math.round(Number(readFileSync('/proc/uptime', 'latin1').split(' ')[0]) * 1000)
  } catch {
    return 0
  }
}

if (startupSnapshot.isBuildingSnapshot()) {
  void rehearse()
  startupSnapshot.setDeserializeMainFunction(run)
} else run()
