/** The command line against a farm that lives: one farm for the whole file, because a guest takes seconds to boot. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { explanationSchema, hostsReplySchema, imagesReplySchema, jobsReplySchema, jobViewSchema, receiptSchema, typesReplySchema, vwnDetailSchema, vwnsReplySchema } from '../../wire/api.ts'
import type { Story } from '../../cli/show/logs.ts'
import { until } from '../../kit/until.ts'
import { startFarm, type Farm } from '../harness/farm.ts'

let farm: Farm
beforeAll(async () => { farm = await startFarm({ baits: 2, cpus: 4, templates: 8 }) }, 240_000)
afterAll(() => (farm as Farm | undefined)?.[Symbol.asyncDispose](), 120_000)

const json = async (args: readonly string[]): Promise<unknown> => {
  const end = await farm.cli([...args, '--json'])
  expect(end).toMatchObject({ code: 0, stderr: '' })
  return JSON.parse(end.stdout) as unknown
}

test("a job sees a guest's answers, and its exit status comes back", async () => {
  const end = await farm.run(['sh', '-c', 'id; pwd; uname -r; cat /etc/os-release; touch /x; grep " / " /proc/mounts; exit 7'])
  expect(end.code).toBe(7)
  expect(end.stdout).toMatch(/^uid=0\(root\)/)
  expect(end.stdout).toContain('PRETTY_NAME="Debian GNU/Linux 12')
  expect(end.stdout).toMatch(/^\w+ \/ overlay rw/m)
  expect(end.report).toMatchObject({ job: expect.stringMatching(/^h1-\d+$/) as string, type: 'debian12', reused: false, outcome: { is: 'exited', code: 7 } })
})

test('the OS disk cannot be written from the guest, even by root on the block device', async () => {
  const write = 'for disk in /dev/vd?; do [ "$(cat /sys/block/${disk#/dev/}/serial)" = os ] && echo "found $disk" && dd if=/dev/zero of=$disk bs=4096 count=1 conv=fsync; done; true'
  const end = await farm.run(['sh', '-c', write])
  expect(end.stdout).toContain('found /dev/vd')
  expect(end.stderr).toMatch(/Operation not permitted|Read-only|not permitted/)
})

describe('every listing', () => {
  test.each([
    ['hosts', hostsReplySchema, /^HOST +WANT +FACT .*\nh1 +open +alive .*\nh2 +open +alive /],
    ['vwns', vwnsReplySchema, /^VWN +HOST +TYPE +STATE .*\nv\d+ +h1 +debian12 +idle /],
    ['jobs', jobsReplySchema, /^JOB +NAME +USER +STATE .*\nh1-\d+ +sh +root +ended .*exit 0\n/],
    ['types', typesReplySchema, /^TYPE +IMAGE .*\ndebian12 +debian12 /m],
    ['images', imagesReplySchema, /^IMAGE +DIGEST +CONTACT .*\n(?:.*\n)*debian12 +[0-9a-f]{12} +agent /m],
  ] as const)('wnod %s', async (name, schema, shown) => {
    expect(schema.safeParse(await json([name])).error).toBeUndefined()
    const end = await farm.cli([name])
    expect(end).toMatchObject({ code: 0, stderr: '' })
    expect(end.stdout).toMatch(shown)
  })

  test('wnod show, of a host, a VWN and a job', async () => {
    const { jobs } = jobsReplySchema.parse(await json(['jobs', '--limit', '1']))
    const job = jobViewSchema.parse(await json(['show', jobs[0]?.job ?? '']))
    const vwn = vwnDetailSchema.parse(await json(['show', job.vwn ?? '']))
    expect(vwn.events.map((event) => event.to)).toEqual(expect.arrayContaining(['preparing', 'booting', 'busy', 'cleaning', 'idle']))
    expect((await farm.cli(['show', 'h2'])).stdout).toMatch(/^host +h2\nwant +open\nfact +alive\n/)
    expect((await farm.cli(['show', vwn.vwn])).stdout).toMatch(/^vwn +v\d+\nhost +h1\n/)
    expect((await farm.cli(['show', job.job])).stdout).toMatch(/^job +h1-\d+\nname +sh\n/)
    expect(await farm.cli(['show', 'v99999'])).toMatchObject({ code: 1, stderr: expect.stringContaining('VWN_NOT_FOUND') as string })
    expect(await farm.cli(['show', 'h9'])).toMatchObject({ code: 1, stderr: expect.stringContaining('HOST_NOT_FOUND') as string })
  })

  test('wnod logs tells what every program has logged about a job, by its trace', async () => {
    const { jobs } = jobsReplySchema.parse(await json(['jobs', '--limit', '10']))
    const first = jobs.at(-1)
    const { trace, lines } = (await json(['logs', first?.job ?? ''])) as Story
    expect(trace).toBe(first?.trace)
    expect(lines.every((line) => line['trace'] === trace)).toBe(true)
    const said = lines.map(({ program, msg }) => `${program}: ${msg}`)
    expect(said[0]).toBe('bait-h1: job accepted')
    expect(said).toEqual(expect.arrayContaining(['controller: job decided', 'controller: vwn moved', 'bait-h1: vwn made', 'bait-h1: job moves', 'bait-h1: job ended']))
    expect((await farm.cli(['logs', trace ?? ''])).stdout).toMatch(/^TIME +PROGRAM +LEVEL +WHAT +FACTS\n\S+ +bait-h1 +info +job accepted /)
    expect(await farm.cli(['logs', 'h1-99999'])).toMatchObject({ code: 1, stderr: expect.stringContaining('JOB_NOT_FOUND') as string })
  })

  test('wnod receipt explains where the time went', async () => {
    const { jobs } = jobsReplySchema.parse(await json(['jobs', '--limit', '10']))
    const first = jobs.at(-1)?.job ?? ''
    const receipt = receiptSchema.parse(await json(['receipt', first]))
    expect(receipt.timeline.map((row) => row.phase)).toEqual(expect.arrayContaining(['boot', 'contact', 'start', 'run']))
    expect(receipt.totalMs ?? 0).toBeGreaterThan(receipt.phases.boot ?? Infinity)
    expect((await farm.cli(['receipt', first])).stdout).toMatch(/^boot +\d+\.\d$/m)
  })

  test('wnod explain, of a job and of a user', async () => {
    const { jobs } = jobsReplySchema.parse(await json(['jobs', '--limit', '1']))
    expect(explanationSchema.parse(await json(['explain', jobs[0]?.job ?? ''])).decision).toMatchObject({ is: 'make', host: 'h1' })
    const asked = explanationSchema.parse(await json(['explain', '--user', 'games', '--group', 'games', '--type', 'tiny']))
    expect(asked).toMatchObject({ type: 'tiny', decision: { is: 'make' } })
    expect(asked.hosts.map((host) => host.host).sort()).toEqual(['h1', 'h2'])
    const denied = explanationSchema.parse(await json(['explain', '--user', 'games', '--group', 'games', '--type', 'no-such-type']))
    expect(denied.decision.is).toBe('refused')
  })
})

test('a drained host takes no job and says why; undrained it goes on', async () => {
  expect((await farm.cli(['drain', 'h1'])).stdout).toMatch(/^h1 is draining now/)
  const waiting = farm.start(['true'], { options: ['--verbose'] })
  const said: Buffer[] = []
  waiting.stderr?.on('data', (chunk: Buffer) => said.push(chunk))
  waiting.stdin?.end()
  await until(() => Buffer.concat(said).toString().includes('waiting: '), { withinMs: 20_000, what: 'the job starter hears why it waits' })
  expect(Buffer.concat(said).toString()).toMatch(/waiting: .*drain/i)
  const exit = new Promise((resolve) => waiting.once('exit', resolve))
  expect((await farm.cli(['undrain', 'h1'])).stdout).toMatch(/^h1 is open now/)
  expect(await exit).toBe(0)
})

test('kill shows what it would do, and does it with --yes: the job ends as lost', async () => {
  const running = farm.start(['sleep', '1000'])
  running.stdin?.end()
  const exit = new Promise((resolve) => running.once('exit', resolve))
  const busy = await until(async () => (await farm.vwns()).find((vwn) => vwn.state === 'busy' && vwn.job !== null), { withinMs: 60_000, what: 'a busy VWN' })
  await until(async () => (await json(['show', busy.job ?? '']) as { state: string }).state === 'running', { withinMs: 60_000, what: 'the job runs' })
  const shown = await farm.cli(['kill', busy.vwn])
  expect(shown).toMatchObject({ code: 1, stdout: '' })
  expect(shown.stderr).toMatch(new RegExp(`^${busy.vwn} .* is killed, and with it job ${busy.job}.*CONSENT_NEEDED`, 's'))
  expect((await farm.cli(['kill', busy.vwn, '--yes'])).code).toBe(0)
  expect(await exit).toBe(76)
  await until(async () => (await farm.vwns()).every((vwn) => vwn.vwn !== busy.vwn), { withinMs: 30_000, what: 'it is gone' })
})

test('a job has the memory that it asks for, and no more; for want of it it is killed, and that is said everywhere', async () => {
  const full = await farm.run(['sh', '-c', 'dd if=/dev/zero bs=200M count=1 status=none | wc -c'], { options: ['--memory', '256'] })
  expect(full).toMatchObject({ code: 0, stdout: `${200 * 2 ** 20}\n`, stderr: '' })
  const end = await farm.run(['tail', '/dev/zero'], { options: ['--memory', '256'] })
  expect(end).toMatchObject({ signal: 'SIGKILL', stderr: 'wnod: a process of the job was killed because the 256 MiB of memory that the job asked for ran out\n', report: { outcome: { is: 'signalled', signal: 'SIGKILL', outOfMemory: true } } })
  const job = end.report?.job ?? ''
  await until(async () => (await farm.cli(['show', job])).stdout.includes('outcome    SIGKILL (out of memory)'), { withinMs: 20_000, what: 'the reason in wnod show' })
  const { vwn } = jobViewSchema.parse(await json(['show', job]))
  const usualMib = typesReplySchema.parse(await json(['types'])).types.find(({ type }) => type === 'debian12')?.shape.memoryMib ?? NaN
  const sizeOf = async (of: string | null): Promise<number> => vwnDetailSchema.parse(await json(['show', of ?? ''])).shape.memoryMib
  expect(await sizeOf(vwn)).toBe(usualMib) // memory is not what this host is short of
  const { report } = await farm.run(['true'], { options: ['--memory', String(usualMib)] })
  expect(await sizeOf(report?.vwn ?? null)).toBe(usualMib + 160 + usualMib / 32)
})

test('--env sets what the job gets, and a WNOD_ variable never reaches it', async () => {
  const end = await farm.run(['sh', '-c', 'echo "$A-$B-$C"; env | grep -c ^WNOD_'], { options: ['--env', 'A=1', '--env', 'B=two words'], env: { A: 'no', C: 'kept' } })
  expect(end).toMatchObject({ stdout: '1-two words-kept\n0\n' })
})

test('console prints the serial log', async () => {
  const { report } = await farm.run(['sh', '-c', 'echo seen on the console > /dev/console']) // a clone has booted where nobody looked
  const shown = await until(async () => {
    const end = await farm.cli(['console', report?.vwn ?? ''])
    expect(end.code).toBe(0)
    return end.stdout.includes('seen') ? end.stdout : null
  }, { withinMs: 20_000, what: 'the console' })
  expect(shown).toMatch(/^seen on the console\r?$/m)
})

test('another user gets another VWN, and audit has nothing to say', async () => {
  const [first, other] = [await farm.run(['id', '-un']), await farm.run(['id', '-un'], { as: 'games' })]
  expect([first.stdout, other.stdout]).toEqual(['root\n', 'games\n'])
  expect(other.report?.vwn).not.toBe(first.report?.vwn)
  expect(await farm.audit()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ *0 +in all$/m) as string })
})
