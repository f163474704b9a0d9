/** `wnod hook pending`: who may say how many jobs pend, what the bait keeps of it, and what is asked of the batch systems themselves. */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { execa } from 'execa'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { openPending } from '../../bait/pending.ts'
import { typeName } from '../../core/ids.ts'
import { gridEngineTypes, gridEngineWaiting, slurmJobs } from '../../hooks/hook/pending-jobs.ts'
import { fakeClock } from '../../kit/clock.ts'
import { pendingSystemsMax } from '../../wire/bait.ts'
import { buildStarter, hookFile, openDesk, starterFolder, type Desk } from './desk.ts'

beforeAll(buildStarter, 60_000)
afterAll(() => rmSync(starterFolder, { recursive: true, force: true }))
vi.setConfig({ testTimeout: 60_000 })

const root = process.getuid?.() === 0
const silent = { exitCode: 0, stdout: '', stderr: '' }
const counts = (said: Readonly<Record<string, number>>) => Object.entries(said).map(([type, jobs]) => ({ type: typeName(type), jobs }))
const hook = (desk: Desk, args: readonly string[], as: { uid?: number; gid?: number } = {}) =>
  execa(process.execPath, [hookFile, 'pending', ...args], { env: { WNOD_SOCKET: desk.socket, WNOD_HOME: desk.folder, PATH: `${desk.folder}/bin:${process.env['PATH'] ?? ''}` }, extendEnv: false, reject: false, cwd: '/', ...as })
/** Commands of a batch system that say this. */
function played(desk: Desk, command: string, script: string): void {
  mkdirSync(join(desk.folder, 'bin'), { recursive: true })
  writeFileSync(join(desk.folder, 'bin', command), `#!/bin/sh\n${script}\n`)
  chmodSync(join(desk.folder, 'bin', command), 0o755)
}

test('the bait keeps the last word of each batch system, and tells it with every report', async () => {
  await using desk = await openDesk()
  expect(await hook(desk, ['tiny=3', 'el9=0', 'tiny=1'])).toMatchObject(silent)
  expect(await hook(desk, ['--batch-system', 'lsf', 'tiny=7'])).toMatchObject(silent)
  expect(desk.pending.said()).toMatchObject([{ batchSystem: 'batch', nth: 1, counts: counts({ el9: 0, tiny: 4 }) }, { batchSystem: 'lsf', nth: 2, counts: counts({ tiny: 7 }) }])
  expect(await hook(desk, [])).toMatchObject(silent)
  expect(desk.pending.said()).toMatchObject([{ batchSystem: 'lsf', nth: 2 }, { batchSystem: 'batch', nth: 3, counts: [] }])
})

test.skipIf(!root)('others than root are believed only where the settings of the bait name them', async () => {
  const games = { uid: 5, gid: 60 }
  await using desk = await openDesk()
  expect(await hook(desk, ['tiny=3'], games)).toMatchObject({ exitCode: 1, stdout: '', stderr: expect.stringMatching(/^wnod: this user may not say .*games.*\(PENDING_NOT_YOURS\): .*`reporters`/s) as string })
  expect(desk.pending.said()).toEqual([])
  await using open = await openDesk({ reporters: ['games'] })
  expect(await hook(open, ['tiny=3'], games)).toMatchObject(silent)
  expect(open.pending.said()).toMatchObject([{ counts: counts({ tiny: 3 }) }])
})

test('what is no count is said, and a bait that is away', async () => {
  await using desk = await openDesk()
  for (const args of [['tiny'], ['tiny=-1'], ['tiny=1.5'], ['ti ny=1'], ['=1'], ['tiny=100000000'], ['--from', 'slurm', 'tiny=1'], ['--from', 'nqs'], ['--from', 'slurm', '--type', 'a b']]) {
    expect(await hook(desk, args), args.join(' ')).toMatchObject({ exitCode: 2, stdout: '', stderr: expect.stringMatching(/^wnod: .*\n?$/) as string })
  }
  expect(desk.pending.said()).toEqual([])
  expect(await hook(desk, ['--socket', '/nonexistent', 'tiny=1'])).toMatchObject({ exitCode: 75, stderr: expect.stringContaining('(BAIT_UNREACHABLE)') as string })
})

test('Slurm is asked by squeue, for what waits for room alone', async () => {
  await using desk = await openDesk()
  played(desk, 'squeue', `echo "$@" >${desk.folder}/asked; printf 'Resources|anna|bio|a,b\\nPriority|ben||a\\nDependency|ben||a\\nJobHeldUser|ben||a\\nNone|ben||a\\n'`)
  expect(await hook(desk, ['--from', 'slurm', '--partition', 'a,b', '--type', 'el9'])).toMatchObject(silent)
  expect(desk.pending.said()).toMatchObject([{ batchSystem: 'slurm', counts: counts({ el9: 3 }) }])
  expect((await execa('cat', [join(desk.folder, 'asked')])).stdout).toBe('--noheader --array --states=PENDING --format=%r|%u|%a|%P --partition=a,b')
  expect((await hook(desk, ['--from', 'slurm', '--type', 'el9', '--dry-run'])).stdout).toBe('el9=3')
  expect(desk.pending.said()).toHaveLength(1)
  played(desk, 'squeue', 'echo "slurm_load_jobs error" >&2; exit 1')
  expect(await hook(desk, ['--from', 'slurm', '--type', 'el9'])).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('(COMMAND_FAILED)') as string })
  expect(desk.pending.said()).toMatchObject([{ counts: counts({ el9: 3 }) }])
  expect(slurmJobs('Resources|anna|bio|a,b\n')).toEqual([{ type: null, user: 'anna', queue: 'a', project: 'bio' }])
})

test('Grid Engine is asked by qstat, for what says its type', async () => {
  const list = (id: number, state: string, tasks = ''): string => `<job_list state="pending"><JB_job_number>${id}</JB_job_number><state>${state}</state><slots>1</slots>${tasks}</job_list>`
  const xml = `<job_info><queue_info>\n</queue_info><job_info>${list(7, 'qw')}\n${list(8, 'hqw')}${list(9, 'qw', '<tasks>1-9:2,12</tasks>')}${list(10, 'qw')}${list(11, 'Eqw')}</job_info></job_info>`
  const details = 'job_number:                 7\nenv_list:                   HOME=/root,WNOD_TYPE=tiny,TERM=x\n==\njob_number:                 9\nenv_list:                   WNOD_TYPE=el9\n==\njob_number:                 10\nenv_list:                   MY_WNOD_TYPE=el9\n'
  await using desk = await openDesk()
  writeFileSync(join(desk.folder, 'list'), xml)
  writeFileSync(join(desk.folder, 'details'), details)
  played(desk, 'qstat', `case "$*" in "-s p -u * -xml") cat ${desk.folder}/list ;; "-j 7,9,10") cat ${desk.folder}/details ;; *) exit 1 ;; esac`)
  expect(await hook(desk, ['--from', 'gridengine'])).toMatchObject(silent)
  expect(desk.pending.said()).toMatchObject([{ batchSystem: 'gridengine', counts: counts({ el9: 6, tiny: 1 }) }])
  expect(gridEngineWaiting(xml)).toEqual([{ id: '7', tasks: 1 }, { id: '9', tasks: 6 }, { id: '10', tasks: 1 }])
  expect([...gridEngineTypes(details)]).toEqual([['7', 'tiny'], ['9', 'el9']])
})

test('a bait forgets what is an hour old, and what the oldest of too many batch systems said', async () => {
  const clock = fakeClock()
  const book = openPending({ clock })
  for (let nth = 0; nth <= pendingSystemsMax; nth += 1) book.note({ batchSystem: `b${nth}`, counts: [] })
  expect(book.said().map(({ batchSystem }) => batchSystem)).toEqual(Array.from({ length: pendingSystemsMax }, (_, index) => `b${index + 1}`))
  await clock.advance(3_599_999)
  expect(book.said()[0]).toEqual({ batchSystem: 'b1', nth: 2, agoMs: 3_599_999, counts: [] })
  await clock.advance(1)
  expect(book.said()).toEqual([])
})
