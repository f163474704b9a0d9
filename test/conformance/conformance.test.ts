/**
 * The first promise: what the caller sees of a job in a VWN is what he would see of it on the bare node. Each case runs bare, in a guest
 * with the agent, and in a guest that has ssh alone.
 */
import { copyFileSync, mkdtempSync, chmodSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { groups, type Contact } from './case.ts'
import { cases } from './cases.ts'
import { observe } from './observe.ts'
import { startFarm, type Farm } from '../harness/farm.ts'
import { programFile } from '../../cli/programs.ts'

const typeOf: Readonly<Record<Contact, string>> = { agent: 'debian12', ssh: 'tiny' }
/** The starter where the user of the jobs can read it, wherever the checkout is. */
const folder = mkdtempSync(join(tmpdir(), 'wnod-starter-'))
const starterFile = join(folder, 'starter.cjs')
let farm: Farm

beforeAll(async () => {
  copyFileSync(programFile('starter.cjs'), starterFile)
  chmodSync(folder, 0o755)
  farm = await startFarm({ baits: 1, cpus: 2 })
}, 240_000)
afterAll(async () => {
  await farm[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
}, 120_000)

const starter = (contact: Contact): readonly string[] => [process.execPath, starterFile, '--socket', farm.home.host('h1').socket, '--type', typeOf[contact]]

describe.each(groups)('%s', (group) => {
  test.each(cases.filter((one) => one.group === group))('$name', async (one) => {
    const bare = one.expected === undefined ? await observe(one, null) : one.expected
    const contacts = (['agent', 'ssh'] as const).filter((contact) => one.unless?.[contact] === undefined)
    const seen = await Promise.all(contacts.map(async (contact) => [contact, await observe(one, starter(contact))] as const))
    for (const [contact, inGuest] of seen) expect({ contact, ...inGuest }).toMatchObject({ contact, ...bare })
  }, 320_000)
})
