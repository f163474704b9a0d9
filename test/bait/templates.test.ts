/** The templates of a host, with the scripted hypervisor and real disks: making, keeping, distrusting and ageing them. */
import { readdir, rm, truncate, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { scratchDisks } from '../../bait/disk/scratch.ts'
import { fake, type FakeScript } from '../../bait/hypervisor/fake.ts'
import type { Hypervisor } from '../../bait/hypervisor/hypervisor.ts'
import { templateEffects, type TemplateEffect } from '../../bait/templates/build.ts'
import { templateFileNames } from '../../bait/templates/files.ts'
import { openTemplates, type Templates, type TemplatesOptions } from '../../bait/templates/templates.ts'
import type { Machine } from '../../bait/vwns/machine.ts'
import { VwnError } from '../../core/errors.ts'
import { hostId, imageDigest, typeName } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import { silentLog } from '../../kit/log.ts'
import { until } from '../../kit/until.ts'
import { tempFolder } from '../harness/temp.ts'
import { playedSession } from './played-session.ts'

const prefix = 'wnod.7e3f1a7e.h1.'
const failure = new VwnError('TEMPLATE_REFUSED', { said: 'as told' })
/** Room for one template of 64 MiB to be made beside a few that are small because their memory is mostly nothing. */
const roomForOneGib = 128.125 / 1024

function machine(changes: Partial<Machine['spec']> = {}, image: Partial<Machine['image']> = {}): Machine {
  return {
    accelerator: 'tcg',
    spec: { type: typeName('small'), image: imageDigest('a'.repeat(64)), contact: 'agent', shape: { cpus: 1, memoryMib: 64, scratchGib: 1 }, network: 'isolated', bootMs: 3_000, ...changes },
    image: { kernel: '/k', initrd: '/i', cmdline: 'quiet', disk: '/os', hostKeyFormat: 'openssh', seed: 'boot', probe: null, ...image },
  }
}

interface LabOptions extends Partial<FakeScript> {
  readonly settings?: TemplatesOptions['settings']
  readonly after?: (effect: TemplateEffect) => void
  readonly onChange?: () => void
  readonly freeMemoryMib?: () => number
  readonly hypervisor?: (scripted: Hypervisor) => Hypervisor
}

async function templateLab({ settings = { disk_gib: 8, unused_hours: 1 }, after = () => undefined, onChange = () => undefined, freeMemoryMib = () => 1_024, hypervisor = (same) => same, ...script }: LabOptions = {}) {
  const temp = await tempFolder()
  const folder = join(temp.path, 'templates')
  const scripted = fake({ clock: systemClock, ...script })
  const used = new Set<string>()
  const disks = scratchDisks(join(temp.path, 'scratch'))
  const opened: Templates[] = []
  const groups = new Set<string>()
  const cgroups = { enter: (vm: string) => Promise.resolve(void groups.add(vm)), leave: (vm: string) => Promise.resolve(void groups.delete(vm)) }
  const open = async (): Promise<Templates> => {
    const store = openTemplates({
      kit: { clock: systemClock, log: silentLog, signal: new AbortController().signal }, folder, namePrefix: prefix, hypervisor: hypervisor(scripted), disks, cgroups, settings, host: hostId('h1'), connectGuest: () => Promise.resolve(playedSession()), inUse: () => used, after, onChange, freeMemoryMib,
    })
    opened.push(store)
    await store.start()
    return store
  }
  return {
    folder, used, open, groups,
    vms: scripted.vms,
    names: () => readdir(folder).catch(() => []),
    async [Symbol.asyncDispose]() {
      for (const store of opened) await store.stop()
      expect(scripted.vms.filter(({ state }) => state !== 'ended')).toEqual([])
      expect([...groups]).toEqual([])
      await temp[Symbol.asyncDispose]()
    },
  }
}

/** Fails this often, as clones of the template that is there then; makes it again if need be. */
async function failClones(store: Templates, times: number): Promise<void> {
  for (let failed = 0; failed < times; failed += 1) await store.failed(await store.make(machine()), failure)
}

test('ten callers make one template, which the next bait finds', async () => {
  await using lab = await templateLab()
  const store = await lab.open()
  const made = await Promise.all(Array.from({ length: 10 }, () => store.make(machine())))
  expect(new Set(made).size).toBe(1)
  expect(lab.vms.map(({ handle }) => handle.name)).toEqual([`${prefix}template`])
  expect(await lab.names()).toEqual([made[0]?.id])
  expect((await readdir(join(lab.folder, made[0]?.id ?? ''))).sort()).toEqual([...templateFileNames].sort())
  expect(await (await lab.open()).choose(machine())).toEqual({ template: made[0] })
  expect(lab.vms).toHaveLength(1)
})

test('who misses a template is told why, and the next one finds it', async () => {
  await using lab = await templateLab()
  const store = await lab.open()
  expect(await store.choose(machine())).toEqual({ why: expect.stringMatching(/^its template [0-9a-f]{16} is being made$/) as string })
  await until(() => store.kept().length === 1, { withinMs: 5_000 })
  expect(await store.choose(machine())).toEqual({ template: store.kept()[0]?.template })
})

test('a machine that differs in anything has a template of its own', async () => {
  let version = '1.0'
  const upgraded = (scripted: Hypervisor): Hypervisor => ({ ...scripted, fingerprint: async () => ({ ...(await scripted.fingerprint()), version }) })
  await using lab = await templateLab({ hypervisor: upgraded })
  const store = await lab.open()
  const { id } = await store.make(machine())
  expect((await store.make(machine({ type: typeName('other'), bootMs: 1 }))).id).toBe(id)
  const others = [
    machine({ shape: { cpus: 2, memoryMib: 64, scratchGib: 1 } }), machine({ shape: { cpus: 1, memoryMib: 32, scratchGib: 1 } }), machine({ shape: { cpus: 1, memoryMib: 64, scratchGib: 2 } }),
    machine({ network: 'outbound' }), machine({ image: imageDigest('b'.repeat(64)) }), machine({}, { cmdline: 'other' }), { ...machine(), accelerator: 'kvm' as const },
  ]
  const ids = new Set([id])
  for (const other of others) {
    expect(await store.choose(other)).toHaveProperty('why')
    ids.add((await store.make(other)).id)
  }
  expect(ids.size).toBe(others.length + 1)
  version = '1.1'
  expect(await store.choose(machine())).toHaveProperty('why')
})

test('what cannot be cloned is said: guests without agent, and where templates are switched off', async () => {
  await using lab = await templateLab({ settings: { disk_gib: 0, unused_hours: 1 } })
  const store = await lab.open()
  expect(await store.choose(machine())).toEqual({ why: expect.stringContaining('disk_gib = 0') as string })
  await expect(store.make(machine())).rejects.toMatchObject({ code: 'TEMPLATE_NOT_MADE' })
  await using other = await templateLab()
  expect(await (await other.open()).choose(machine({ contact: 'ssh' }))).toEqual({ why: expect.stringContaining('reads its keys when it boots') as string })
  expect([...lab.vms, ...other.vms]).toEqual([])
})

test('a guest without agent whose seed may come late is saved when it says that it waits', async () => {
  await using lab = await templateLab({ console: 'tiny boots\r\nlate-seed: waits for its seed\r\n' })
  const store = await lab.open()
  const made = await store.make(machine({ contact: 'ssh' }, { seed: 'late' }))
  for (const { handle } of lab.vms) expect(handle.name).toBe(`${prefix}template`)
  expect((await readdir(join(lab.folder, made.id))).sort()).toEqual([...templateFileNames].sort())
  expect(await store.choose(machine({ contact: 'ssh' }, { seed: 'late' }))).toEqual({ template: made })
})

test('one that never says so is given up at the deadline, and nothing is left of it', async () => {
  await using lab = await templateLab({ console: 'tiny boots\r\n' })
  const store = await lab.open()
  await expect(store.make(machine({ contact: 'ssh', bootMs: 2_000 }, { seed: 'late' }))).rejects.toMatchObject({ code: 'TEMPLATE_NOT_MADE' })
  expect(await lab.names()).toEqual([])
})

test.each([
  ['its state is missing', (at: string) => rm(join(at, 'state'))],
  ['its memory was cut short', (at: string) => truncate(join(at, 'memory'), 4096)],
  ['its disk is missing', (at: string) => rm(join(at, 'scratch.qcow2'))],
  ['its manifest is damaged', (at: string) => truncate(join(at, 'manifest.json'), 9)],
])('a template is removed at the start when %s', async (_, spoil) => {
  await using lab = await templateLab()
  const { files } = await (await lab.open()).make(machine())
  await spoil(files.folder)
  expect((await lab.open()).kept()).toEqual([])
  expect(await lab.names()).toEqual([])
})

test('a template whose clones fail is made once more, then quarantined; one that works is trusted again', async () => {
  await using lab = await templateLab()
  const store = await lab.open()
  await failClones(store, 2)
  store.worked(await store.make(machine()))
  await failClones(store, 2)
  expect(lab.vms).toHaveLength(1)
  await failClones(store, 1)
  expect(await lab.names()).toEqual([])
  await failClones(store, 3)
  expect(lab.vms).toHaveLength(2)
  expect(await store.choose(machine())).toEqual({ why: expect.stringMatching(/not used any more: 3 clones in a row failed.*as told/) as string })
  await expect(store.make(machine())).rejects.toMatchObject({ code: 'TEMPLATE_QUARANTINED' })
  expect(lab.vms).toHaveLength(2)
})

test('a template is not blamed for a full disk, nor a new one for what the old one did', async () => {
  await using lab = await templateLab()
  const store = await lab.open()
  const old = await store.make(machine())
  for (let times = 0; times < 5; times += 1) await store.failed(old, new VwnError('SCRATCH_NO_SPACE'))
  await failClones(store, 3)
  await store.make(machine())
  for (let times = 0; times < 5; times += 1) await store.failed(old, failure)
  expect(store.kept()).toHaveLength(1)
})

test.each(templateEffects.filter((effect) => effect !== 'kept'))('a failure right after %s leaves nothing, and the next attempt succeeds', async (effect) => {
  let failed = false
  await using lab = await templateLab({
    after: (now) => {
      if (now !== effect || failed) return
      failed = true
      throw new Error('as told')
    },
  })
  const store = await lab.open()
  await expect(store.make(machine())).rejects.toThrow()
  expect(await lab.names()).toEqual([])
  expect(lab.vms.filter(({ state }) => state !== 'ended')).toEqual([])
  await store.make(machine())
})

test('what cannot be saved is given up after three times, with the console of the last', async () => {
  await using lab = await templateLab({ failAt: 'save', console: 'fake guest boots\r\n' })
  const store = await lab.open()
  for (let times = 0; times < 3; times += 1) await expect(store.make(machine())).rejects.toMatchObject({ code: 'TEMPLATE_NOT_MADE' })
  await expect(store.make(machine())).rejects.toMatchObject({ code: 'TEMPLATE_QUARANTINED', facts: { why: expect.stringContaining('as scripted') as string } })
  expect(await lab.names()).toEqual([])
})

test('a template is made in a control group of its own, and not at all while the host has no memory for it', async () => {
  const grouped: string[][] = []
  let freeMib = 100
  await using lab = await templateLab({ freeMemoryMib: () => freeMib, after: () => void grouped.push([...lab.groups]) })
  const store = await lab.open()
  for (let times = 0; times < 5; times += 1) await expect(store.make(machine())).rejects.toMatchObject({ code: 'TEMPLATE_NO_MEMORY', facts: { neededMib: 64 + 256 } })
  expect(lab.vms).toEqual([])
  freeMib = 320
  await store.make(machine())
  expect(grouped).toEqual([[], ...['booting', 'idle', 'saved'].map(() => [`${prefix}template`]), []])
})

test('a guest that says nothing is given up at the deadline', async () => {
  await using lab = await templateLab({ failAt: 'hello' })
  const store = await lab.open()
  await expect(store.make(machine({ bootMs: 2_000 }))).rejects.toMatchObject({ code: 'TEMPLATE_NOT_MADE' })
  expect(await lab.names()).toEqual([])
})

test('no template begins to be made while somebody waits for a boot', async () => {
  const effects: string[] = []
  await using lab = await templateLab({ after: (effect) => void effects.push(effect) })
  const store = await lab.open()
  const boots = [store.waiting(), store.waiting()]
  const made = store.make(machine())
  boots[0]?.[Symbol.dispose]()
  boots[0]?.[Symbol.dispose]()
  await store.choose(machine())
  expect(effects).toEqual([])
  boots[1]?.[Symbol.dispose]()
  await made
  expect(effects).toEqual(templateEffects)
})

test('a bait that ends does not wait for a template, and leaves nothing of it', async () => {
  await using lab = await templateLab({ bootMs: 60_000 })
  const store = await lab.open()
  const made = store.make(machine({ bootMs: 60_000 }))
  const refused = expect(made).rejects.toThrow()
  await until(() => lab.vms.some(({ state }) => state === 'running'), { withinMs: 5_000 })
  await store.stop()
  await refused
  expect(await lab.names()).toEqual([])
})

test('when templates have no room left the oldest that no VWN uses goes; where all are used no more are made', async () => {
  await using lab = await templateLab({ settings: { disk_gib: roomForOneGib, unused_hours: 1 } })
  const store = await lab.open()
  const shapes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((cpus) => machine({ shape: { cpus, memoryMib: 64, scratchGib: 1 } }))
  const first = await store.make(shapes[0] ?? machine())
  lab.used.add(first.id)
  for (const shape of shapes) await store.make(shape)
  const bytes = store.kept().reduce((sum, kept) => sum + kept.bytes, 0)
  expect(bytes).toBeLessThanOrEqual(roomForOneGib * 1024 ** 3)
  expect(store.kept().length).toBeLessThan(shapes.length)
  expect((await lab.names()).sort()).toEqual(store.kept().map(({ template }) => template.id).sort())
  expect(store.kept()[0]?.template.id).toBe(first.id)
  for (const { template } of store.kept()) lab.used.add(template.id)
  await expect((async () => {
    for (let cpus = 20; cpus < 40; cpus += 1) lab.used.add((await store.make(machine({ shape: { cpus, memoryMib: 64, scratchGib: 1 } }))).id)
  })()).rejects.toMatchObject({ code: 'TEMPLATE_NO_SPACE' })
})

test('wanted templates stay however old they are, and none of them makes room for another', async () => {
  await using lab = await templateLab({ settings: { disk_gib: roomForOneGib, unused_hours: 1 } })
  const store = await lab.open()
  const shapes = Array.from({ length: 20 }, (_, nth) => machine({ shape: { cpus: nth + 1, memoryMib: 64, scratchGib: 1 } }))
  const missing = await store.want(shapes)
  expect(missing).toEqual(shapes)
  expect(store.facts().map(({ state, why }) => [state, why])).toEqual(shapes.map(() => ['missing', 'its turn has not come yet']))
  for (const one of missing) await store.make(one).catch(() => undefined)
  const made = store.kept().map(({ template }) => template.id)
  expect(made.length).toBeGreaterThan(0)
  expect(made.length).toBeLessThan(shapes.length)
  const left = await store.want(shapes)
  expect(left).toEqual(shapes.slice(made.length))
  for (const one of left) await expect(store.make(one)).rejects.toMatchObject({ code: 'TEMPLATE_NO_SPACE' })
  for (const { template } of store.kept()) await utimes(template.files.manifest, 1_000, 1_000)
  await expect(store.make(machine({ network: 'outbound' }))).rejects.toMatchObject({ code: 'TEMPLATE_NO_SPACE' })
  expect(store.kept().map(({ template }) => template.id)).toEqual(made)
  expect(store.facts().filter(({ state }) => state !== 'ready')).toEqual(left.map(() => expect.objectContaining({ state: 'missing', why: expect.stringContaining('templates may not take so much disk') as string }) as unknown))
})

test('the facts say what is made, kept, not possible or given up, and change only when that does', async () => {
  let told = 0
  let meanwhile: unknown = null
  await using lab = await templateLab({ onChange: () => (told += 1), after: (effect) => void (effect === 'booting' && (meanwhile = states())) })
  const store = await lab.open()
  expect(await store.want([machine(), machine({ contact: 'ssh' })])).toEqual([machine()])
  const states = () => store.facts().map(({ state, why }) => [state, why])
  await store.make(machine())
  expect(meanwhile).toEqual([['making', null], ['missing', expect.stringContaining('reads its keys')]])
  expect(store.facts()[0]).toMatchObject({ state: 'ready', why: null, diskMib: Math.ceil((store.kept()[0]?.bytes ?? 0) / 1024 ** 2), tookMs: expect.any(Number) as number })
  const [before, count] = [JSON.stringify(store.facts()), told]
  expect(count).toBeGreaterThan(0)
  await store.want([machine(), machine({ contact: 'ssh' })])
  await store.choose(machine())
  expect([JSON.stringify(store.facts()), told]).toEqual([before, count])
  await failClones(store, 6)
  expect(states()[0]).toEqual(['quarantined', expect.stringContaining('clones in a row failed')])
  expect(await store.want([machine()])).toEqual([])
})

test('a template that nothing was cloned from for long is removed, unless a VWN uses it', async () => {
  await using lab = await templateLab()
  const store = await lab.open()
  const [one, two] = [await store.make(machine()), await store.make(machine({ network: 'outbound' }))]
  for (const { files } of [one, two]) await utimes(files.manifest, 1_000, 1_000)
  lab.used.add(one.id)
  expect((await lab.open()).kept().map(({ template }) => template.id)).toEqual([one.id])
  expect(await lab.names()).toEqual([one.id])
})
