import { readdir } from 'node:fs/promises'
import { expect, test } from 'vitest'
import type { PendingBook } from '../../bait/pending.ts'
import { effects } from '../../bait/vwns/boot.ts'
import { VwnError } from '../../core/errors.ts'
import { typeName } from '../../core/ids.ts'
import { claimPidFile } from '../../kit/pid-file.ts'
import { until } from '../../kit/until.ts'
import { baitLab } from './lab.ts'
import { playedDoor } from './played-door.ts'

test('a VWN that is wanted is made, serves jobs of its owner, is scrubbed, and goes when it is told', async () => {
  await using lab = await baitLab()
  await lab.start()
  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1', { job, owner: { uid: 1000, gid: 1000, project: null } }))
  await until(() => lab.jobs.assigned.length === 1, { withinMs: 5_000 })
  expect(await lab.seen('v1', 'busy')).toMatchObject({ job, jobsRun: 0, bootAttempt: 1, accelerator: 'tcg', cause: null })
  const first = lab.jobs.assigned[0]
  expect(first?.facts).toMatchObject({ reused: false, bootMs: expect.any(Number) as number, contactMs: expect.any(Number) as number })

  first?.end()
  expect(await lab.seen('v1', 'idle')).toMatchObject({ job: null, jobsRun: 1 })
  expect(lab.jobs.scrubs).toEqual([{ job, tookMs: 3 }])

  const second = lab.jobs.submit('h1-2')
  lab.order(lab.wanted('v1', { job: second, owner: { uid: 1000, gid: 1000, project: null } }))
  await until(() => lab.jobs.assigned.length === 2, { withinMs: 5_000 })
  expect(lab.jobs.assigned[1]?.facts).toMatchObject({ reused: true, bootMs: null, contactMs: null })
  lab.jobs.assigned[1]?.end(false)
  expect(await lab.seen('v1', 'idle')).toMatchObject({ jobsRun: 1 })
  expect(lab.jobs.scrubs).toHaveLength(1)

  lab.order(lab.wanted('v1', { want: 'gone' }))
  await lab.seen('v1', 'gone')
  expect(lab.hypervisor.vms.map((vm) => vm.state)).toEqual(['ended'])
  expect(await lab.audit()).toEqual([])
  lab.order()
  await until(() => lab.reports.at(-1)?.vwns.length === 0, { withinMs: 5_000 })
  expect(await readdir(lab.home.host('h1').vms)).toEqual([])
  expect(await lab.audit()).toEqual([])
})

test('what is logged of a VWN while it is made for a job, and while it serves it, carries the trace of the job', async () => {
  await using lab = await baitLab()
  await lab.start()
  const job = lab.jobs.submit('h1-1')
  const trace = lab.jobs.traceOf(job)
  lab.order(lab.wanted('v1', { job }))
  await until(() => lab.jobs.assigned.length === 1, { withinMs: 5_000 })
  const about = lab.logged.filter((line) => line['job'] === job)
  const moves = about.filter(({ msg }) => msg === 'vwn moves').map((line) => line['to'])
  expect(moves).toEqual(['booting', 'idle', 'busy'])
  expect(about.map(({ msg }) => msg)).toContain('vwn made')
  expect(new Set(about.map((line) => line['trace']))).toEqual(new Set([trace]))
})

test("another user's job is never put into a VWN, whatever the controller says", async () => {
  await using lab = await baitLab()
  await lab.start()
  const mine = lab.jobs.submit('h1-1', 1000)
  lab.order(lab.wanted('v1', { job: mine }))
  await until(() => lab.jobs.assigned.length === 1, { withinMs: 5_000 })
  lab.jobs.assigned[0]?.end()
  await lab.seen('v1', 'idle')
  const other = lab.jobs.submit('h1-2', 1001)
  lab.order(lab.wanted('v1', { job: other, owner: { uid: 1001, gid: 1001, project: null } }))
  await until(() => lab.jobs.answers.length === 1, { withinMs: 5_000 })
  expect(lab.jobs.answers[0]).toMatchObject({ job: other, is: 'refused', failure: { code: 'VWN_NOT_OWNER' } })
  expect(lab.jobs.assigned).toHaveLength(1)
})

test('a scrub that leaves something, or does not answer, retires the VWN', async () => {
  await using lab = await baitLab()
  await lab.start()
  const job = lab.jobs.submit('h1-1')
  lab.jobs.scrub = () => Promise.resolve({ checked: ['scratch'], left: ['/tmp/secret'], tookMs: 1 })
  lab.order(lab.wanted('v1', { job }))
  await until(() => lab.jobs.assigned.length === 1, { withinMs: 5_000 })
  lab.jobs.assigned[0]?.end()
  expect(await lab.seen('v1', 'gone')).toMatchObject({ cause: { code: 'VWN_DIRTY', message: expect.stringContaining('/tmp/secret') as string } })

  const next = lab.jobs.submit('h1-2')
  lab.jobs.scrub = () => Promise.reject(new Error('no answer'))
  lab.order(lab.wanted('v2', { job: next }))
  await until(() => lab.jobs.assigned.length === 2, { withinMs: 5_000 })
  lab.jobs.assigned[1]?.end()
  expect(await lab.seen('v2', 'gone')).toMatchObject({ cause: { code: 'VWN_SILENT' } })
  expect(await lab.audit()).toEqual([])
})

test('a boot that misses its deadline is tried once more, then fails with the end of its serial log', async () => {
  await using once = await baitLab({ failAt: 'hello', failTimes: 1, deadlineMs: 1_500 })
  await once.start()
  once.order(once.wanted('v1'))
  expect(await once.seen('v1', 'idle')).toMatchObject({ bootAttempt: 2, cause: null })

  await using twice = await baitLab({ failAt: 'ready', deadlineMs: 1_000 })
  await twice.start()
  twice.order(twice.wanted('v1'))
  const gone = await twice.seen('v1', 'gone')
  expect(gone).toMatchObject({ bootAttempt: 2, pid: null, cause: { code: 'VWN_BOOT_TIMEOUT' } })
  expect(gone.cause?.message).toContain('fake guest boots')
  expect(twice.hypervisor.vms.map((vm) => vm.state)).toEqual(['ended', 'ended'])
  expect(await twice.audit()).toEqual([])
})

test('a guest that dies while it boots is tried once more; one that dies later is reported with the reason', async () => {
  await using lab = await baitLab({ exit: { afterMs: 20, code: 1 }, bootMs: 10_000 })
  await lab.start()
  lab.order(lab.wanted('v1'))
  expect(await lab.seen('v1', 'gone')).toMatchObject({ bootAttempt: 2, cause: { code: 'VWN_DIED' } })

  await using later = await baitLab()
  await later.start()
  const job = later.jobs.submit('h1-1')
  later.order(later.wanted('v1', { job }))
  await later.seen('v1', 'busy')
  await later.hypervisor.crash(later.hypervisor.vms[0]?.handle.name ?? '')
  expect(await later.seen('v1', 'gone')).toMatchObject({ cause: { code: 'VWN_DIED', message: expect.stringContaining('crashed as told') as string } })
  expect(await later.audit()).toEqual([])
})

test('a port that is taken is replaced by another, without counting as an attempt', async () => {
  await using lab = await baitLab({ failAt: 'port taken', failTimes: 3 })
  await lab.start()
  lab.order(lab.wanted('v1'))
  expect(await lab.seen('v1', 'idle')).toMatchObject({ bootAttempt: 1 })
})

test('a missing image and a hypervisor that does not start are reported, not tried for ever', async () => {
  await using lab = await baitLab({ failAt: 'spawn' })
  await lab.start()
  const nowhere = { ...lab.spec, image: 'f'.repeat(64) as typeof lab.spec.image }
  lab.order(lab.wanted('v1', { spec: nowhere }), lab.wanted('v2'))
  expect(await lab.seen('v1', 'gone')).toMatchObject({ bootAttempt: 1, cause: { code: 'IMAGE_NOT_FOUND' } })
  expect(await lab.seen('v2', 'gone')).toMatchObject({ bootAttempt: 2, cause: { code: 'HYPERVISOR_FAILED' } })
  expect(await lab.audit()).toEqual([])
})

test('garbage and floods on the port change nothing but the count of what was dropped', async () => {
  const noise = Buffer.concat([Buffer.alloc(200_000, 'x'), Buffer.from('\n{"kind":"hello"}\n\0\xff{\n[]\n'), Buffer.from('{"kind":"ready"}\n'.repeat(100))])
  await using lab = await baitLab({ noise })
  await lab.start()
  lab.order(lab.wanted('v1'))
  expect(await lab.seen('v1', 'idle')).toMatchObject({ bootAttempt: 1 })
  expect(lab.logged.filter((line) => line.msg === 'guest sent what nobody can read').length).toBeGreaterThan(0)
})

test('a silent controller ends nothing; one that has forgotten a VWN, or claims it anew, does', async () => {
  await using lab = await baitLab()
  await lab.start()
  lab.order(lab.wanted('v1'), lab.wanted('v2'))
  await lab.seen('v1', 'idle')
  await lab.seen('v2', 'idle')
  lab.silent = true
  await until(() => lab.logged.some((line) => line.msg === 'controller does not answer; what runs, runs on'), { withinMs: 5_000 })
  await lab.stop()
  await lab.start()
  await until(() => lab.bait.parts.vwns.all().length === 2, { withinMs: 5_000 })
  lab.bait.parts.reconciler.runOnce()
  expect(lab.hypervisor.vms.filter((vm) => vm.state !== 'ended')).toHaveLength(2)

  lab.silent = false
  lab.order(lab.wanted('v2', { token: { term: 2, epoch: 1 } }))
  await until(() => lab.hypervisor.vms.filter((vm) => vm.state !== 'ended').length === 1, { withinMs: 5_000, what: 'only a new v2 is there' })
  await until(() => lab.reports.at(-1)?.vwns.some(({ vwn, state, token }) => vwn === 'v2' && state === 'idle' && token.term === 2), { withinMs: 8_000, what: 'v2 is what is wanted now' })
  expect(lab.hypervisor.vms).toHaveLength(3)
})

test('a bait that comes back takes on what is warm, scrubs what had a job, and buries what died', async () => {
  await using lab = await baitLab()
  await lab.start()
  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1'), lab.wanted('v2', { job }), lab.wanted('v3'))
  await Promise.all([lab.seen('v1', 'idle'), lab.seen('v2', 'busy'), lab.seen('v3', 'idle')])
  await lab.stop()
  const v3 = lab.hypervisor.vms.find((vm) => vm.handle.name.endsWith('.v3'))
  await lab.hypervisor.crash(v3?.handle.name ?? '')

  let release: () => void = () => undefined
  const held = new Promise<void>((resolve) => (release = resolve))
  lab.jobs.scrub = async () => (await held, { checked: [], left: [], tookMs: 5 })
  await lab.start()
  await Promise.all([lab.seen('v1', 'idle'), lab.seen('v2', 'cleaning'), lab.seen('v3', 'gone')])
  release()
  expect(await lab.seen('v2', 'idle')).toMatchObject({ jobsRun: 1, job: null })
  expect(await lab.seen('v3', 'gone')).toMatchObject({ cause: { code: 'VWN_DIED' } })
  expect(lab.hypervisor.vms).toHaveLength(3)
  expect(await lab.audit()).toEqual([])
})

test('a broken session is opened again; a guest that cannot be reached any more is given up', async () => {
  await using lab = await baitLab()
  await lab.start()
  lab.order(lab.wanted('v1'))
  await lab.seen('v1', 'idle')
  lab.jobs.sessions.at(-1)?.breakOff()
  await until(() => lab.jobs.sessions.length === 2, { withinMs: 5_000 })
  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1', { job }))
  await until(() => lab.jobs.assigned.length === 1, { withinMs: 5_000 })
  expect(lab.jobs.assigned[0]?.place.session).toBe(lab.jobs.sessions[1])
})

test('kill insists: a busy VWN goes at once; gone alone waits for its job', async () => {
  await using lab = await baitLab()
  await lab.start()
  const [one, two] = [lab.jobs.submit('h1-1'), lab.jobs.submit('h1-2')]
  lab.order(lab.wanted('v1', { job: one }), lab.wanted('v2', { job: two }))
  await Promise.all([lab.seen('v1', 'busy'), lab.seen('v2', 'busy')])
  lab.order(lab.wanted('v1', { job: one, want: 'gone', insist: true }), lab.wanted('v2', { job: two, want: 'gone' }))
  await lab.seen('v1', 'gone')
  expect(await lab.seen('v2', 'busy')).toMatchObject({ job: two })
  lab.jobs.assigned.find((assigned) => assigned.job === two)?.end()
  await lab.seen('v2', 'gone')
  expect(lab.jobs.scrubs).toEqual([])
})

test('what batch systems say of their pending jobs is told with every report', async () => {
  await using lab = await baitLab()
  let pending: PendingBook | null = null
  await lab.start({
    openJobs: (_kit, at) => {
      pending = at.pending
      return { jobs: lab.jobs, clean: lab.jobs.clean, door: playedDoor() }
    },
  })
  await until(() => lab.reports.at(-1)?.pending.length === 0, { withinMs: 5_000 })
  const word = { batchSystem: 'slurm', counts: [{ type: typeName('small'), jobs: 3 }] }
  ;(pending as PendingBook | null)?.note(word)
  await until(() => lab.reports.at(-1)?.pending[0]?.nth === 1, { withinMs: 5_000 })
  const reports = lab.reports.length
  await until(() => lab.reports.length > reports + 1, { withinMs: 5_000 })
  expect(lab.reports.at(-1)?.pending).toMatchObject([{ ...word, nth: 1, agoMs: expect.any(Number) as number }])
})

test('a second bait for the same host is refused', async () => {
  await using lab = await baitLab()
  await using _holder = await claimPidFile(lab.home.host('h1').pid, process.ppid)
  await expect(lab.start()).rejects.toMatchObject({ code: 'PROGRAM_RUNNING' })
})

test.each(effects.filter((effect) => effect !== 'paused' && effect !== 'woken'))('a failure right after %s is undone whole', async (effect) => {
  await using lab = await baitLab()
  let failed = false
  await lab.start({
    after: (now) => {
      if (now !== effect || failed) return
      failed = true
      throw new VwnError('DISK_FULL', { effect })
    },
  })
  const job = lab.jobs.submit('h1-1')
  lab.order(lab.wanted('v1', { job }))
  if (['assigned', 'released', 'cleaned'].includes(effect)) await until(() => failed || lab.jobs.assigned[0]?.end(), { withinMs: 5_000 })
  if (['stopped', 'removed', 'gone'].includes(effect)) {
    await lab.seen('v1', 'busy')
    lab.order(lab.wanted('v1', { want: 'gone', insist: true }))
  }
  await until(() => failed, { withinMs: 5_000, what: `${effect} happens` })
  expect(await lab.seen('v1', 'gone')).toBeDefined()
  expect(lab.hypervisor.vms.every((vm) => vm.state === 'ended')).toBe(true)
  expect(await lab.audit()).toEqual([])
})
