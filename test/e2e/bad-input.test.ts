/** What a farm says to those who ask for what there is not, lie, or talk garbage: an error with its code, and nothing changed. */
import { appendFileSync, constants, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { connect as connectNats, credsAuthenticator } from 'nats'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hostId } from '../../core/ids.ts'
import { until } from '../../kit/until.ts'
import { statusSchema } from '../../wire/api.ts'
import { encodeFrame, FrameReader, frameType, payloadBytesMax } from '../../wire/frames.ts'
import { argumentBytesMax, toStarterSchema, type Submit, type ToStarter } from '../../wire/hook.ts'
import { subjects } from '../../wire/subjects.ts'
import { startFarm, type Farm } from '../harness/farm.ts'
import { tempFolder } from '../harness/temp.ts'

const mapping = `types:
  debian: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 4 }
  tiny: { image: tiny, cpus: 1, memory_mib: 128, scratch_gib: 1 }
rules:
  - { match: { user: games }, type: tiny }
default: { type: tiny, allow: [debian] }
`

let farm: Farm
beforeAll(async () => { farm = await startFarm({ baits: 1, mapping, templates: 8 }) }, 240_000)
afterAll(() => (farm as Farm | undefined)?.[Symbol.asyncDispose](), 120_000)

/** A job of a user, whose VWN is kept: what root was in is not. */
const works = async (): Promise<void> => expect(await farm.run(['sh', '-c', 'exit 7'], { as: 'games' })).toMatchObject({ code: 7 })

describe('a job', () => {
  test.each([
    ['of a type that there is not', ['--type', 'no-such-type'], undefined],
    ['of a type that its user may not have', ['--type', 'debian'], 'games'],
    ['that no host could ever hold', ['--memory', '16000000'], undefined],
  ] as const)('%s never runs', async (_what, options, as) => {
    const end = await farm.run(['true'], { options, withinMs: 30_000, ...(as !== undefined && { as }) })
    expect(end).toMatchObject({ code: 75, stdout: '' })
    expect(end.stderr).toMatch(/^wnod: the job did not run: .*\([A-Z_]+\)/)
    expect(farm.vms().length).toBeLessThanOrEqual(1)
  })
})

describe('the mapping', () => {
  const inForce = () => farm.api.get('/status', statusSchema).then((status) => status.mapping)
  test.each([
    ['is no YAML', 'types: [\n', /line=\d+/],
    ['has a key that nobody reads', mapping.replace('cpus: 1', 'cpu: 1'), /cpus/],
    ['names an image that there is not', mapping.replace('image: tiny', 'image: el9'), /el9/],
    ['names a type that there is not', mapping.replace('type: tiny, allow', 'type: huge, allow'), /huge/],
  ])('that %s is refused with the reason, and the one before stays in force', async (_what, text, reason) => {
    const before = await inForce()
    writeFileSync(farm.home.mapping, text)
    // A file that is being written may be read, and refused, before all of it is there.
    const after = await until(async () => {
      const now = await inForce()
      return reason.test(JSON.stringify(now.problem)) && now
    }, { withinMs: 15_000, what: 'the mapping is refused for its reason' })
    expect(after).toMatchObject({ version: before.version, types: 2 })
    await works()
    writeFileSync(farm.home.mapping, mapping)
    await until(async () => (await inForce()).problem === null, { withinMs: 15_000, what: 'the mapping is well again' })
  })
})

/** Talks to the bait as a job starter that does as it likes; answers what the bait said until it closed. */
function talk(speak: (message: ToStarter, say: (bytes: Buffer) => void) => void, first?: Buffer): Promise<readonly ToStarter[]> {
  const heard: ToStarter[] = []
  const frames = new FrameReader()
  const socket = connectSocket(farm.home.host('h1').socket)
  return new Promise((resolve) => {
    socket.on('error', () => undefined)
    socket.once('close', () => resolve(heard))
    if (first !== undefined) socket.write(first)
    socket.on('data', (chunk) => {
      frames.push(chunk, (frame) => {
        if (frame.type !== frameType.control) return
        const message = toStarterSchema.parse(JSON.parse(frame.payload.toString('utf8')))
        heard.push(message)
        speak(message, (bytes) => void socket.write(bytes))
      })
    })
  })
}

const control = (message: unknown, n = 0): Buffer => encodeFrame(frameType.control, 0, n, Buffer.from(JSON.stringify(message)))
const base64 = (text: string): string => Buffer.from(text).toString('base64')
const submit: Submit = {
  kind: 'submit', suspend: 'signal', bare: false, trace: null, v: 1, uid: 0, gid: 0, groups: [0],
  run: {
    argv: [base64('true')], env: [], cwd: null, umask: 0o22, limits: [], nice: 0, ignored: [], stdin: 'null', stdout: 'null', stderr: 'null', tty: null, stage: false, script: null,
  },
  want: { type: null, queue: null, project: null, batchSystem: null, batchJobId: null, cpus: null, memoryMib: null, scratchGib: null },
}

describe('a job starter', () => {
  test.each([
    ['that says it is another user', (prove: string) => { mkdirSync(prove); return { ...submit, uid: 12_345 } }],
    ['that proves nothing', () => submit],
    ['that claims groups which the user does not have', (prove: string) => { mkdirSync(prove); return { ...submit, groups: [0, 54_321] } }],
  ])('%s is refused', async (_what, lie) => {
    const heard = await talk((message, say) => { if (message.kind === 'greet') say(control(lie(message.prove))) })
    expect(heard.map((message) => message.kind)).not.toContain('accepted')
    expect(heard.at(-1)?.kind).toMatch(/error|ended/)
    await works()
  })

  test('whose request is larger than the bound is refused', async () => {
    const heard = await talk((message, say) => {
      if (message.kind !== 'greet') return
      mkdirSync(message.prove)
      say(control({ ...submit, run: { ...submit.run, env: [base64(`X=${'x'.repeat(argumentBytesMax + 1)}`)] } }))
    })
    expect(heard.map((message) => message.kind)).not.toContain('accepted')
    await works()
  })

  test.each([
    ['text', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a frame longer than any may be', Buffer.concat([Buffer.from([0xff, 0xff, 0xff, 0xff]), Buffer.alloc(10)])],
    ['zeros', Buffer.alloc(64 * 1024)],
    ['a control frame that is no JSON', encodeFrame(frameType.control, 0, 0, Buffer.from('{"kind":'))],
    ['a message of no kind we know', control({ kind: 'submarine' })],
    ['half a frame and then nothing', encodeFrame(frameType.control, 0, 0, Buffer.alloc(payloadBytesMax)).subarray(0, 1000)],
    ['data of a stream that is not open', encodeFrame(frameType.data, 77, 5, Buffer.from('boo'))],
  ])('that sends %s changes nothing', async (_what, bytes) => {
    const socket = connectSocket(farm.home.host('h1').socket)
    socket.on('error', () => undefined)
    socket.resume()
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.end(bytes)
    await closed
    await works()
  })
})

test('garbage on the bus is dropped, counted, and changes nothing', async () => {
  const { natsPort } = JSON.parse(readFileSync(join(farm.home.home, 'farm.json'), 'utf8')) as { natsPort: number }
  const dropped = async (): Promise<number> => (await farm.api.get('/status', statusSchema)).bus.dropped
  const before = await dropped()
  for (const [program, subject] of [['bait-h1', subjects.report(hostId('h1'))], ['controller', subjects.orders(hostId('h1'))]] as const) {
    const nats = await connectNats({ port: natsPort, authenticator: credsAuthenticator(readFileSync(farm.home.creds(program))) })
    for (const text of ['', 'null', '{"v":1}', '[[[[', '{"v":99,"host":"h1"}', `"${'x'.repeat(100_000)}"`]) nats.publish(subject, text)
    nats.publish(subject, new Uint8Array([0xff, 0xfe, 0, 1, 2]))
    await nats.drain()
  }
  await until(async () => (await dropped()) >= before + 7, { withinMs: 10_000, what: 'the controller says what it dropped' })
  await works()
})

test('garbage on the virtio port ends that VWN at most, and never the bait', async () => {
  const noise = 'pid=$(pgrep -f agent | head -1); kill -9 $pid; for i in 1 2 3 4 5; do head -c 100000 /dev/urandom > /dev/virtio-ports/org.wnod.agent; done 2>/dev/null; echo done'
  await farm.run(['sh', '-c', noise], { options: ['--type', 'debian'], withinMs: 120_000 })
  await works()
  expect(await farm.run(['sh', '-c', 'exit 8'], { options: ['--type', 'debian'] })).toMatchObject({ code: 8 })
  expect(await farm.audit()).toMatchObject({ code: 0 })
})

test('an image whose bytes are not what its digest says is never booted', async () => {
  await using folder = await tempFolder()
  const store = join(folder.path, 'images')
  const digestOf = (name: string): string => readFileSync(join(farm.home.images, 'names', name), 'utf8').trim()
  const digest = digestOf('tiny')
  for (const part of ['names/tiny', 'names/debian12', digest, digestOf('debian12')]) cpSync(join(farm.home.images, part), join(store, part), { recursive: true, mode: constants.COPYFILE_FICLONE })
  appendFileSync(join(store, digest, 'kernel'), 'x')
  await using bad = await startFarm({ baits: 1, mapping, before: (home) => {
    for (const file of [home.controllerConfig, home.host('h1').config]) writeFileSync(file, readFileSync(file, 'utf8').replace(/^images = .*$/m, `images = ${JSON.stringify(store)}`))
  } })
  const end = await bad.run(['true'], { withinMs: 60_000 })
  expect(end.code).toBe(75)
  expect(end.stderr).toContain('IMAGE_DIGEST_MISMATCH')
  expect(bad.vms()).toEqual([])
})
