/** Jobs on the host itself, beside others in real guests; and what becomes of jobs when their host's hypervisor breaks, and is mended. */
import { appendFileSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { explanationSchema, hostsReplySchema, jobViewSchema, receiptSchema } from '../../wire/api.ts'
import { startFarm, type Farm } from '../harness/farm.ts'

const mapping = `types:
  tiny: { image: tiny, cpus: 1, memory_mib: 128, scratch_gib: 1, reuse: never }
rules:
  - { name: short, match: { queue: short }, bare: true, allow: [tiny] }
  - { name: any, match: { queue: any }, type: tiny, fallback: bare }
  - { name: strict, match: { queue: strict }, type: tiny, fallback: refuse }
default: { type: tiny }
`

let farm: Farm
const hypervisor = (): string => join(farm.home.etc, 'hypervisor')
/** Puts another file in its place, as an upgrade does that goes wrong. */
const setHypervisor = (file: string, does: string): void => writeFileSync(file, `#!/bin/sh\n${does}\n`, { mode: 0o755 })
const works = 'exec qemu-system-x86_64 "$@"'
beforeAll(async () => {
  farm = await startFarm({ baits: 1, mapping, before: (home) => {
    setHypervisor(join(home.etc, 'hypervisor'), works)
    appendFileSync(home.host('h1').config, `\n[vm]\nqemu = ${JSON.stringify(join(home.etc, 'hypervisor'))}\n`)
  } })
}, 240_000)
afterAll(() => (farm as Farm | undefined)?.[Symbol.asyncDispose](), 120_000)

const inQueue = (queue: string, ...options: readonly string[]) => farm.run(['sh', '-c', 'hostname; exit 7'], { options: ['--queue', queue, '--denied-code', '77', ...options] })
const onHost = { code: 7, stdout: `${hostname()}\n`, stderr: '' }
const broken = async (): Promise<string | null> => (await farm.api.get('/hosts', hostsReplySchema)).hosts[0]?.broken ?? null

test('a rule runs jobs on the host itself, and the record of them says so', async () => {
  const end = await inQueue('short')
  expect(end).toMatchObject({ ...onHost, report: { vwn: null, outcome: { is: 'bare' } } })
  const job = end.report?.job ?? ''
  const view = await until(async () => (await farm.api.get(`/jobs/${job}`, jobViewSchema).catch(() => null)), { withinMs: 20_000, what: 'the job is on record' })
  await until(async () => (await farm.api.get(`/jobs/${job}`, jobViewSchema)).state === 'ended', { withinMs: 20_000, what: 'it has ended' })
  expect(await farm.api.get(`/jobs/${job}`, jobViewSchema)).toMatchObject({ job: view.job, rule: 'short', type: null, vwn: null, outcome: { is: 'bare' }, usage: null })
  expect(await farm.api.get(`/jobs/${job}/explain`, explanationSchema)).toMatchObject({ rule: 'short', decision: { is: 'bare', host: 'h1', why: 'rule short runs it on the host itself' } })
  expect((await farm.api.get(`/jobs/${job}/receipt`, receiptSchema)).timeline.map(({ phase }) => phase)).toEqual(['wait', 'placement'])
  expect((await farm.cli(['show', job])).stdout).toMatch(/^bare +on h1 itself by rule short\n/m)
  expect((await farm.cli(['jobs'])).stdout).toMatch(/bare: on the host itself/)
  expect((await farm.cli(['receipt', job])).stdout).toMatch(/^outcome +bare: on the host itself\n/m)
  expect((await farm.cli(['explain', '--user', 'root', '--group', 'root', '--queue', 'short'])).stdout).toMatch(/^decision +bare\n/m)
  expect(farm.vms()).toEqual([])
})

test('another user’s job, in his hands alone', async () => {
  const end = await farm.run(['sh', '-c', 'id -un; ls /proc/self/fd | grep -x .; hostname'], { as: 'games', options: ['--queue', 'short'] })
  expect(end).toMatchObject({ code: 0, stdout: `games\n0\n1\n2\n3\n${hostname()}\n` })
})

test('a type that the rule allows is a VWN', async () => {
  const end = await inQueue('short', '--type', 'tiny')
  expect(end).toMatchObject({ code: 7, report: { type: 'tiny', outcome: { is: 'exited' } } })
  expect(end.stdout).not.toBe(onHost.stdout)
})

describe('when the hypervisor breaks', () => {
  test('jobs run on the host, are refused, or run again elsewhere, each as its rule says; none waits', async () => {
    expect(await inQueue('any')).toMatchObject({ code: 7, report: { type: 'tiny' } })
    setHypervisor(hypervisor(), 'echo "out of order" >&2; exit 1')
    // At once, and when it has been noticed.
    for (const noticed of [false, true]) {
      if (noticed) await until(async () => (await broken()) !== null, { withinMs: 30_000, what: 'the host is broken' })
      expect(await inQueue('any')).toMatchObject({ ...onHost, report: { outcome: { is: 'bare' } } })
      expect(await inQueue('strict')).toMatchObject({ code: 77, stdout: '', stderr: expect.stringContaining('(FALLBACK_REFUSED)') as string })
      expect(await inQueue('other')).toMatchObject({ code: 75, stdout: '' })
      expect(await inQueue('short')).toMatchObject(onHost)
    }
    expect((await farm.cli(['show', 'h1'])).stdout).toMatch(/^broken +\S/m)
    setHypervisor(hypervisor(), works)
    await until(async () => (await broken()) === null, { withinMs: 60_000, what: 'the host is mended' })
    expect(await inQueue('any')).toMatchObject({ code: 7, report: { type: 'tiny', outcome: { is: 'exited' } } })
  }, 240_000)
})

test('without a bait the administrator’s setting decides, and nothing is left behind', async () => {
  await farm.kill('bait-h1')
  expect(await inQueue('short')).toMatchObject({ code: 75, stdout: '', stderr: expect.stringContaining('(BAIT_UNREACHABLE)') as string })
  expect(await inQueue('any', '--unreachable', 'bare')).toMatchObject({ ...onHost, report: { job: null, outcome: { is: 'bare' } } })
  await farm.restart('bait-h1')
  await farm.ready()
  expect(await inQueue('short')).toMatchObject(onHost)
  expect(await farm.audit()).toMatchObject({ code: 0 })
})
