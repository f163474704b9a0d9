/**
 * Bad luck with templates under a real QEMU: whatever becomes of one, the job gets a VWN that was booted, or none and is never handed
 * over; nothing of a half-made template is ever used, and afterwards nothing is there that no record explains.
 */
import { appendFile, mkdir, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BlankVm, Hypervisor, TemplateVm, Vm } from '../../bait/hypervisor/hypervisor.ts'
import { qemu } from '../../bait/hypervisor/qemu.ts'
import type { TemplateFiles } from '../../bait/templates/files.ts'
import type { Handle } from '../../bait/vwns/handles.ts'
import { vwnId, type ImageDigest } from '../../core/ids.ts'
import { systemClock } from '../../kit/clock.ts'
import { run } from '../../kit/command.ts'
import { imageStore } from '../../kit/image-store.ts'
import { Undo } from '../../kit/undo.ts'
import { until } from '../../kit/until.ts'
import { baitLab, type BaitLab } from '../bait/lab.ts'
import { testImages } from '../harness/images.ts'
import { smallImage } from '../harness/small-guest.ts'
import { tempFolder } from '../harness/temp.ts'

const base = await testImages().any()
const real = qemu({ clock: systemClock })
const bootMs = 60_000
const memoryMib = 96

describe.skipIf(base === null)(`faults of templates${base === null ? ': no image was built' : ''}`, { timeout: 300_000 }, () => {
  let folder: Awaited<ReturnType<typeof tempFolder>>
  let image: ImageDigest

  beforeAll(async () => {
    folder = await tempFolder()
    if (base !== null) image = await smallImage(base, folder.path)
  })
  afterAll(() => folder[Symbol.asyncDispose]())

  /** A bait, not started, whose hypervisor is QEMU but for what a test changes. */
  const faultLab = (changes: Partial<Hypervisor> = {}): Promise<BaitLab> =>
    baitLab({ templates: true, deadlineMs: bootMs, hypervisor: { ...real, ...changes }, images: imageStore(folder.path), image, memoryMib })

  /** The first VWN is booted for a job that does not wait for a template, which is made behind it when there is to be one. */
  async function first(lab: BaitLab): Promise<void> {
    await jobRuns(lab, 'v1')
    await template(lab)
  }

  /** A job gets a VWN of its own, in which nothing is wrong. */
  async function jobRuns(lab: BaitLab, vwn: string): Promise<Handle> {
    const job = lab.jobs.submit(`h1-${vwn.slice(1)}`)
    lab.order(...(vwn === 'v1' ? [] : [lab.wanted('v1')]), lab.wanted(vwn, { job }))
    expect(await lab.seen(vwn, 'busy', bootMs)).toMatchObject({ job, bootAttempt: 1, cause: null })
    const handle = lab.bait.parts.vwns.get(vwnId(vwn))?.handle
    if (handle === undefined) throw new Error(`${vwn} is not there`)
    return handle
  }

  /** Everything goes, and nothing is left. */
  async function leavesNothing(lab: BaitLab): Promise<void> {
    lab.order()
    await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: bootMs, what: 'no VWN' })
    await lab.stop()
    expect(await lab.audit()).toEqual([])
    expect(await real.find(`wnod.${lab.home.hash}.`)).toEqual([])
  }

  test('what is left of a template that was damaged in its place is never used, and it is made again', async () => {
    await using lab = await faultLab()
    await lab.start()
    await first(lab)
    const damages: readonly (readonly [string, string, (files: TemplateFiles) => Promise<void>])[] = [
      ['v2', "the memory file of a template does not have its machine's size", ({ memory }) => truncate(memory, 4096)],
      ['v3', 'the saved state of a template is damaged', ({ state }) => appendFile(state, 'x')],
      ['v4', 'a file cannot be read', ({ scratch }) => rm(scratch)],
    ]
    for (const [vwn, words, damage] of damages) {
      await damage((await template(lab)).files)
      expect(await jobRuns(lab, vwn)).toMatchObject({ made: 'boot', template: null, bootedBecause: expect.stringContaining(words) as string })
      expect(lab.logged.filter((line) => line.msg === 'template removed').at(-1)).toMatchObject({ why: 'it is damaged' })
      await until(() => lab.bait.parts.templates.kept().length === 0, { withinMs: bootMs, what: 'the damaged template is gone' })
      // The next one who asks brings it back.
      lab.order(lab.wanted('v1'), lab.wanted(`v1${vwn.slice(1)}`))
      await lab.seen(`v1${vwn.slice(1)}`, 'idle', bootMs)
    }
    await template(lab)
    expect(await jobRuns(lab, 'v5')).toMatchObject({ made: 'clone' })
    await leavesNothing(lab)
  })

  test('QEMU that is killed while it saves leaves no template, and the VWN that was booted for it', async () => {
    let killed = 0
    await using lab = await faultLab({
      async bootTemplate(spec, signal): Promise<TemplateVm> {
        const vm = await real.bootTemplate(spec, signal)
        return {
          ...vm,
          saveState(file, stop) {
            const saving = vm.saveState(file, stop)
            if (killed++ === 0) process.kill(vm.handle.pid, 'SIGKILL')
            return saving
          },
        }
      },
    })
    await lab.start()
    await jobRuns(lab, 'v1')
    await until(() => lab.logged.some((line) => line.msg === 'template could not be made'), { withinMs: bootMs, what: 'a template fails' })
    expect(lab.bait.parts.templates.kept()).toEqual([])
    expect(await whatIsThere(lab)).toEqual([])
    expect(await jobRuns(lab, 'v2')).toMatchObject({ made: 'boot' })
    await template(lab)
    expect(await jobRuns(lab, 'v3')).toMatchObject({ made: 'clone' })
    await leavesNothing(lab)
  })

  test('a clone whose QEMU is killed while it is restored is booted in the same attempt', async () => {
    await using lab = await faultLab({ blank: failingBlank((pid, restore) => {
      const restoring = restore()
      process.kill(pid, 'SIGKILL')
      return restoring
    }) })
    await lab.start()
    await first(lab)
    expect(await jobRuns(lab, 'v2')).toMatchObject({ made: 'boot', bootedBecause: expect.stringMatching(/^a clone failed: .*signal=SIGKILL/) as string })
    await leavesNothing(lab)
  })

  test('a clone for which there is no memory is booted in the same attempt', async () => {
    await using lab = await faultLab({ blank: failingBlank((pid, restore) => starve(pid).then(restore)) })
    await lab.start()
    await first(lab)
    expect(await jobRuns(lab, 'v2')).toMatchObject({ made: 'boot', bootedBecause: expect.stringMatching(/^a clone failed: /) as string })
    await leavesNothing(lab)
  })

  test('where there is memory for no VM at all no job is handed over', async () => {
    const program = join(folder.path, 'qemu-without-memory')
    await writeFile(program, '#!/bin/sh\ncase "$1" in --version) ;; *) ulimit -v 300000 ;; esac\nexec qemu-system-x86_64 "$@"\n', { mode: 0o755 })
    await using lab = await faultLab(qemu({ clock: systemClock, program }))
    await lab.start()
    lab.order(lab.wanted('v1', { job: lab.jobs.submit('h1-1') }))
    expect(await lab.seen('v1', 'gone', bootMs)).toMatchObject({ bootAttempt: 2, cause: { code: 'HYPERVISOR_FAILED', message: expect.stringContaining('allocate') as string } })
    expect(lab.jobs.assigned).toEqual([])
    await leavesNothing(lab)
  })

  // A disk that is full is made of a small tmpfs, which only root can mount.
  test.skipIf(process.getuid?.() !== 0)('a disk that is full half-way through a template leaves nothing of it, and VWNs are booted', async () => {
    await using lab = await faultLab()
    await using undo = new Undo()
    const at = lab.home.host('h1').templates
    await mkdir(at, { recursive: true })
    await run('mount', ['-t', 'tmpfs', '-o', 'size=20m', 'wnod-test', at])
    undo.push('mount', () => run('umount', ['--lazy', at]))
    await lab.start()
    await jobRuns(lab, 'v1')
    await until(() => lab.logged.some((line) => line.msg === 'template could not be made'), { withinMs: bootMs, what: 'a template fails' })
    expect(await whatIsThere(lab)).toEqual([])
    expect(await jobRuns(lab, 'v2')).toMatchObject({ made: 'boot' })
    await leavesNothing(lab)
  })
})

/** Blanks whose restoring `happens` may spoil. */
function failingBlank(happens: (pid: number, restore: () => Promise<Vm>) => Promise<Vm>): Hypervisor['blank'] {
  return async (spec, signal): Promise<BlankVm> => {
    const vm = await real.blank(spec, signal)
    return { ...vm, restore: (file, stop) => happens(vm.handle.pid, () => vm.restore(file, stop)) }
  }
}

/** From now on this process gets no more memory than it has. */
const starve = (pid: number): Promise<unknown> => run('prlimit', [`--pid=${pid}`, '--as=1048576'], { timeoutMs: 10_000 })

/** The whole template, as soon as there is one. */
const template = (lab: BaitLab) => until(() => lab.bait.parts.templates.kept()[0]?.template, { withinMs: bootMs, what: 'a template' })

/** Folders of templates that somebody could take for whole; the one in which the next is being made is none. */
const whatIsThere = async (lab: BaitLab): Promise<string[]> => (await readdir(lab.home.host('h1').templates).catch(() => [])).filter((name) => name !== 'new')
