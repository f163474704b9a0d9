/**
 * Every case on every batch system that this machine has, natively and in a VWN: the same, save for what docs/batch-conformance.md says. And on the host
 * itself, by a starter that becomes the job: there is no bait then, and the administrator has said `--unreachable bare`.
 */
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../kit/command.ts'
import { startFarm, type Farm } from '../harness/farm.ts'
import type { BatchSystem, Observed } from './case.ts'
import { cases } from './cases.ts'
import { runsOn, type systemNames } from './page.ts'
import { startSlurm, startSlurmAlone } from './slurm.ts'

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

/** With our part installed, and no farm at all. */
async function slurmOnHost(): Promise<BatchSystem> {
  const slurm = await startSlurmAlone()
  const wnod = join(import.meta.dirname, '../../bin/wnod.js')
  await run(process.execPath, [wnod, 'install', 'slurm', '--home', slurm.folder, '--unreachable', 'bare'], { env: slurm.environment as Record<string, string> })
  return slurm
}

/** What a user of Slurm could see of it, and why. */
const onHost: Readonly<Record<string, string>> = {}

describe('slurm on the host itself', () => {
  let slurm: BatchSystem
  beforeAll(async () => { slurm = await slurmOnHost() }, 60_000)
  afterAll(() => slurm?.[Symbol.asyncDispose](), 60_000)

  describe.concurrent('as without us', () => {
    test.each(cases.filter((one) => runsOn(one, 'slurm') && onHost[one.name] === undefined))('$group: $name', async (one) => {
      const tidy = one.tidy ?? ((text: string) => text)
      const [native, ours] = await Promise.all((['bare', 'vwn'] as const).map(async (how) => {
        const { record, stdout, stderr } = await slurm.run(one, how)
        return { record, stdout: tidy(stdout), stderr }
      }))
      expect(ours).toEqual(native)
    })
  })
})
