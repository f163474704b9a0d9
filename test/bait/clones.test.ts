/** A bait with the scripted hypervisor that clones its VWNs where it can. */
import { appendFile, rm, truncate, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { TemplateFiles } from '../../bait/templates/files.ts'
import type { EffectName } from '../../bait/vwns/boot.ts'
import type { Handle } from '../../bait/vwns/handles.ts'
import { VwnError } from '../../core/errors.ts'
import { until } from '../../kit/until.ts'
import { jobId, vwnId } from '../../core/ids.ts'
import { baitLab, type BaitLab } from './lab.ts'

const handleOf = (lab: BaitLab, vwn: string): Handle | undefined => lab.bait.parts.vwns.get(vwnId(vwn))?.handle
/** Made for a job that is not there any more: it is not paused, and did not wait for a template. */
const hurried = (lab: BaitLab) => lab.wanted('v1', { job: jobId('h1-99') })
const templateMade = (lab: BaitLab) => until(() => lab.bait.parts.templates.kept()[0]?.template.id, { withinMs: 8_000, what: 'a template' })
const there = (lab: BaitLab): string[] => lab.hypervisor.vms.filter(({ state }) => state !== 'ended').map(({ handle }) => handle.name.split('.').at(-1) ?? '')

test('the first VWN is booted and its template made behind it; the next ones are clones, which later baits adopt', async () => {
  await using lab = await baitLab({ templates: true })
  await lab.start()
  lab.order(hurried(lab))
  await lab.seen('v1', 'idle')
  expect(handleOf(lab, 'v1')).toMatchObject({ made: 'boot', template: null, bootedBecause: expect.stringContaining('is being made') as string })
  const template = await templateMade(lab)
  expect(await lab.audit()).toEqual([])

  lab.order(hurried(lab), lab.wanted('v2'))
  expect(await lab.seen('v2', 'idle')).toMatchObject({ bootAttempt: 1, phases: { boot: expect.any(Number) as number, contact: expect.any(Number) as number } })
  expect(handleOf(lab, 'v2')).toMatchObject({ made: 'clone', template, bootedBecause: null })
  expect(lab.hypervisor.vms).toHaveLength(3)
  expect(await lab.audit()).toEqual([])

  await lab.stop()
  expect(await lab.audit()).toEqual([])
  await lab.start()
  lab.order(hurried(lab), lab.wanted('v2'), lab.wanted('v3'))
  await Promise.all([lab.seen('v1', 'idle'), lab.seen('v2', 'idle'), lab.seen('v3', 'idle')])
  expect(handleOf(lab, 'v2')).toMatchObject({ made: 'clone', template })
  expect(handleOf(lab, 'v3')).toMatchObject({ made: 'clone', template })
  expect(there(lab)).toEqual(['v1', 'v2', 'v3'])
  expect(lab.hypervisor.vms).toHaveLength(4)
  expect(await lab.audit()).toEqual([])
})

test('each clone that fails is booted in the same attempt, and the template is thrown away in the end', async () => {
  await using lab = await baitLab({ templates: true, failAt: 'restore' })
  await lab.start()
  lab.order(hurried(lab))
  await lab.seen('v1', 'idle')
  const template = await templateMade(lab)
  for (const vwn of ['v2', 'v3', 'v4']) {
    lab.order(hurried(lab), lab.wanted(vwn))
    expect(await lab.seen(vwn, 'idle')).toMatchObject({ bootAttempt: 1, cause: null })
    expect(handleOf(lab, vwn)).toMatchObject({ made: 'boot', template: null, bootedBecause: expect.stringMatching(/^a clone failed: .*as scripted/) as string })
    expect(await lab.audit()).toEqual([])
  }
  expect(lab.logged.find((line) => line.msg === 'template removed')).toMatchObject({ template, why: 'its clones failed' })
})

test.each([
  ['its memory was cut short', "the memory file of a template does not have its machine's size", ({ memory }: TemplateFiles) => truncate(memory, 4096)],
  ['its state was changed', 'the saved state of a template is damaged', ({ state }: TemplateFiles) => appendFile(state, 'x')],
  ['its disk is gone', 'a file cannot be read', ({ scratch }: TemplateFiles) => rm(scratch)],
  ['its disk is none', 'a file does not hold what it should', ({ scratch }: TemplateFiles) => writeFile(scratch, 'x'.repeat(64))],
])('the job runs in a booted VWN when of a template %s', async (_, words, spoil) => {
  await using lab = await baitLab({ templates: true })
  await lab.start()
  lab.order(hurried(lab))
  await lab.seen('v1', 'idle')
  await templateMade(lab)
  for (const { template } of lab.bait.parts.templates.kept()) await spoil(template.files)
  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v2', { job }))
  expect(await lab.seen('v2', 'busy')).toMatchObject({ job, bootAttempt: 1, cause: null })
  expect(handleOf(lab, 'v2')).toMatchObject({ made: 'boot', bootedBecause: expect.stringContaining(words) as string })
  expect(lab.logged.find((line) => line.msg === 'template removed')).toMatchObject({ why: 'it is damaged' })
  expect(await lab.audit()).toEqual([])
})

test('a clone that does not become available leaves time for a boot', async () => {
  await using lab = await baitLab({ templates: true, deadlineMs: 3_000 })
  let hangs = false
  await lab.start({
    connectGuest: (_, signal) => {
      if (!hangs) return Promise.resolve(lab.jobs.session())
      hangs = false
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
    },
  })
  lab.order(hurried(lab))
  await lab.seen('v1', 'idle')
  await templateMade(lab)
  hangs = true
  lab.order(lab.wanted('v2'))
  expect(await lab.seen('v2', 'idle')).toMatchObject({ bootAttempt: 1, cause: null })
  expect(handleOf(lab, 'v2')).toMatchObject({ made: 'boot', bootedBecause: expect.stringMatching(/did not report ready in time/) as string })
})

test.each(['disks', 'spawned', 'recorded', 'running', 'available'] as const)('a failure of a clone right after %s is undone whole', async (effect: EffectName) => {
  await using lab = await baitLab({ templates: true })
  let failing = false
  await lab.start({
    after: (now) => {
      if (!failing || now !== effect) return
      failing = false
      throw new VwnError('VWN_MISBEHAVED', { effect })
    },
  })
  lab.order(hurried(lab))
  await lab.seen('v1', 'idle')
  await templateMade(lab)
  failing = true
  lab.order(lab.wanted('v2'))
  expect(await lab.seen('v2', 'idle')).toMatchObject({ bootAttempt: 1 })
  expect(handleOf(lab, 'v2')?.made).toBe('boot')
  await until(() => there(lab).length === 1, { withinMs: 5_000 })
  expect(await lab.audit()).toEqual([])
})

test('a VWN that no job waits for waits for its template, and is a clone; where there can be none it is booted', async () => {
  await using lab = await baitLab({ templates: true })
  await lab.start()
  lab.order(lab.wanted('v1'), lab.wanted('v2'))
  await Promise.all([lab.seen('v1', 'idle'), lab.seen('v2', 'idle')])
  expect([handleOf(lab, 'v1')?.made, handleOf(lab, 'v2')?.made]).toEqual(['clone', 'clone'])
  expect(lab.hypervisor.vms.map(({ handle }) => handle.name.split('.').at(-1)).sort()).toEqual(['template', 'v1', 'v2'])

  await using none = await baitLab({ templates: true, failAt: 'save' })
  await none.start()
  none.order(none.wanted('v1'))
  await none.seen('v1', 'idle')
  expect(handleOf(none, 'v1')).toMatchObject({ made: 'boot', bootedBecause: expect.stringContaining('could not be saved') as string })
  expect(await none.audit()).toEqual([])
})

test('a VWN that is told to go while it waits for its template goes at once', async () => {
  await using lab = await baitLab({ templates: true, bootMs: 60_000, deadlineMs: 60_000 })
  await lab.start()
  lab.order(lab.wanted('v1'))
  await until(() => lab.hypervisor.vms.some(({ handle, state }) => handle.name.endsWith('.template') && state === 'running'), { withinMs: 5_000, what: 'a template that boots' })
  lab.order(lab.wanted('v1', { want: 'gone' }))
  await lab.seen('v1', 'gone')
  expect(await lab.audit()).toEqual([])
})

test('templates of the machines that may be asked for are made before anybody asks, and told of', async () => {
  await using lab = await baitLab({ templates: true })
  await lab.start()
  const large = { ...lab.spec, shape: { ...lab.spec.shape, memoryMib: 128 } }
  lab.expect(lab.spec, large)
  const facts = () => lab.reports.at(-1)?.facts.templates ?? []
  await until(() => facts().length === 2 && facts().every(({ state }) => state === 'ready'), { withinMs: 8_000, what: `two templates; last: ${JSON.stringify(facts())}` })
  expect(facts().map(({ shape }) => shape.memoryMib)).toEqual([64, 128])
  for (const fact of facts()) expect(fact).toMatchObject({ why: null, diskMib: expect.any(Number) as number, tookMs: expect.any(Number) as number })
  expect(lab.reports.at(-1)?.facts.templatesMibMax).toBe(8 * 1024)
  lab.order(lab.wanted('v1', { job: lab.jobs.submit('h1-1') }))
  await lab.seen('v1', 'busy')
  expect(handleOf(lab, 'v1')).toMatchObject({ made: 'clone' })
  const seen = JSON.stringify(facts())
  const session = lab.reports.at(-1)?.session
  await lab.stop()
  await lab.start()
  await until(() => JSON.stringify(facts()) === seen && lab.reports.at(-1)?.session !== session, { withinMs: 8_000, what: 'the same of the next bait' })
  expect(lab.hypervisor.vms.filter(({ handle }) => handle.name.endsWith('.template'))).toHaveLength(2)
})

test('where memory is short for a template, or for a clone, the job runs in a VWN that is booted', async () => {
  await using lab = await baitLab({ templates: true })
  const noMemory = (): Promise<never> => Promise.reject(new VwnError('HYPERVISOR_FAILED', { said: 'cannot set up guest memory: Cannot allocate memory' }))
  let short: 'template' | 'clone' = 'template'
  const { bootTemplate, blank } = lab.hypervisor
  await lab.start({
    hypervisor: {
      ...lab.hypervisor,
      bootTemplate: (spec, signal) => (short === 'template' ? noMemory() : bootTemplate(spec, signal)),
      blank: (spec, signal) => (short === 'clone' ? noMemory() : blank(spec, signal)),
    },
  })
  lab.expect(lab.spec)
  const first = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1', { job: first }))
  await lab.seen('v1', 'busy')
  expect(handleOf(lab, 'v1')?.made).toBe('boot')
  await until(() => lab.reports.at(-1)?.facts.templates[0]?.why?.includes('Cannot allocate memory'), { withinMs: 5_000, what: 'a reason for no template' })
  short = 'clone'
  lab.expect(lab.spec, { ...lab.spec, network: 'outbound' }) // other orders: its turn has come again
  await templateMade(lab)
  const second = lab.jobs.submit('h1-2')
  lab.order(lab.wanted('v1', { job: first }), lab.wanted('v2', { job: second }))
  await lab.seen('v2', 'busy')
  expect(handleOf(lab, 'v2')).toMatchObject({ made: 'boot', bootAttempt: 1, bootedBecause: expect.stringContaining('Cannot allocate memory') as string })
  expect(await lab.audit()).toEqual([])
})
