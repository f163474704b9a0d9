/** Every case on every batch system that this machine has, natively and in a VWN: the same, save for what docs/batch-conformance.md says. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startFarm, type Farm } from '../harness/farm.ts'
import type { BatchSystem, Observed } from './case.ts'
import { cases } from './cases.ts'
import { runsOn, type systemNames } from './page.ts'
import { startSlurm } from './slurm.ts'

const systems: Readonly<Record<(typeof systemNames)[number], (farm: Farm) => Promise<BatchSystem>>> = { slurm: startSlurm }

/** So many VWNs, and no more, have room. */
const mapping = `
types: { debian12: { image: debian12, memory_mib: 512, scratch_gib: 1, reuse: same-user } }
default: { type: debian12 }
`

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
      const tidy = one.tidy ?? ((text: string) => text)
      const seen = async (how: 'bare' | 'vwn'): Promise<Observed> => {
        const { record, stdout, stderr } = await system.run(one, how)
        return { record, stdout: tidy(stdout), stderr }
      }
      const [bare, vwn] = await Promise.all([seen('bare'), seen('vwn')])
      if (one.differs?.[name] === undefined) expect(vwn).toEqual(bare)
      else expect(vwn, 'no longer differs: take it out of the list').not.toEqual(bare)
    })
  })
})
