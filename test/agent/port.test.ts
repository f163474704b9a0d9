import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { guestIdentitySchema, toAgentSchema, toPortSchema } from '../../wire/guest.ts'
import { portLineBytesMax } from '../../wire/guest-facts.ts'
import { guestEnvironment } from '../../vwn-agent/environment.ts'
import { groupLines, passwdLines } from '../../vwn-agent/accounts.ts'
import { parseControl, parseToPort } from '../../vwn-agent/messages.ts'
import { lineCutter } from '../../vwn-agent/lines.ts'
import { signalName, signalNumber } from '../../vwn-agent/signals.ts'
import { buildPrograms, identity, missingPower, runMessage, startAgent, type AgentUnderTest, type Programs } from './harness.ts'

describe('what the agent reads', () => {
  test('every message that the schemas allow, and no other shape', () => {
    expect(guestIdentitySchema.parse(identity(1))).toEqual(identity(1)) // the helper takes it
    for (const message of [{ kind: 'ping', n: 3 }, { kind: 'wake', n: 4, nowMs: 1.5 }]) expect(parseToPort(JSON.stringify(message))).toEqual(toPortSchema.parse(message))
    for (const message of [runMessage({ argv: ['true'] }), { kind: 'clean', v: 1 }, { kind: 'signal', signal: 'SIGTERM' }, { kind: 'resize', rows: 1, cols: 2 }])
      expect(parseControl(JSON.stringify(message))).toEqual(toAgentSchema.parse(message))
    for (const line of ['', 'x', '1', 'null', '[]', '{}', '{"kind":"ping"}', '{"kind":"ping","n":-1}', '{"kind":"wake","n":1}', '{"kind":"wake","nowMs":1}', '{"kind":"identity"}', '{"kind":"hello"}'])
      expect(parseToPort(line)).toBeNull()
    for (const message of [null, 1, 'x', [], {}, { kind: 'run' }, { kind: 'run', v: 2 }, { kind: 'signal' }, { kind: 'resize', rows: -1, cols: 1 }, { kind: 'clean' }])
      expect(parseControl(JSON.stringify(message))).toBeNull()
    expect(parseControl('{"kind":')).toBeNull()
  })

  test('lines of any cut; a line that is too long or refused is counted and dropped', () => {
    const lines: string[] = []
    const cutter = lineCutter((line) => line !== 'bad' && lines.push(line) > 0)
    for (const piece of ['a', 'b\nc\n', 'bad\n', 'x'.repeat(portLineBytesMax), 'y\nlast', '\n']) cutter.push(Buffer.from(piece))
    expect(lines).toEqual(['ab', 'c', 'last'])
    expect(cutter.dropped).toBe(2)
  })
})

describe('a user in the guest', () => {
  const account = { user: 'ada', uid: 7, gid: 8, groups: [], home: '/home/ada', shell: '/bin/sh' }

  test('replaces whoever has the name or the number', () => {
    expect(passwdLines(['root:x:0:0::/root:/bin/sh', 'lp:x:7:7::/:/bin/false', 'ada:x:9:9::/:/bin/false'], account))
      .toEqual(['root:x:0:0::/root:/bin/sh', 'ada:x:7:8::/home/ada:/bin/sh'])
    expect(passwdLines([], { ...account, user: 'a:b\nc' })).toEqual(['a_b_c:x:7:8::/home/ada:/bin/sh'])
  })

  test('is in the groups, each with the farm’s number; root’s stays as it is', () => {
    expect(groupLines(['root:x:0:', 'old:x:8:', 'staff:x:50:'], [{ gid: 8, name: '' }, { gid: 60, name: 'staff' }, { gid: 0, name: 'wheel' }], 'ada'))
      .toEqual(['root:x:0:', 'group8:x:8:ada', 'staff:x:60:ada'])
  })

  test('has the environment that was given, but for the table', () => {
    const given = ['HOME=/usr', 'TMPDIR=/gone', 'PWD=/gone', 'HOMER=x', 'home=y', 'BARE'].map((entry) => Buffer.from(entry))
    const guest = { home: '/home/ada', temp: '/tmp', movedTo: Buffer.from('/home/ada') }
    expect(guestEnvironment(given, guest).map(String)).toEqual(['HOME=/usr', 'TMPDIR=/tmp', 'PWD=/home/ada', 'HOMER=x', 'home=y', 'BARE'])
    expect(guestEnvironment(given, { ...guest, movedTo: null }).map(String)[2]).toBe('PWD=/gone')
  })

  test('knows signals by name and number', () => {
    expect(['SIGHUP', 'SIGABRT', 'SIGRTMIN', 'SIGRTMIN+3', 'SIGRTMAX-1', 'SIGRTMAX', 'SIGNONE', 'SIGRTMIN+99'].map(signalNumber)).toEqual([1, 6, 34, 37, 63, 64, null, null])
    expect([1, 6, 34, 37, 64].map(signalName)).toEqual(['SIGHUP', 'SIGABRT', 'SIGRTMIN', 'SIGRTMIN+3', 'SIGRTMIN+30'])
  })
})

describe.skipIf(missingPower !== null)(`the agent on its port${missingPower === null ? '' : ` (${missingPower})`}`, { timeout: 60_000 }, () => {
  let programs: Programs
  let agent: AgentUnderTest
  beforeAll(async () => {
    programs = await buildPrograms()
    agent = await startAgent(programs)
  }, 60_000)
  afterAll(async () => {
    await agent?.[Symbol.asyncDispose]()
    await programs?.[Symbol.asyncDispose]()
  }, 60_000)
  const count = (kind: string): number => agent.heard.filter((message) => message.kind === kind).length

  test('says hello until it hears who it is, drops garbage, then is ready and silent', async () => {
    await until(() => count('hello') >= 2, { withinMs: 20_000, what: 'a second hello' })
    expect(agent.heard[0]).toMatchObject({ kind: 'hello', v: 1 })
    agent.send('garbage\n{"kind":"unknown"}\n\0\xff\n')
    await agent.identify()
    const hellos = count('hello')
    agent.send({ kind: 'ping', n: 5 })
    const pong = await until(() => agent.heard.find((message) => message.kind === 'pong'), { withinMs: 10_000, what: 'pong' })
    expect(pong).toMatchObject({ n: 5, jobs: 0 })
    expect(count('hello')).toBe(hellos)
  })

  test('has written its identity: keys for root alone, name, machine id', () => {
    const ssh = join(agent.folder, 'run/ssh')
    expect([statSync(join(agent.folder, 'run')).mode & 0o777, statSync(join(ssh, 'host_key')).mode & 0o777, statSync(agent.settings.socket).mode & 0o777]).toEqual([0o700, 0o600, 0o600])
    expect(readFileSync(join(ssh, 'authorized_keys'), 'utf8')).toBe('ssh-ed25519 AAAA wnod\n')
    expect(readFileSync(join(agent.folder, 'etc/hostname'), 'utf8')).toBe('h1-v1\n')
    expect(readFileSync(join(agent.folder, 'etc/machine-id'), 'utf8')).toBe(`${'0123456789abcdef'.repeat(2)}\n`)
  })

  test('takes the same identity again without doing anything, and a new one anew', async () => {
    const before = count('ready')
    agent.send(identity(1))
    await until(() => count('ready') === before + 1, { withinMs: 10_000, what: 'ready again' })
    await agent.identify(2)
    expect(readFileSync(join(agent.folder, 'etc/hostname'), 'utf8')).toBe('h1-v2\n')
  })

  test('is nobody again when it is told to forget, says hello, and takes the same identity anew', async () => {
    const key = join(agent.folder, 'run/ssh/host_key')
    const before = { hello: count('hello'), ready: count('ready') }
    agent.send({ kind: 'forget' })
    await until(() => count('hello') === before.hello + 1, { withinMs: 10_000, what: 'hello after forgetting' })
    expect(existsSync(key)).toBe(false)
    agent.send(identity(2))
    await until(() => count('ready') === before.ready + 1, { withinMs: 10_000, what: 'ready after forgetting' })
    expect(readFileSync(key, 'utf8')).toBe('KEY\n')
  })

  test('writes a shorter name over a longer one', async () => {
    agent.send({ ...identity(3), hostname: 'a-name-that-is-much-longer' })
    await until(() => agent.heard.some((message) => message.kind === 'ready' && message.token.epoch === 3), { withinMs: 10_000, what: 'ready with a long name' })
    await agent.identify(4)
    expect(readFileSync(join(agent.folder, 'etc/hostname'), 'utf8')).toBe('h1-v4\n')
  })

  test('an identity that is none is dropped, and the one before stays', async () => {
    const before = count('ready')
    const { hostKey: _, ...without } = identity(5) as Record<string, unknown>
    for (const wrong of [without, { ...identity(5), v: 2 }, { ...identity(5), vwn: 'v1"' }, { ...identity(5), hostname: 'x'.repeat(80) }]) agent.send(wrong)
    agent.send({ kind: 'ping', n: 7 })
    await until(() => agent.heard.some((message) => message.kind === 'pong' && message.n === 7), { withinMs: 10_000, what: 'pong' })
    expect(count('ready')).toBe(before)
  })

  test('answers whoever wakes it', async () => {
    agent.send({ kind: 'wake', n: 9, nowMs: 1 })
    expect(await until(() => agent.heard.find((message) => message.kind === 'pong' && message.n === 9), { withinMs: 10_000, what: 'pong' })).toMatchObject({ jobs: 0 })
  })

  test('counts its jobs for whoever asks', async () => {
    const task = await agent.run({ argv: ['sleep', '1000'] })
    await task.heard('started')
    agent.send({ kind: 'ping', n: 6 })
    const pong = await until(() => agent.heard.find((message) => message.kind === 'pong' && message.n === 6), { withinMs: 10_000, what: 'pong' })
    expect(pong).toMatchObject({ jobs: 1 })
    task.via.destroy()
    await task.over
  })

  test('can be started from a snapshot: nothing in the bundle is imported that is not in it', () => {
    expect(readFileSync(programs.agent, 'utf8')).not.toMatch(/\bimport\(/)
  })

  test('ends with its helper, and leaves no process', async () => {
    await using other = await startAgent(programs)
    await until(() => other.heard.length > 0 && existsSync(other.settings.socket), { withinMs: 20_000, what: 'agent is up' })
    const [init = 0] = readFileSync(`/proc/${other.process.pid}/task/${other.process.pid}/children`, 'latin1').trim().split(' ').map(Number)
    process.kill(init, 'SIGKILL')
    await until(() => other.process.exitCode !== null || other.process.signalCode !== null, { withinMs: 10_000, what: 'end of the namespace' })
  })
})
