/** A bait with real guests: QEMU, images, ssh. Skipped, with the reason, where no image was built. */
import { describe, expect, test } from 'vitest'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { connectGuest } from '../../bait/ssh/session.ts'
import { scratchDisks } from '../../bait/disk/scratch.ts'
import { systemClock } from '../../kit/clock.ts'
import { until } from '../../kit/until.ts'
import { baitLab } from '../bait/lab.ts'
import { testImages } from '../harness/images.ts'

const images = testImages()

describe.each(['tiny', 'debian12'])('%s', async (name) => {
  const image = await images.named(name)
  test.skipIf(image === null)(`boots, is adopted by the next bait, and goes${image === null ? ': this image was not built' : ''}`, async () => {
    if (image === null) return
    const hypervisor = qemu({ clock: systemClock })
    await using lab = await baitLab({ contact: image.manifest.contact, deadlineMs: 90_000, hypervisor, images: images.store, image: image.digest, memoryMib: Math.max(256, image.manifest.minMemoryMib) })
    await lab.start({ connectGuest, disks: scratchDisks(`${lab.home.home}/hosts/h1/scratch`) })
    lab.order(lab.wanted('v1'))
    const idle = await lab.seen('v1', 'idle', 120_000)
    expect(idle).toMatchObject({ cause: null, phases: { boot: expect.any(Number) as number, contact: expect.any(Number) as number } })
    expect(await lab.audit()).toEqual([])

    const job = lab.jobs.submit('h1-1')
    lab.order(lab.wanted('v1', { job }))
    await until(() => lab.jobs.assigned.length === 1, { withinMs: 10_000 })
    const session = lab.jobs.assigned[0]?.place.session
    expect(await said(session, 'cat /etc/hostname; grep -c . /proc/mounts; dd if=/dev/zero of=/dev/vda bs=512 count=1 2>&1 | tail -1')).toContain('h1-v1')
    lab.jobs.assigned[0]?.end(false)
    await lab.seen('v1', 'idle')

    await lab.stop()
    expect(await lab.audit()).toEqual([])
    await lab.start({ connectGuest })
    expect(await lab.seen('v1', 'idle', 60_000)).toMatchObject({ pid: idle.pid })
    lab.order(lab.wanted('v1', { want: 'gone' }))
    await lab.seen('v1', 'gone')
    lab.order()
    await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: 5_000 })
    expect(await lab.audit()).toEqual([])
  })
})

async function said(session: Awaited<ReturnType<typeof connectGuest>> | undefined, command: string): Promise<string> {
  if (session === undefined) throw new Error('no session')
  const channel = await session.exec(command)
  let text = ''
  channel.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await new Promise((resolve) => channel.once('close', resolve))
  return text
}
