/** What hosts are told that may be asked of them, and what people are told of their templates. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { until } from '../../kit/until.ts'
import { explanationSchema, typesReplySchema } from '../../wire/api.ts'
import type { TemplateFact } from '../../wire/bait.ts'
import { startTestController } from '../harness/controller.ts'
import { fakeDigest, startFakeBait } from '../harness/fake-bait.ts'
import { startNats, type NatsServer } from '../harness/nats.ts'

vi.setConfig({ testTimeout: 60_000 })
let nats: NatsServer
beforeAll(async () => { nats = await startNats() })
afterAll(() => nats.stop())

const shape = { cpus: 1, memoryMib: 512, scratchGib: 1 }
const fact = (changes: Partial<TemplateFact>): TemplateFact =>
  ({ id: '0123456789abcdef', image: fakeDigest('a'), contact: 'agent', network: 'isolated', shape, state: 'ready', why: null, diskMib: 130, tookMs: 9_000, ...changes })
const mapping = (types: string): string => `types:\n${types}\ndefault: { type: standard, allow: [wide, open] }\n`
const standard = '  standard: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 1 }'
const wide = '  wide: { image: debian12, cpus: 2, memory_mib: 512, scratch_gib: 1 }'
const open = '  open: { image: debian12, cpus: 1, memory_mib: 512, scratch_gib: 1, network: outbound }'

test('a host is told the machines of the types that it could run, anew when the mapping changes', async () => {
  const others = '  elsewhere: { image: nowhere }\n  huge: { image: debian12, cpus: 64 }\n  none: { image: debian12, limit: 0 }'
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mapping([standard, wide, open, others].join('\n')) })
  await using bait = await startFakeBait({ url: nats.url })
  const told = () => bait.orders?.machines.map(({ type }) => type) ?? []
  await until(() => told().length > 0, { withinMs: 20_000, what: 'machines' })
  expect(told()).toEqual(['standard', 'wide', 'open'])
  expect(bait.orders?.machines[0]).toEqual({ type: 'standard', image: fakeDigest('a'), contact: 'agent', shape, network: 'isolated', bootMs: 120_000 })
  controller.writeMapping(mapping([standard, wide].join('\n')).replace(', open', ''))
  await until(() => told().join() === 'standard,wide', { withinMs: 20_000, what: `fewer machines; last: ${told().join()}` })
})

test('types and hosts show templates, and a job is told that it would be cloned, or why not', async () => {
  await using controller = await startTestController({ natsUrl: nats.url, mapping: mapping([standard, wide, open].join('\n')) })
  const kept = [fact({}), fact({ id: 'fedcba9876543210', shape: { ...shape, cpus: 2 }, state: 'quarantined', why: '3 clones in a row failed', diskMib: 0, tookMs: null })]
  await using bait = await startFakeBait({ url: nats.url, templates: kept })
  expect(await controller.hosts()).toMatchObject([{ templates: { kept, diskMib: 130, diskMibMax: 8_192 } }])
  const { types } = await controller.get('/v1/types', typesReplySchema)
  expect(types.map(({ type, templates }) => [type, templates.map(({ host, state, why }) => [host, state, why])])).toEqual([
    ['standard', [['h1', 'ready', null]]], ['wide', [['h1', 'quarantined', '3 clones in a row failed']]], ['open', []],
  ])
  const made = async (type: string) => (await controller.get(`/v1/explain?user=root&type=${type}`, explanationSchema)).made
  expect(await made('standard')).toEqual({ by: 'clone', why: 'its template 0123456789abcdef is ready' })
  expect(await made('wide')).toEqual({ by: 'boot', why: 'its template is not used any more: 3 clones in a row failed' })
  expect(await made('open')).toMatchObject({ by: 'boot', why: expect.stringContaining('there is no template') as string })
  const job = bait.submit({ want: { type: 'wide' } })
  await controller.untilJob(job, ({ state }) => state === 'ended')
  expect(await controller.get(`/v1/jobs/${job}/explain`, explanationSchema)).toMatchObject({ decision: { is: 'make' }, made: { by: 'boot', why: expect.stringContaining('3 clones') as string } })
})
