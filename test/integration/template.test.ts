/** A real guest with the agent, booted once without an identity; its clones meet the bait as a booted VM would. */
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { scratchDisks } from '../../bait/disk/scratch.ts'
import type { FileMemorySpec } from '../../bait/hypervisor/hypervisor.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { connectGuest } from '../../bait/ssh/session.ts'
import { meetAgent } from '../../bait/vwns/guest.ts'
import { openGuestPort } from '../../bait/vwns/port.ts'
import { systemClock } from '../../kit/clock.ts'
import { createLog } from '../../kit/log.ts'
import type { Kit } from '../../kit/service.ts'
import { until } from '../../kit/until.ts'
import { agentMachine, meetingAs, scratchOf } from '../harness/agent-machine.ts'
import { testImages } from '../harness/images.ts'
import { tempFolder } from '../harness/temp.ts'

const image = await testImages().named('debian12')
const kit: Kit = { clock: systemClock, log: createLog({ program: 'test', level: 'silent' }), signal: new AbortController().signal }
const hypervisor = qemu({ clock: systemClock })

test.skipIf(image === null)(`clones of a booted template become available, each with its own identity${image === null ? ': no image debian12' : ''}`, async () => {
  if (image === null) return
  await using folder = await tempFolder()
  const disks = scratchDisks(join(folder.path, 'scratch'))
  const state = join(folder.path, 'state')
  const template = await agentMachine(image, folder.path, 'template')
  await disks.overlay(scratchOf(template), 2)
  await makeTemplate(template, state)
  for (const name of ['v1', 'v2']) {
    const spec = await agentMachine(image, folder.path, name)
    await disks.clone(scratchOf(template), scratchOf(spec))
    const vm = await (await hypervisor.blank(spec, kit.signal)).restore(state, kit.signal)
    try {
      expect(await availableAs(spec, name, () => vm.start())).toBe(`h1-${name}\n`)
    } finally {
      await vm.kill()
    }
  }
})

async function makeTemplate(spec: FileMemorySpec, state: string): Promise<void> {
  const vm = await hypervisor.bootTemplate(spec, kit.signal)
  try {
    let greeted = false
    const port = await openGuestPort({ path: spec.sockets.port, ...kit, onMessage: ({ kind }) => void (greeted ||= kind === 'hello') })
    await vm.start()
    await until(() => greeted, { withinMs: 90_000, what: 'hello of the template' })
    port.close()
    await vm.saveState(state, kit.signal)
  } finally {
    await vm.kill()
  }
}

/** What the guest calls itself, asked over its own ssh server with the keys that it was given just now. */
async function availableAs(spec: FileMemorySpec, name: string, start: () => Promise<void>): Promise<string> {
  const guest = await meetAgent(kit, meetingAs(spec, name), connectGuest, { start, hello: () => undefined }, AbortSignal.timeout(60_000))
  const hostname = await text(await guest.session.exec('hostname'))
  guest.session.close()
  guest.port?.close()
  return hostname
}
