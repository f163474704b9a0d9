import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import type { GuestSession } from '../../bait/contracts.ts'
import type { FromAgent } from '../../wire/guest.ts'
import { bootGuest, missingImage, type GuestUnderTest } from '../agent/guest.ts'
import { runMessage, taskOver, type Ended, type Wish } from '../agent/harness.ts'

const missing = await missingImage()

describe.skipIf(missing !== null)(`the agent in a real guest${missing === null ? '' : ` (${missing})`}`, { timeout: 240_000 }, () => {
  let guest: GuestUnderTest
  let session: GuestSession
  beforeAll(async () => {
    guest = await bootGuest()
    const helloMs = await guest.hello()
    const readyMs = await guest.identify()
    session = await guest.session()
    const upMs = guest.heard.find((message) => message.kind === 'hello')?.upMs
    process.stderr.write(`agent: hello after ${Math.round(helloMs)} ms (${upMs} ms of them the guest's), ready ${Math.round(readyMs)} ms later\n`)
  }, 240_000)
  afterAll(async () => {
    session?.close()
    await guest?.[Symbol.asyncDispose]()
  }, 60_000)

  const run = async (wish: Wish): Promise<Ended> => taskOver(await session.openAgent(), runMessage(wish), wish).over
  const sh = (script: string, more: Partial<Wish> = {}): Promise<Ended> => run({ argv: ['bash', '-c', script], ...more })
  const clean = async (): Promise<Extract<FromAgent, { kind: 'cleaned' }>> => taskOver(await session.openAgent(), { kind: 'clean', v: 1 }).heard('cleaned')

  test('has the identity that it was given: name, machine id, time', async () => {
    const { stdout } = await sh('hostname; cat /etc/machine-id; date -u +%Y; id; pwd; getent group physics', { groups: [{ gid: 5001, name: 'physics' }] })
    expect(stdout.toString()).toBe([
      'h1-v1', '0123456789abcdef'.repeat(2), '2030', 'uid=4242(ada) gid=4242(ada) groups=4242(ada),5001(physics)', '/home/ada', 'physics:x:5001:ada', '',
    ].join('\n'))
  })

  test('ends jobs as they end, and measures them', async () => {
    const { exited } = await sh('head -c 50000000 /dev/zero | tail -c 1 > /dev/null; exit 7')
    expect(exited).toMatchObject({ code: 7, signal: null, outOfMemory: false })
    expect(exited?.usage.cpuUserMs).toBeGreaterThan(0)
    expect(exited?.usage.memoryPeakBytes).toBeGreaterThan(100_000)
  })

  test('tells when memory ran out', async () => {
    const { exited } = await sh('x=$(head -c 200000000 /dev/zero | tr "\\0" x); echo survived', { memoryBytes: 48 * 1024 * 1024 })
    expect(exited).toMatchObject({ outOfMemory: true })
  })

  test('raises the kernel’s bound on open files where the job’s limit is above', async () => {
    const { stdout } = await sh('ulimit -Hn', { limits: [{ name: 'nofile', soft: 1024, hard: 1_073_741_816 }] })
    expect(stdout.toString()).toBe('1073741816\n')
  })

  test('kills a job whose channel breaks', async () => {
    const task = taskOver(await session.openAgent(), runMessage({ argv: ['sleep', '9999'] }))
    await task.heard('started')
    task.via.destroy()
    await until(async () => (await sh('pgrep -x sleep || echo none')).stdout.toString() === 'none\n', { withinMs: 60_000, what: 'sleep is gone' })
  })

  test('scrubs what a job leaves, and proves it', async () => {
    const { exited, stderr } = await sh(`
      echo x > /tmp/file; echo x > /dev/shm/file; echo x > /var/tmp/file; echo x > ~/file
      ipcmk -M 4096 > /dev/null; ipcmk -S 1 > /dev/null; ipcmk -Q > /dev/null
      (setsid bash -c 'setsid sleep 9999 & exec sleep 9999' < /dev/null > /dev/null 2>&1 &)
      (setsid node -e 'require("net").createServer().listen(7777)' < /dev/null > /dev/null 2>&1 &)`)
    expect([exited?.code, stderr.toString()]).toEqual([0, ''])
    const cleaned = await clean()
    expect(cleaned).toMatchObject({ checked: ['processes', 'cgroups', 'mounts', 'ipc', 'keys', 'files', 'upper', 'sockets', 'memory'], left: [] })
    expect((await sh('ls -A /tmp /dev/shm /var/tmp ~; ls /home')).stdout.toString()).toBe('/dev/shm:\n\n/home/ada:\n\n/tmp:\n\n/var/tmp:\nada\n')
  })

  test('names a change of the system that it cannot take back', async () => {
    await sh('echo changed >> /etc/profile', { uid: 0, user: 'root' })
    expect((await clean()).left).toEqual(['upper: /etc/profile'])
  })

  test('becomes another when it is told to: with new keys for ssh, while streams over the old ones go on', async () => {
    const task = taskOver(await session.openAgent(), runMessage({ argv: ['cat'], stdin: 'stream' }))
    await task.heard('started')
    await guest.identify(2)
    const again = await guest.session() // refuses any other host key
    expect((await taskOver(await again.openAgent(), runMessage({ argv: ['echo', 'hello'] })).over).stdout.toString()).toBe('hello\n')
    again.close()
    task.stdin.end()
    expect((await task.over).exited).toMatchObject({ code: 0 })
  })

  test('answers a ping on the port', async () => {
    guest.send({ kind: 'ping', n: 1 })
    expect(await until(() => guest.heard.find((message) => message.kind === 'pong'), { withinMs: 30_000, what: 'pong' })).toMatchObject({ n: 1, jobs: 0 })
  })
})
