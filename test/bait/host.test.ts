/** Settings, audit, doctor and probe of a host. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { audit, auditText } from '../../bait/audit.ts'
import { baitSchema, capacityOf, loadBaitConfig } from '../../bait/config.ts'
import { doctor, doctorText, isFit, nodeFinding } from '../../bait/doctor.ts'
import { fake, type FakeScript } from '../../bait/hypervisor/fake.ts'
import type { Hypervisor } from '../../bait/hypervisor/hypervisor.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import { chosen, probeAccelerators } from '../../bait/probe.ts'
import { freshHandle, openHandles } from '../../bait/vwns/handles.ts'
import { imageDigest, typeName, vwnId } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import { imageStore } from '../../kit/image-store.ts'
import { silentLog } from '../../kit/log.ts'
import { homePaths } from '../../kit/paths.ts'
import { bootId } from '../../kit/process.ts'
import { tempFolder } from '../harness/temp.ts'
import { emptyImage } from './lab.ts'

const example = 'bait/bait.example.toml'

// ---------------------------------------------------------------- settings

test('the example is the defaults, and has every key', async () => {
  const fromExample = loadBaitConfig('/store', { file: example }).settings
  const { host, ...defaults } = baitSchema('/store').parse({ host: 'node017' })
  expect(fromExample).toEqual({ host, ...defaults })
  const text = await readFile(example, 'utf8')
  const keys = loadBaitConfig('/store', { file: null, overrides: [{ key: 'host', value: 'x', origin: 'test' }] }).effective.map(({ key }) => key.split('.').at(-1))
  expect(keys.filter((key) => !new RegExp(`^(# )?${key} = `, 'm').test(text))).toEqual([])
})

test('a key nobody reads, and a value that cannot be, are refused with the place', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'bait.toml')
  await writeFile(file, 'host = "h1"\n[vm]\naccelerater = "kvm"\n')
  expect(() => loadBaitConfig('/store', { file })).toThrow(expect.objectContaining({ code: 'CONFIG_UNKNOWN_KEY', facts: expect.objectContaining({ line: 3, nearest: 'accelerator' }) as object }) as Error)
  await writeFile(file, 'host = "H 1"\n')
  expect(() => loadBaitConfig('/store', { file })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }) as Error)
})

test('capacity is as told, and otherwise something that the host has', async () => {
  expect(await capacityOf({ cpus: 3, memory_mib: 1000, scratch_gib: 7 }, '/')).toEqual({ cpus: 3, memoryMib: 1000, scratchGib: 7 })
  const auto = await capacityOf({ cpus: 'auto', memory_mib: 'auto', scratch_gib: 'auto' }, '/nowhere/yet')
  expect(auto.cpus).toBeGreaterThan(0)
  expect(auto.memoryMib).toBeGreaterThan(0)
})

// ---------------------------------------------------------------- audit

const none = fake({ clock: systemClock })

async function auditLab() {
  const folder = await tempFolder()
  const home = homePaths(folder.path)
  const paths = home.host('h1')
  const handles = openHandles(paths)
  const spec = { type: typeName('t'), image: imageDigest('a'.repeat(64)), contact: 'agent', shape: { cpus: 1, memoryMib: 64, scratchGib: 1 }, network: 'isolated', bootMs: 1000 } as const
  const handle = (vwn: string) => freshHandle({ vwn: vwnId(vwn), token: { term: 1, epoch: 1 }, spec, reuse: 'same-user', owner: null, bootId: bootId(), accelerator: 'tcg', nowMs: 1 })
  return { home, paths, handles, handle, look: (hypervisor: Hypervisor = none) => audit({ home, hypervisor }), [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

test('a home that has never been used, and records that say gone, are explained', async () => {
  await using lab = await auditLab()
  expect(await lab.look()).toEqual([])
  await lab.handles.save({ ...lab.handle('v1'), stage: 'gone' })
  await writeFile(lab.paths.vm('v1').serialLog, 'its last words')
  expect(await lab.look()).toEqual([])
  expect(auditText([])).toMatch(/^ {3}0 {2}vms not explained$[\s\S]*^ {3}0 {2}in all$/m)
})

test('everything that no record explains is found', { timeout: 20_000 }, async () => {
  await using lab = await auditLab()
  await mkdir(join(lab.paths.vms, 'what-is-this'), { recursive: true })
  await mkdir(join(lab.paths.vms, 'v7'))
  await writeFile(lab.paths.vm('v7').handle, '{ not json')
  await lab.handles.save({ ...lab.handle('v1'), stage: 'gone' })
  await writeFile(lab.paths.vm('v1').scratch, 'a disk of a VWN that is gone')
  await mkdir(join(lab.paths.folder, 'scratch'))
  await writeFile(join(lab.paths.folder, 'scratch', '.1g.ext4.aaaaaaaaaa.tmp'), '')
  for (const name of ['0123456789abcdef', 'what-is-this', 'new', 'old']) {
    await mkdir(join(lab.paths.templates, name), { recursive: true })
    await writeFile(join(lab.paths.templates, name, 'memory'), '')
  }
  const found = await lab.look()
  expect(found.map(({ kind, what }) => `${kind} ${what.replace(lab.home.home, '')}`).sort()).toEqual([
    'file /hosts/h1/scratch/.1g.ext4.aaaaaaaaaa.tmp', 'file /hosts/h1/vms/v1/scratch.qcow2',
    'folder /hosts/h1/templates/0123456789abcdef', 'folder /hosts/h1/templates/what-is-this', 'folder /hosts/h1/vms/v7', 'folder /hosts/h1/vms/what-is-this',
  ])
  expect(auditText(found)).toContain('   4  folders not explained\n')
})

test('a record that speaks of a VM that is not there is found, and another process with its pid is no excuse', { timeout: 20_000 }, async () => {
  await using lab = await auditLab()
  const vm = { driver: 'qemu', name: `wnod.${lab.home.hash}.h1.v1`, pid: process.pid, startTicks: 1, control: '/x' }
  await lab.handles.save({ ...lab.handle('v1'), stage: 'ready', vm })
  expect(await lab.look()).toEqual([{ kind: 'record', what: 'v1', why: 'its VM does not run' }])
})

test("a QEMU of this farm without a record is found, somebody else's is not", { timeout: 20_000 }, async () => {
  await using lab = await auditLab()
  // The audit goes by the command line: any process under QEMU's name is as good as a real one.
  const pretend = (name: string) => spawn(process.execPath, ['-e', 'process.stdin.resume()', '--', '-name', `${name},process=x`], { argv0: 'qemu-system-x86_64', stdio: ['pipe', 'ignore', 'ignore'] })
  const [ours, other, template] = [pretend(`wnod.${lab.home.hash}.h1.v9`), pretend('wnod.somebodyelse.h1.v9'), pretend(`wnod.${lab.home.hash}.h1.template`)]
  try {
    await mkdir(lab.paths.folder, { recursive: true })
    const unknown = (name: string, pid: number | undefined) => ({ kind: 'vm', what: `wnod.${lab.home.hash}.h1.${name} (pid ${pid})`, why: 'no record names it' })
    const found = await lab.look(qemu({ clock: systemClock }))
    expect(new Set(found)).toEqual(new Set([unknown('v9', ours.pid), unknown('template', template.pid)]))
    await mkdir(join(lab.paths.templates, 'new'), { recursive: true }) // one is being made
    expect(await lab.look(qemu({ clock: systemClock }))).toEqual([unknown('v9', ours.pid)])
  } finally {
    for (const child of [ours, other, template]) {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  }
})

// ---------------------------------------------------------------- probe and doctor

async function probeLab(script: Partial<FakeScript>) {
  const folder = await tempFolder()
  await emptyImage(folder.path)
  let boots = 0
  const scripted = fake({ clock: systemClock, ...script })
  const hypervisor: Hypervisor = { ...scripted, boot: (spec, signal) => ((boots += 1), scripted.boot(spec, signal)) }
  const options = {
    kit: { clock: systemClock, log: silentLog, signal: new AbortController().signal }, hypervisor, images: imageStore(folder.path),
    cache: join(folder.path, 'probes.json'), withinMs: { kvm: 150, tcg: 150 }, namePrefix: 'wnod.test.',
  }
  return { options, folder, scripted, boots: () => boots, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() }
}

test('an accelerator in which no guest starts is said to be just that, and is asked again', async () => {
  await using lab = await probeLab({}) // the scripted guest says nothing that a kernel says
  const facts = await probeAccelerators(lab.options)
  expect(facts.find(({ name }) => name === 'tcg')).toEqual({ name: 'tcg', works: false, why: 'a probe guest did not start in 0.15 s' })
  expect(chosen(facts)).toBeNull()
  const before = lab.boots()
  await probeAccelerators(lab.options)
  expect(lab.boots()).toBe(2 * before)
  expect(lab.scripted.vms.every((vm) => vm.state === 'ended')).toBe(true)
})

test('an accelerator that works is remembered, until somebody wants to know it afresh', async () => {
  await using lab = await probeLab({ console: 'wnod-init: hello\n' })
  const facts = await probeAccelerators({ ...lab.options, withinMs: { kvm: 5_000, tcg: 5_000 } })
  expect(chosen(facts)).not.toBeNull()
  const before = lab.boots()
  expect(await probeAccelerators(lab.options)).toEqual(facts)
  expect(lab.boots()).toBe(before)
  await probeAccelerators({ ...lab.options, fresh: true })
  expect(lab.boots()).toBeGreaterThan(before)
})

test('without hypervisor or image nothing is tried, and the reason is the answer', async () => {
  await using missing = await probeLab({ failAt: 'fingerprint' })
  expect(await probeAccelerators(missing.options)).toContainEqual({ name: 'tcg', works: false, why: 'scripted to be missing' })
  await using noImage = await probeLab({})
  const facts = await probeAccelerators({ ...noImage.options, images: imageStore('/nowhere') })
  expect(facts).toContainEqual({ name: 'tcg', works: false, why: expect.stringContaining('no image') as string })
})

test('doctor names what is missing, and the package that has it', async () => {
  await using folder = await tempFolder()
  const { vm } = baitSchema('/x').parse({ host: 'h1' })
  const findings = await doctor({ home: homePaths(folder.path), images: join(folder.path, 'none'), vm, path: folder.path, hypervisor: fake({ clock: systemClock, failAt: 'fingerprint' }) })
  expect(isFit(findings)).toBe(false)
  expect(findings).toContainEqual({ name: 'qemu-system-x86_64', state: 'bad', what: 'not found; it runs the guests', mend: 'apt-get install qemu-system-x86' })
  expect(findings).toContainEqual(expect.objectContaining({ name: 'images', state: 'bad', mend: expect.stringContaining('wnod image build') as string }))
  expect(findings).toContainEqual({ name: 'tcg', state: 'bad', what: 'scripted to be missing', mend: null })
  expect(doctorText(findings)).toContain('this host cannot run VWNs yet')
})

test.each([['20.18.9', 'bad'], ['20.19.0', 'good'], ['22.0.0', 'good'], ['18.20.0', 'bad']])('node %s is %s', (version, state) => {
  expect(nodeFinding(version).state).toBe(state)
})
