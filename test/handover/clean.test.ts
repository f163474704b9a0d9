/** What the bait makes of a guest's answer to a scrub: anything but a whole one is none, and retires the VWN. */
import { duplexPair, type Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import type { GuestSession } from '../../bait/contracts.ts'
import { clean } from '../../bait/job/clean.ts'
import { scrubChecks } from '../../wire/guest.ts'
import { JobStream } from '../../wire/job-stream.ts'
import { readyVwn } from './desk.ts'

const checked = [...scrubChecks]

/** A guest whose agent answers a scrub with this. */
function answering(answer: (via: JobStream) => void) {
  const openAgent = (): Promise<Duplex> => {
    const [ours, theirs] = duplexPair()
    const via: JobStream = new JobStream(theirs, { onControl: () => answer(via), onClose: () => undefined })
    return Promise.resolve(ours)
  }
  return readyVwn({ openAgent } as unknown as GuestSession)
}
const saying = (message: object) => answering((via) => via.control(message))

test('a whole report is taken as it is, with what was left', async () => {
  const report = { checked: [...checked, 'kernel'], left: ['files: /tmp/x'], tookMs: 7 }
  expect(await clean(saying({ kind: 'cleaned', ...report }), AbortSignal.timeout(5_000))).toEqual(report)
})

const unwhole: readonly (readonly [string, object])[] = [
  ['that is another message', { kind: 'staged' }],
  ['without what was left', { kind: 'cleaned', checked, tookMs: 1 }],
  ['with more than it may hold', { kind: 'cleaned', checked, left: [], tookMs: 1, more: 1 }],
  ['of a negative time', { kind: 'cleaned', checked, left: [], tookMs: -1 }],
  ['with a name that no receipt holds', { kind: 'cleaned', checked: [...checked, 'x'.repeat(65)], left: [], tookMs: 1 }],
  ['of nothing at all', { kind: 'cleaned', checked: [], left: [], tookMs: 1 }],
  ...checked.map((check) => [`that leaves out ${check}`, { kind: 'cleaned', checked: checked.filter((one) => one !== check), left: [], tookMs: 1 }] as const),
]
test.each(unwhole)('a report %s is none', async (_name, message) => {
  await expect(clean(saying(message), AbortSignal.timeout(5_000))).rejects.toMatchObject({ code: 'GUEST_GARBAGE' })
})

test('an agent that hangs up, or says nothing in time, has proved nothing', async () => {
  await expect(clean(answering((via) => via.destroy()), AbortSignal.timeout(5_000))).rejects.toMatchObject({ code: 'GUEST_SILENT' })
  await expect(clean(answering(() => undefined), AbortSignal.timeout(50))).rejects.toMatchObject({ code: 'GUEST_SILENT' })
})
