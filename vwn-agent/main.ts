/**
 * The agent in the guest: says that it is there, runs what it is told and scrubs. No policy. Its helper makes it who the bait says it is.
 *
 * A guest's processor may be emulated, so what counts here is how little node has to load and compile: everything of ours is in a
 * snapshot of its heap (guest.c starts it from one), so nothing is used that a snapshot cannot hold, sockets above all, which are the
 * helper's (serve.c). Messages are checked by hand for the same reason.
 */
import { readFileSync } from 'node:fs'
import { startupSnapshot } from 'node:v8'
import { version } from '../kit/version.ts'
import type { FromPort } from '../wire/guest.ts'
import { guestVersion } from '../wire/guest-facts.ts'
import { connectHelper } from './helper.ts'
import { servePort } from './port.ts'
import { rehearse } from './rehearsal.ts'
import { serveTasks } from './server.ts'
import { settingsFrom } from './settings.ts'

/** The socket that serve.c leaves for us; it is our parent. */
const helperFd = 3

/** Whoever hears a hello may send a task as soon as he can reach the socket: so that is there first. */
async function main(): Promise<void> {
  const settings = settingsFrom(process.env)
  const helper = connectHelper(helperFd)
  const tasks = await serveTasks(settings, helper)
  await servePort(settings, helper, tasks)
  helper.hello({ kind: 'hello', v: guestVersion, agent: version, upMs: uptimeMs() } satisfies FromPort)
}

/** Without its socket an agent is of no use: it ends, and with it the guest. */
function run(): void {
  main().catch((error: unknown) => {
    process.stderr.write(`agent: ${String(error)}\n`)
    process.exit(1)
  })
}

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
