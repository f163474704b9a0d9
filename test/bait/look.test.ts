/** What a bait shows of its VWNs to whoever asks over the bus. */
import { connect } from 'nats'
import { expect, test } from 'vitest'
import { vwnId } from '../../core/ids.ts'
import { fakeClock } from '../../kit/clock.ts'
import { silentLog } from '../../kit/log.ts'
import { until } from '../../kit/until.ts'
import { openSamples } from '../../bait/samples.ts'
import { keepLine } from '../../bait/vwns/line.ts'
import type { LiveVwn } from '../../bait/vwns/vwn.ts'
import { consoleSeenSchema, lookVersion, sampleEveryMs, samplesMax, samplesSeenSchema } from '../../wire/look.ts'
import { subjects } from '../../wire/subjects.ts'
import { baitLab, host } from './lab.ts'
import { playedSession } from './played-session.ts'

const v = lookVersion

test('what a VWN uses and what its guest has said is shown when asked, also while it stands still; of others nothing', async () => {
  await using lab = await baitLab({ console: 'login:\x1b[0m \r\n' })
  await lab.start()
  lab.order(lab.wanted('v1'))
  await until(() => lab.hypervisor.vms[0]?.state === 'paused' && lab.hypervisor.vms[0].ranMs() > 0, { withinMs: 8_000, what: 'v1 is made and rests' })
  const wire = await connect({ servers: lab.nats })
  const ask = async (question: object): Promise<unknown> => {
    const answer = await wire.request(subjects.look(host), JSON.stringify(question), { timeout: 5_000 })
    return answer.data.length === 0 ? answer.headers?.get('Wnod-Refused') : JSON.parse(answer.string())
  }
  try {
    await lab.bait.parts.samples.runOnce()
    const { samples } = samplesSeenSchema.unwrap().parse(await ask({ v, at: 'samples', vwn: 'v1', sinceMs: 0 }))
    const ranMs = Math.round(lab.hypervisor.vms[0]?.ranMs() ?? 0)
    expect(samples.at(-1)).toMatchObject({ cpuMs: ranMs, memoryBytes: 64 * 1024 ** 2, writtenBytes: null, toGuestBytes: 0 })
    expect(await ask({ v, at: 'samples', vwn: 'v1', sinceMs: samples.at(-1)?.atMs })).toEqual({ samples: [] })

    const look = { v, at: 'console', vwn: 'v1', from: null, bytesMax: 1_000 }
    const said = await until(async () => {
      const seen = consoleSeenSchema.unwrap().parse(await ask(look))
      return seen.said > 0 && seen
    }, { withinMs: 8_000, what: 'the console' })
    expect(said).toMatchObject({ from: 0, text: 'login: \n', next: said.said })
    expect(await ask({ ...look, from: said.next })).toMatchObject({ from: said.next, next: said.next, text: '' })

    expect(await ask({ ...look, vwn: 'v2' })).toBeNull()
    expect(await ask({ ...look, bytesMax: 1e9 })).toMatch(/not understood/)
    expect(await ask({ ...look, vwn: '../v1' })).toMatch(/not understood/)
  } finally {
    await wire.close()
  }
})

test('an hour of samples is kept of each VWN, and none of one that is no more', async () => {
  const clock = fakeClock()
  let present = ['v1', 'v2'].map((id) => ({ id: vwnId(id), used: () => Promise.resolve(id === 'v2' ? null : { cpuMs: 1, memoryBytes: 2, readBytes: null, writtenBytes: null, toGuestBytes: 0, fromGuestBytes: 0 }) }) as unknown as LiveVwn)
  const samples = openSamples({ clock, log: silentLog, signal: new AbortController().signal }, () => present)
  await samples.start()
  await clock.advance(sampleEveryMs * (samplesMax + 10))
  expect(samples.of(vwnId('v1'), 0)).toHaveLength(samplesMax)
  expect(samples.of(vwnId('v1'), clock.nowMs() - 2.5 * sampleEveryMs)).toHaveLength(3)
  expect(samples.of(vwnId('v2'), 0)).toEqual([])
  present = []
  await clock.advance(sampleEveryMs)
  expect(samples.of(vwnId('v1'), 0)).toEqual([])
  await samples.stop()
})

test('what was carried to a guest and from it counts on over a connection that broke', async () => {
  const key = { shared: '', secret: '' }
  const meeting = { host, vwn: vwnId('v1'), token: { term: 1, epoch: 1 }, portSocket: '', sshPort: 1, hostKey: key, clientKey: key }
  const [first, second] = [playedSession({ toGuestBytes: 10, fromGuestBytes: 1 }), playedSession({ toGuestBytes: 5, fromGuestBytes: 100 })]
  const ending = new AbortController()
  const line = keepLine({ clock: fakeClock(), log: silentLog, signal: ending.signal }, first, { meeting, connectGuest: () => Promise.resolve(second), onBroken: () => undefined, signal: ending.signal })
  expect(line.carried).toEqual({ toGuestBytes: 10, fromGuestBytes: 1 })
  first.breakOff()
  await first.closed
  expect(await line.open()).toBe(second)
  expect(line.carried).toEqual({ toGuestBytes: 15, fromGuestBytes: 101 })
})
