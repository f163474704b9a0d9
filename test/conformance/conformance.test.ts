/**
 * The first promise: what the caller sees of a job in a VWN is what he would see of it on the bare node. Each case runs bare, in a guest
 * with the agent, and in a guest that has ssh alone; and on the host itself, by a starter that becomes it: no bait is needed for
 * that, and WNOD_CONFORMANCE=host runs these alone.
 */
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { programFile } from '../../cli/programs.ts'
import { startFarm } from '../harness/farm.ts'
import { beforeFile, buildStarter, starterFile as freshStarter, starterFolder } from '../handover/desk.ts'
import { groups, type Case, type Contact, type Starter } from './case.ts'
import { cases } from './cases.ts'
import { nearPlaces, type Places } from './near.ts'
import { observe, type Observed } from './observe.ts'

const near = process.env['WNOD_CONFORMANCE'] === 'near'
const hostAlone = process.env['WNOD_CONFORMANCE'] === 'host'
/** A guest with ssh alone is a clone for each case, which takes longer than all else of it: there one of four like ones stands for the others, but for WNOD_CONFORMANCE=all. */
const standsForItself = process.env['WNOD_CONFORMANCE'] !== undefined ? cases : cases.filter((one) => one.oneOfMany === undefined || cases.filter(({ oneOfMany, group }) => oneOfMany === true && group === one.group).indexOf(one) % 4 === 0)
/** The starter where the user of the jobs can read it, wherever the checkout is. */
const folder = mkdtempSync(join(tmpdir(), 'wnod-starter-'))
const starterFile = join(folder, 'wnod-starter')
let places: Places | null = null

async function farmPlaces(): Promise<Places> {
  const farm = await startFarm({ baits: 1, cpus: 2, templates: 8 })
  return { socket: farm.home.host('h1').socket, typeOf: { agent: 'debian12', ssh: 'tiny' }, [Symbol.asyncDispose]: () => farm[Symbol.asyncDispose]() }
}

/** Where a case runs; each place runs one after the other, and does not wait for the slower ones. */
type Lane = Contact | 'bare' | 'host'
const lanes: Record<Lane, Promise<unknown>> = { bare: Promise.resolve(), host: Promise.resolve(), agent: Promise.resolve(), ssh: Promise.resolve() }
const begun = new Map<string, Promise<Observed>>()
/** So many cases are begun before their turn, or the guests would stand idle between them. */
const ahead = 3

beforeAll(async () => {
  if (near || hostAlone) buildStarter()
  const [script, before] = near || hostAlone ? [freshStarter, beforeFile] : [programFile('starter.cjs'), join(dirname(programFile('starter.cjs')), 'wnod-starter')]
  copyFileSync(script, join(folder, 'starter.cjs'))
  copyFileSync(before, starterFile)
  copyFileSync(join(dirname(before), 'wnod-exec.node'), join(folder, 'wnod-exec.node'))
  chmodSync(folder, 0o755)
  if (!hostAlone) places = await (near ? nearPlaces() : farmPlaces())
}, 240_000)
afterAll(async () => {
  await Promise.all(Object.values(lanes)) // what was begun for tests that were left out
  await places?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
  rmSync(starterFolder, { recursive: true, force: true })
}, 120_000)

const starter = (contact: Contact | 'host'): Starter => {
  if (contact === 'host') return { file: starterFile, env: [`WNOD_NODE=${process.execPath}`, 'WNOD_SOCKET=/no/bait', 'WNOD_UNREACHABLE=bare'], options: [] }
  const { socket, typeOf: { [contact]: type } } = places ?? expect.unreachable()
  return { file: starterFile, env: [`WNOD_NODE=${process.execPath}`, `WNOD_SOCKET=${socket}`, `WNOD_TYPE=${type}`], options: ['--socket', socket, '--type', type] }
}

function seen(one: Case, lane: Lane): Promise<Observed> {
  const key = `${lane} ${one.group} ${one.name}`
  const known = begun.get(key)
  if (known !== undefined) return known
  const running = lanes[lane].then(() => observe(one, lane === 'bare' ? null : starter(lane)).catch((cause: unknown) => Promise.reject(new Error(lane, { cause }))))
  begun.set(key, running)
  lanes[lane] = running.catch(() => undefined) // its own test says what is wrong
  return running
}

const lanesOf = (one: Case): readonly Lane[] =>
  [...(one.expected === undefined ? ['bare' as const] : []), ...(one.expected === undefined && one.unless?.host === undefined ? ['host' as const] : []), ...(hostAlone ? [] : (['agent', 'ssh'] as const).filter((contact) => one.unless?.[contact] === undefined && (contact === 'agent' || standsForItself.includes(one))))]

describe.each(groups)('%s', (group) => {
  test.each(cases.filter((one) => one.group === group))('$name', async (one) => {
    const at = cases.indexOf(one)
    for (const next of cases.slice(at, at + ahead)) for (const lane of lanesOf(next)) void seen(next, lane)
    const bare = one.expected ?? (await seen(one, 'bare'))
    for (const lane of lanesOf(one)) if (lane !== 'bare') expect({ lane, ...(await seen(one, lane)) }).toMatchObject({ lane, ...bare })
  }, 320_000)
})
