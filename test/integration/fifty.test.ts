/**
 * Fifty clones of one template that live at the same time have nothing in common that a job could rely on being its own, and two that
 * were told nothing have everything in common: so it is the bait's first word to a clone that makes the difference, and the test can tell.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { scratchDisks } from '../../bait/disk/scratch.ts'
import type { GuestSession } from '../../bait/contracts.ts'
import type { FileMemorySpec } from '../../bait/hypervisor/hypervisor.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { connectGuest } from '../../bait/ssh/session.ts'
import { meetAgent } from '../../bait/vwns/guest.ts'
import { vwnId } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import { createLog } from '../../kit/log.ts'
import type { Kit } from '../../kit/service.ts'
import { Undo } from '../../kit/undo.ts'
import { until } from '../../kit/until.ts'
import type { WantedVwn } from '../../wire/bait.ts'
import { baitLab } from '../bait/lab.ts'
import { agentMachine, meetingAs, scratchOf } from '../harness/agent-machine.ts'
import { testImages } from '../harness/images.ts'
import { sharedRuns } from '../harness/shared-runs.ts'
import { tempFolder } from '../harness/temp.ts'

const images = testImages()
const image = await images.named('debian12')
const why = image === null ? ': no image debian12' : ''
const hypervisor = qemu({ clock: systemClock })

const clones = 50
/** As many as are woken at once: the processors of a small machine, twice. */
const together = 4
const bootMs = 90_000
/** With a share for the clone, a third, that it does not need even where others want the processors too: a boot instead would prove nothing. */
const deadlineMs = 300_000
const randomBytes = 64 * 1024
const offsetMsMax = 50
/** The clock is asked until it is known this well, at most so often: on a busy host few answers are quick. */
const clockAsked = { knownMs: 10, times: 200 } as const

/**
 * Random bytes, which are those of getrandom(2) (since Linux 5.18 one function gives both: random.c, get_random_bytes_user); then what must be its own, one
 * line each; then the time, whenever it is asked. Small programs alone: each clone has to translate what it runs.
 */
const ask = `head -c ${randomBytes} /dev/urandom | base64 -w 0; echo
  cat /proc/sys/kernel/hostname /etc/machine-id /sys/class/net/eth0/address /proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid
  while read -r asked; do echo "$EPOCHREALTIME"; done`
const names = ['hostname', 'machine-id', 'MAC', 'boot_id', 'uuid'] as const

interface Facts {
  readonly random: Buffer
  readonly own: readonly string[]
  /** By at most so many milliseconds the guest's clock differs from the host's. */
  readonly offsetMs: number
}

async function factsOf(session: GuestSession): Promise<Facts> {
  const channel = await session.exec(ask)
  const lines = channel.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>
  let rest = ''
  const line = async (): Promise<string> => {
    while (!rest.includes('\n')) {
      const { value, done } = await lines.next()
      if (done === true) throw new Error(`the guest said only ${rest.slice(-200)}`)
      rest += value
    }
    const end = rest.indexOf('\n')
    const said = rest.slice(0, end)
    rest = rest.slice(end + 1)
    return said
  }
  const random = Buffer.from(await line(), 'base64')
  const own: string[] = []
  for (const _ of names) own.push(await line())
  // The guest looks at its clock between our question and its answer: each pair is a bound from either side, and the closest ones count.
  const ahead = { leastMs: -Infinity, mostMs: Infinity }
  for (let asked = 0; asked < clockAsked.times && ahead.mostMs - ahead.leastMs > clockAsked.knownMs; asked += 1) {
    const beforeMs = systemClock.nowMs()
    channel.write('\n')
    const guestMs = Number(await line()) * 1000
    ahead.leastMs = Math.max(ahead.leastMs, guestMs - systemClock.nowMs())
    ahead.mostMs = Math.min(ahead.mostMs, guestMs - beforeMs)
  }
  channel.end()
  return { random, own, offsetMs: Math.max(Math.abs(ahead.leastMs), Math.abs(ahead.mostMs)) }
}

test.skipIf(image === null)(`fifty clones of one template share no name, address, key, secret or random bytes, and keep the host's time${why}`, { timeout: 900_000 }, async () => {
  if (image === null) return
  await using lab = await baitLab({ templates: true, contact: 'agent', deadlineMs, hypervisor, images: images.store, image: image.digest, memoryMib: Math.max(256, image.manifest.minMemoryMib) })
  await using undo = new Undo()
  undo.push('vms', async () => {
    for (const vm of await hypervisor.find(`wnod.${lab.home.hash}.`)) await hypervisor.destroy(vm) // whatever has failed
  })
  await lab.start({ connectGuest })
  lab.order(lab.wanted('v1000'))
  await lab.seen('v1000', 'idle', bootMs)
  await until(() => lab.bait.parts.templates.kept().length === 1, { withinMs: bootMs, what: 'a template' })
  lab.order()

  const wanted: WantedVwn[] = []
  const facts: Facts[] = []
  const one = async (n: number): Promise<void> => {
    const job = lab.jobs.submit(`h1-${n}`)
    wanted.push(lab.wanted(`v${n}`, { job }))
    lab.order(...wanted)
    const { place, end } = await until(() => lab.jobs.assigned.find((assigned) => assigned.job === job), { withinMs: deadlineMs, what: `v${n} takes its job` })
    facts.push(await factsOf(place.session))
    wanted[wanted.findIndex(({ vwn }) => vwn === `v${n}`)] = lab.wanted(`v${n}`)
    end(false)
  }
  let next = 1
  const oneAfterAnother = async (): Promise<void> => {
    for (let n = next++; n <= clones; n = next++) await one(n)
  }
  await Promise.all(Array.from({ length: together }, oneAfterAnother))

  const handles = wanted.map(({ vwn }) => lab.bait.parts.vwns.get(vwnId(vwn))?.handle)
  expect(new Set(handles.map((handle) => `${handle?.made} ${handle?.template} ${handle?.bootedBecause}`))).toEqual(new Set([`clone ${lab.bait.parts.templates.kept()[0]?.template.id} null`]))
  expect(new Set(handles.map((handle) => handle?.vm?.pid)).size).toBe(clones)
  expect((await hypervisor.find(`wnod.${lab.home.hash}.`)).length).toBe(clones)
  expect(new Set(handles.map((handle) => handle?.hostKey?.shared)).size, 'host keys').toBe(clones)
  for (const [index, name] of names.entries()) {
    const own = facts.map((guest) => guest.own[index])
    expect(own.filter((value) => value === undefined || value === ''), name).toEqual([])
    expect(new Set(own).size, name).toBe(clones)
  }
  expect(facts.map(({ random }) => random.length)).toEqual(Array.from({ length: clones }, () => randomBytes))
  expect(sharedRuns(facts.map(({ random }) => random))).toBe(0)
  expect(facts.filter(({ offsetMs }) => offsetMs > offsetMsMax).map(({ offsetMs }) => offsetMs)).toEqual([])

  lab.order()
  await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: 120_000, what: 'no VWN' })
  expect(await lab.audit()).toEqual([])
})

const kit: Kit = { clock: systemClock, log: createLog({ program: 'test', level: 'silent' }), signal: new AbortController().signal }
const consoleBytes = 512
/** A kernel that has been up for six seconds takes new randomness by itself after three (random.c, crng_has_old_seed), which a slow clone may need. */
const namelessMax = 6

/**
 * Waits in the template, and goes on in each clone, at a byte on the serial console, which needs no network, no agent and no identity.
 * The template's own random state is fresh when it begins to wait (0x5207, RNDRESEEDCRNG), so that a clone's kernel, which would take
 * up new randomness by itself some seconds or a minute later, has no reason to do so before it is asked. It speaks slowly: QEMU's serial
 * port sends bytes one by one, and drops those that find the socket full.
 */
const plant = `stty -F /dev/ttyS0 raw -echo; exec perl -e '
  my $random = "\\0" x ${consoleBytes};
  open my $console, "+<", "/dev/ttyS0" or die; open my $source, "+<", "/dev/random" or die;
  ioctl($source, 0x5207, 0) or die; syscall(318, $random, 16, 0) == 16 or die;
  $| = 1; print "armed\\n"; sysread $console, my $word, 1;
  syscall(318, $random, ${consoleBytes}, 0) == ${consoleBytes} or die; for (unpack("(a16)*", $random)) { syswrite $console, unpack("H*", $_); select undef, undef, undef, 0.02 }'`

test.skipIf(image === null)(`two clones that are told nothing draw the same random bytes, and not once they have their identity${why}`, { timeout: 300_000 }, async () => {
  if (image === null) return
  await using folder = await tempFolder()
  const state = join(folder.path, 'state')
  const disks = scratchDisks(join(folder.path, 'scratch'))
  const template = await agentMachine(image, folder.path, 'template')
  await disks.overlay(scratchOf(template), 1)
  await savePlanted(template, state)

  const drawn = async (name: string, named: boolean): Promise<Buffer> => {
    const spec = await agentMachine(image, folder.path, name)
    await disks.clone(scratchOf(template), scratchOf(spec))
    const vm = await (await hypervisor.blank(spec, kit.signal)).restore(state, kit.signal)
    try {
      if (!named) return await drawAfter(spec, () => vm.start())
      const guest = await meetAgent(kit, { ...meetingAs(spec, name), booted: true }, connectGuest, { start: () => vm.start(), hello: () => undefined }, AbortSignal.timeout(bootMs))
      const bytes = await drawAfter(spec, () => Promise.resolve())
      guest.session.close()
      guest.port?.close()
      return bytes
    } finally {
      await vm.kill()
    }
  }
  const nameless: Buffer[] = []
  const twins = (): readonly Buffer[] => nameless.filter((bytes) => nameless.some((other) => other !== bytes && other.equals(bytes)))
  while (twins().length === 0 && nameless.length < namelessMax) nameless.push(await drawn(`v${nameless.length + 1}`, false))
  expect(twins()).toHaveLength(2)
  expect(sharedRuns(twins())).toBe(consoleBytes - 16 + 1)
  const named = [await drawn('v8', true), await drawn('v9', true)]
  expect(sharedRuns([...named, ...twins().slice(1)])).toBe(0)
})

/** A template with the program above in it, that waits. */
async function savePlanted(spec: FileMemorySpec, state: string): Promise<void> {
  const vm = await hypervisor.bootTemplate(spec, kit.signal)
  try {
    const guest = await meetAgent(kit, meetingAs(spec, 'v99'), connectGuest, { start: () => vm.start(), hello: () => undefined }, AbortSignal.timeout(bootMs))
    const planted = await guest.session.exec(plant)
    const [said] = (await once(planted, 'data')) as [Buffer]
    expect(said.toString()).toBe('armed\n')
    await vm.saveState(state, kit.signal)
    guest.session.close()
    guest.port?.close()
  } finally {
    await vm.kill()
  }
}

/** What the program draws in a clone, asked as soon as `start` has let it run. */
async function drawAfter({ sockets }: FileMemorySpec, start: () => Promise<void>): Promise<Buffer> {
  const console = connect(sockets.console)
  await once(console, 'connect')
  let said = ''
  console.setEncoding('latin1').on('data', (text: string) => (said += text))
  try {
    await start()
    console.write('\n')
    await until(() => said.replaceAll(/[^0-9a-f]/g, '').length >= 2 * consoleBytes, { withinMs: bootMs, what: 'random bytes on the console' })
    return Buffer.from(said.replaceAll(/[^0-9a-f]/g, ''), 'hex')
  } finally {
    console.destroy()
  }
}
