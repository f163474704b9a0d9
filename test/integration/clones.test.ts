/** A bait with real guests that clones what it has booted once. Skipped, with the reason, where the image was not built. */
import { expect, test } from 'vitest'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { connectGuest } from '../../bait/ssh/session.ts'
import { jobId, vwnId } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import type { StoredImage } from '../../kit/image-store.ts'
import { until } from '../../kit/until.ts'
import { baitLab, type BaitLab } from '../bait/lab.ts'
import { testImages } from '../harness/images.ts'

const images = testImages()
const bootMs = 90_000
/** One line each: what no two guests may have in common, and the time last. */
const asks = {
  debian12: 'hostname; cat /etc/machine-id; sha256sum </run/wnod/ssh/host_key; cat /proc/sys/kernel/random/uuid; head -c16 /dev/urandom | od -An -tx1; date +%s',
  tiny: 'hostname; sha256sum </etc/dropbear/dropbear_ed25519_host_key; cat /proc/sys/kernel/random/uuid; head -c16 /dev/urandom | sha256sum; date +%s',
} as const

for (const name of ['debian12', 'tiny'] as const) {
  const image = await images.named(name)
  const why = image === null ? `: no image ${name}` : ''
  test.skipIf(image === null)(`a VWN of ${name} is cloned from the template of the one before, is somebody else, and is adopted${why}`, { timeout: 400_000 }, () => (image === null ? undefined : clones(image, asks[name])))
}

async function clones(image: StoredImage, ask: string): Promise<void> {
  const hypervisor = qemu({ clock: systemClock })
  await using lab = await baitLab({
    templates: true, contact: image.manifest.contact, deadlineMs: bootMs, hypervisor, images: images.store, image: image.digest, memoryMib: Math.max(256, image.manifest.minMemoryMib),
  })
  await lab.start({ connectGuest })
  lab.order(lab.wanted('v1', { job: jobId('h1-99') })) // a job waits for it, or did: it is not made to wait for its template
  await lab.seen('v1', 'idle', bootMs)
  lab.order(lab.wanted('v1', { want: 'gone' }))
  await lab.seen('v1', 'gone')
  await until(() => lab.bait.parts.templates.kept().length === 1, { withinMs: bootMs, what: 'a template' })
  expect(await lab.audit()).toEqual([])

  lab.order(lab.wanted('v2'))
  await lab.seen('v2', 'idle', bootMs)
  expect(lab.bait.parts.vwns.get(vwnId('v2'))?.handle).toMatchObject({ made: 'clone', bootedBecause: null })
  lab.order(lab.wanted('v2'), lab.wanted('v3'))
  await lab.seen('v3', 'idle', bootMs)
  expect(lab.bait.parts.vwns.get(vwnId('v3'))?.handle.made).toBe('clone')
  const [two, three] = [await answerOf(lab, ask, { vwn: 'v2', nth: 1 }), await answerOf(lab, ask, { vwn: 'v3', nth: 2 })]
  expect([two[0], three[0]]).toEqual(['h1-v2', 'h1-v3'])
  for (const guest of [two, three]) expect(Math.abs(Number(guest.at(-1)) - systemClock.nowMs() / 1000)).toBeLessThan(5)
  const secrets = [...two.slice(0, -1), ...three.slice(0, -1)]
  expect(new Set(secrets).size).toBe(secrets.length)
  expect(await lab.audit()).toEqual([])

  await lab.stop()
  expect(await lab.audit()).toEqual([])
  await lab.start({ connectGuest })
  await Promise.all([lab.seen('v2', 'idle', bootMs), lab.seen('v3', 'idle', bootMs)])
  lab.order()
  await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: 20_000, what: 'no VWN' })
  expect(await lab.audit()).toEqual([])
}

/** What the guest says, asked in the place of a job. */
async function answerOf(lab: BaitLab, ask: string, { vwn, nth }: { vwn: string; nth: number }): Promise<string[]> {
  const job = lab.jobs.submit(`h1-${nth}`)
  lab.order(...['v2', 'v3'].map((name) => lab.wanted(name, name === vwn ? { job } : {})))
  await until(() => lab.jobs.assigned.length === nth, { withinMs: 10_000 })
  const assigned = lab.jobs.assigned[nth - 1]
  const channel = await assigned?.place.session.exec(ask)
  let said = ''
  channel?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  await new Promise((resolve) => channel?.once('close', resolve))
  assigned?.end(false)
  await lab.seen(vwn, 'idle')
  return said.trim().split('\n').map((line) => line.trim())
}
