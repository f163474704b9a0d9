/**
 * Every case on every batch system that this machine has, natively and in a VWN: the same, save for what docs/batch-conformance.md says. And on the host
 * itself, by a starter that becomes the job: there is no bait then, and the administrator has said `--unreachable bare`.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../kit/command.ts'
import { startFarm, type Farm } from '../harness/farm.ts'
import type { BatchCase, BatchSystem, Observed } from './case.ts'
import { cases } from './cases.ts'
import { runsOn, type systemNames } from './page.ts'
import { startSlurm, startSlurmAlone } from './slurm.ts'

const systems: Readonly<Record<(typeof systemNames)[number], (farm: Farm) => Promise<BatchSystem>>> = { slurm: startSlurm }

/** So many VWNs, and no more, have room. */
const mapping = `
types: { debian12: { image: debian12, memory_mib: 512, scratch_gib: 1, reuse: same-user } }
default: { type: debian12 }
`

/** A case without us, and with. */
async function bothWays(system: BatchSystem, one: BatchCase): Promise<readonly [Observed, Observed]> {
  const seen = async (how: 'bare' | 'vwn'): Promise<Observed> => {
    const { record, stdout, stderr } = await system.run(one, how)
    return { record, stdout: one.tidy?.(stdout) ?? stdout, stderr }
  }
  return Promise.all([seen('bare'), seen('vwn')])
}

describe.each(Object.entries(systems))('%s', (name, start) => {
  let farm: Farm
  let system: BatchSystem
  beforeAll(async () => {
    farm = await startFarm({ mapping, cpus: 8, memory: 2048, scratch: 16 })
    system = await start(farm)
  }, 240_000)
  afterAll(async () => {
    await system?.[Symbol.asyncDispose]()
    await farm?.[Symbol.asyncDispose]()
  }, 60_000)

  describe.concurrent('in a VWN as on the bare node', () => {
    test.each(cases.filter((one) => runsOn(one, name)))('$group: $name', async (one) => {
      const [bare, vwn] = await bothWays(system, one)
      if (one.differs?.[name] === undefined) expect(vwn).toEqual(bare)
      else expect(vwn, 'no longer differs: take it out of the list').not.toEqual(bare)
    })
  })
})

/** With our part installed, and no farm at all. */
async function slurmOnHost(): Promise<BatchSystem> {
  const slurm = await startSlurmAlone()
  const wnod = join(import.meta.dirname, '../../bin/wnod.js')
  await run(process.execPath, [wnod, 'install', 'slurm', '--home', slurm.folder, '--unreachable', 'bare'], { env: slurm.environment as Record<string, string> })
  return slurm
}

/** What a user of Slurm could see of it, and why. */
const onHost: Readonly<Record<string, string>> = {
  ...Object.fromEntries(['a command of a step that is not there', 'an interpreter that is not there', 'no first line'].map((name) => [name, 'the words on stderr are ours, the record is the same'])),
}

describe('slurm on the host itself', () => {
  let slurm: BatchSystem
  beforeAll(async () => { slurm = await slurmOnHost() }, 60_000)
  afterAll(() => slurm?.[Symbol.asyncDispose](), 60_000)

  describe.concurrent('as without us', () => {
    test.each(cases.filter((one) => runsOn(one, 'slurm')))('$group: $name', async (one) => {
      const [native, ours] = await bothWays(slurm, one)
      expect(ours.record).toEqual(native.record)
      if (onHost[one.name] === undefined) expect(ours).toEqual(native)
    })
  })
})
