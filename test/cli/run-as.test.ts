/** `wnod run --as`: what the user's job gets of root's surroundings. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Run } from '../../wire/hook.ts'
import { openDesk, sessionOf } from '../handover/desk.ts'
import { fakeGuest } from '../handover/fake-agent.ts'
import { ended } from '../harness/farm.ts'

const bin = join(import.meta.dirname, '../../bin/wnod.js')

/** What the guest is told to run as nobody, by a root who has this in his environment: a line of bash. */
async function toldAs(exports: string): Promise<{ run: Run; uid: number }> {
  await using guest = await fakeGuest()
  await using desk = await openDesk()
  const session = await sessionOf(guest.address)
  const script = `${exports}\nexec "$@"`
  const child = spawn('bash', ['--norc', '-c', script, 'bash', process.execPath, bin, 'run', '--as', 'nobody', '--socket', desk.socket, '--', 'true'], { stdio: ['ignore', 'pipe', 'pipe'] })
  const end = ended(child)
  await (await desk.place(session)).freed
  expect(await end).toMatchObject({ code: 0, stderr: '' })
  session.close()
  const [task] = guest.tasks
  return task?.kind === 'run' ? { run: task.run, uid: task.identity.uid } : expect.unreachable()
}

test.skipIf(process.getuid?.() !== 0)('bytes of the environment that are no text are whole, and the user is who he is', { timeout: 60_000 }, async () => {
  const { run, uid } = await toldAs(`export ODD=$'\\xff\\xfe\\x80z' EMPTY= HOME=/root USER=root LINES3=$'a\\nb\\n' WNOD_QUEUE=long; unset LOGNAME`)
  const env = run.env.map((entry) => Buffer.from(entry, 'base64').toString('latin1'))
  expect(env).toEqual(expect.arrayContaining(['ODD=\xff\xfe\x80z', 'EMPTY=', 'LINES3=a\nb\n']))
  expect(env.filter((entry) => /^(HOME|USER|LOGNAME|SHELL|WNOD_.*)=/.test(entry)).sort()).toEqual(['HOME=/nonexistent', 'LOGNAME=nobody', 'SHELL=/usr/sbin/nologin', 'USER=nobody'])
  expect(uid).toBe(65534)
})
