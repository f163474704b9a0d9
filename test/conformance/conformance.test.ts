/**
 * The first promise: what the caller sees of a job in a VWN is what he would see of it on the bare node. Each case runs bare, in a guest
 * with the agent, and in a guest that has ssh alone.
 */
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { programFile } from '../../cli/programs.ts'
import { startFarm } from '../harness/farm.ts'
import { beforeFile, buildStarter, starterFile as freshStarter, starterFolder } from '../handover/desk.ts'
import { groups, type Contact, type Starter } from './case.ts'
import { cases } from './cases.ts'
import { nearPlaces, type Places } from './near.ts'
import { observe } from './observe.ts'

const near = process.env['WNOD_CONFORMANCE'] === 'near'
/** The starter where the user of the jobs can read it, wherever the checkout is. */
const folder = mkdtempSync(join(tmpdir(), 'wnod-starter-'))
const starterFile = join(folder, 'wnod-starter')
let places: Places

async function farmPlaces(): Promise<Places> {
  const farm = await startFarm({ baits: 1, cpus: 2 })
  return { socket: farm.home.host('h1').socket, typeOf: { agent: 'debian12', ssh: 'tiny' }, [Symbol.asyncDispose]: () => farm[Symbol.asyncDispose]() }
}

beforeAll(async () => {
  if (near) buildStarter()
  const [script, before] = near ? [freshStarter, beforeFile] : [programFile('starter.cjs'), join(dirname(programFile('starter.cjs')), 'wnod-starter')]
  copyFileSync(script, join(folder, 'starter.cjs'))
  copyFileSync(before, starterFile)
  chmodSync(folder, 0o755)
  places = await (near ? nearPlaces() : farmPlaces())
}, 240_000)
afterAll(async () => {
  await places[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
  rmSync(starterFolder, { recursive: true, force: true })
}, 120_000)

const starter = (contact: Contact): Starter => {
  const [socket, type] = [places.socket, places.typeOf[contact]]
  return { file: starterFile, env: [`WNOD_NODE=${process.execPath}`, `WNOD_SOCKET=${socket}`, `WNOD_TYPE=${type}`], options: ['--socket', socket, '--type', type] }
}

describe.each(groups)('%s', (group) => {
  test.each(cases.filter((one) => one.group === group))('$name', async (one) => {
    const contacts = (['agent', 'ssh'] as const).filter((contact) => one.unless?.[contact] === undefined)
    const bare = one.expected === undefined ? await observe(one, null) : one.expected
    const seen = await Promise.all(contacts.map(async (contact) => [contact, await observe(one, starter(contact)).catch((cause: unknown) => Promise.reject(new Error(`contact ${contact}`, { cause })))] as const))
    for (const [contact, inGuest] of seen) expect({ contact, ...inGuest }).toMatchObject({ contact, ...bare })
  }, 320_000)
})
