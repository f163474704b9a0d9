/** The warm pool with a real guest: it stands ready before anybody comes, and whoever comes gets it fresh. */
import { expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { jobViewSchema, receiptSchema, typesReplySchema } from '../../wire/api.ts'
import { startFarm } from '../harness/farm.ts'

const mapping = `
types:
  ready: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 4, pool: { min: 1, max: 1 } }
default: { type: ready }
`

test('a ready guest is taken by who comes first, another takes its place, and nothing is left of either', async () => {
  await using farm = await startFarm({ baits: 1, cpus: 4, memory: 2048, mapping, templates: 8 })
  const ready = () => until(async () => (await farm.vwns()).find(({ owner, state }) => owner === null && state === 'idle'), { withinMs: 180_000, what: 'a ready VWN' })
  const first = await ready()
  expect(await farm.audit()).toMatchObject({ code: 0 })

  const end = await farm.run(['sh', '-c', 'hostname; exit 7'])
  expect(end).toMatchObject({ code: 7, stdout: `h1-${first.vwn}\n`, report: { vwn: first.vwn, reused: false, outcome: { is: 'exited', code: 7 } } })
  const job = end.report?.job ?? ''
  expect(await farm.api.get(`/jobs/${job}`, jobViewSchema)).toMatchObject({ made: 'ready' })
  const receipt = await farm.api.get(`/jobs/${job}/receipt`, receiptSchema)
  expect(receipt.timeline.map(({ phase }) => phase)).not.toContain('boot') // nobody waited for that
  expect((await farm.cli(['show', job])).stdout).toContain(`${first.vwn} (ready)`)

  const second = await ready()
  expect(second.vwn).not.toBe(first.vwn)
  // While it is still being cleaned, one that is ready now would be the sooner one.
  await until(async () => (await farm.vwns()).some(({ vwn, state }) => vwn === first.vwn && state === 'idle'), { withinMs: 60_000, what: 'the first one is clean' })
  expect((await farm.run(['true'])).report).toMatchObject({ vwn: first.vwn, reused: true })
  const types = await until(async () => {
    const found = await farm.api.get('/types', typesReplySchema)
    return found.types[0]?.pools[0]?.ready === 1 ? found : null // a plan is as new as the last whole turn
  }, { withinMs: 20_000, what: 'the plan says what is ready' })
  expect(types.types).toMatchObject([{ type: 'ready', pools: [{ host: 'h1', ready: 1, making: 0, wanted: 1, why: expect.stringContaining('min is 1') as string }] }])
  expect((await farm.cli(['types'])).stdout).toMatch(/^POOL OF +HOST +READY +MAKING +GOING +WANTED +WHY *\nready +h1 +1 +0 +0 +1 +1 wanted, min is 1: 1 there/m)
  expect(await farm.audit()).toMatchObject({ code: 0 })
})
