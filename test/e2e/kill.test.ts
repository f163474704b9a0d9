/**
 * kill -9 of the bait, the controller or the NATS server at many moments, then a restart: whatever state that leaves, the farm comes to
 * rest with nothing that no record explains, no job starter waits for ever, and no warm VWN is lost that could have been kept.
 */
import type { ChildProcess } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { jobsReplySchema } from '../../wire/api.ts'
import { startFarm, type Farm } from '../harness/farm.ts'

let farm: Farm
beforeAll(async () => { farm = await startFarm({ baits: 1, cpus: 4, templates: 8 }) }, 240_000)
afterAll(() => (farm as Farm | undefined)?.[Symbol.asyncDispose](), 120_000)

const programs = ['bait-h1', 'controller', 'nats'] as const

/** A warm, idle VWN of this user; made by a job if there is none. */
async function warm(): Promise<string> {
  const end = await farm.run(['true'])
  expect(end, end.stderr).toMatchObject({ code: 0 })
  await until(async () => (await farm.vwns()).some((vwn) => vwn.vwn === end.report?.vwn && vwn.state === 'idle'), { withinMs: 60_000, what: 'the VWN is idle' })
  return end.report?.vwn ?? ''
}

async function killAndRestart(program: string): Promise<void> {
  await farm.kill(program, 'SIGKILL')
  await farm.restart(program)
  await farm.ready()
}

/** Every job has an end, every VM has a VWN, and audit finds nothing. */
async function comesToRest(): Promise<void> {
  await until(async () => (await farm.api.get('/jobs', jobsReplySchema, { only: 'live' })).jobs.length === 0, { withinMs: 90_000, what: 'no job is left over' })
  await until(async () => (await farm.vwns()).every((vwn) => vwn.state === 'idle'), { withinMs: 90_000, what: 'every VWN is idle or gone' })
  expect(await farm.audit()).toMatchObject({ code: 0 })
  expect(farm.vms().length).toBe((await farm.vwns()).length)
}

const exitOf = (child: ChildProcess): Promise<number | NodeJS.Signals | null> =>
  new Promise((resolve) => child.once('exit', (code, signal) => resolve(code ?? signal)))

describe.each(programs)('%s killed', (program) => {
  test('while a VWN is warm: the next job gets that VWN', async () => {
    const vwn = await warm()
    await killAndRestart(program)
    const next = await farm.run(['echo', 'still here'])
    expect(next).toMatchObject({ code: 0, stdout: 'still here\n' })
    expect(next.report).toMatchObject({ vwn, reused: true })
    await comesToRest()
  })

  test('while a job runs: it ends as it would, or as lost, never silently', async () => {
    await warm()
    const job = farm.start(['sh', '-c', 'echo started; sleep 4; exit 3'])
    const exit = exitOf(job)
    const said: Buffer[] = []
    job.stdout?.on('data', (chunk: Buffer) => said.push(chunk))
    job.stdin?.end()
    await until(() => Buffer.concat(said).toString() === 'started\n', { withinMs: 60_000, what: 'the job runs' })
    await killAndRestart(program)
    // Only the bait carries the job's bytes; the others may come and go.
    expect(await exit).toBe(program === 'bait-h1' ? 76 : 3)
    await comesToRest()
  })

  // Moments between submission and the end of the scrub; the VWN is fresh where the moment before has used it up.
  test.each(['', 'accepted as', 'placed on', 'started', 'out'])('when a job that was submitted has heard "%s"', async (moment) => {
    const job = farm.start(['sh', '-c', 'echo out; exit 5'], { options: ['--verbose'] })
    const exit = exitOf(job)
    const said: Buffer[] = []
    for (const output of [job.stdout, job.stderr]) output?.on('data', (chunk: Buffer) => said.push(chunk))
    job.stdin?.end()
    await until(() => Buffer.concat(said).toString().includes(moment) || job.exitCode !== null, { withinMs: 90_000, what: moment, everyMs: 2 })
    await killAndRestart(program)
    expect([5, 75, 76]).toContain(await exit)
    await comesToRest()
    expect(await farm.run(['sh', '-c', 'exit 9'])).toMatchObject({ code: 9 })
  })
})

test('all three killed while a VWN boots', async () => {
  for (const vwn of await farm.vwns()) await farm.cli(['kill', vwn.vwn, '--yes'])
  await until(async () => (await farm.vwns()).length === 0, { withinMs: 60_000, what: 'no VWN is left' })
  const job = farm.start(['true'])
  const exit = exitOf(job)
  job.stdin?.end()
  await until(async () => (await farm.vwns()).some((vwn) => vwn.state === 'booting'), { withinMs: 30_000, what: 'a VWN boots' })
  for (const program of programs) await farm.kill(program, 'SIGKILL')
  for (const program of programs) await farm.restart(program)
  await farm.ready()
  expect([0, 75, 76]).toContain(await exit)
  await comesToRest()
})
