/** Every case that a batch system can do, natively and with us: the same, save for what docs/batch-conformance.md says. */
import { describe, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'
import { typesReplySchema } from '../../wire/api.ts'
import type { Farm } from '../harness/farm.ts'
import type { BatchCase, BatchSystem, Observed } from './case.ts'
import { cases } from './cases.ts'
import { runsOn, type systemNames } from './page.ts'

/** So many VWNs, and no more, have room: as many as cases run side by side, so that none of them waits for another. */
export const roomForCases = { cpus: 16, memory: 4608, scratch: 128, templates: 8 }

/** Resolves when VWNs of the jobs' type are cloned: a boot for each of them at once would take a minute. */
export async function templateReady(farm: Farm): Promise<void> {
  const ready = async (): Promise<boolean> => (await farm.api.get('/types', typesReplySchema)).types.some(({ type, templates }) => type === 'debian12' && templates.some(({ state }) => state === 'ready'))
  await until(ready, { withinMs: 180_000, everyMs: 200, what: 'there is a template' })
}

/** All of them take each system minutes: without WNOD_BATCH=1 two of each group stand for the others. */
const perGroup = process.env['WNOD_BATCH'] === undefined ? 2 : Number.POSITIVE_INFINITY

function casesOf(name: string, names: readonly string[] | undefined): readonly BatchCase[] {
  const all = cases.filter((one) => runsOn(one, name))
  if (names !== undefined) return all.filter((one) => names.includes(one.name))
  return all.filter((one) => all.filter(({ group }) => group === one.group).indexOf(one) < perGroup)
}

/** Where the record differs on the host itself too: what Grid Engine says of a program that cannot be started, it says of the starter, which could. */
const otherRecord = (name: string, one: BatchCase): boolean => name === 'gridengine' && one.name === 'an interpreter that is not there'

interface Comparison {
  readonly where?: 'in a VWN' | 'on the host itself'
  /** Of these cases alone. */
  readonly names?: readonly string[]
}

/** Where ours differ on the host itself: the words on stderr are ours there, the record is the same. */
const otherWords: readonly string[] = ['a command of a step that is not there', 'an interpreter that is not there', 'no first line']

/** Declares a test for each of its cases, against the bare node without us. */
export function compared(name: (typeof systemNames)[number], system: () => BatchSystem, { where = 'in a VWN', names }: Comparison = {}): void {
  describe.concurrent(`${where} as on the bare node`, () => {
    test.each(casesOf(name, names))('$group: $name', async (one) => {
      const tidy = one.tidy ?? ((text: string) => text)
      const seen = async (how: 'bare' | 'vwn'): Promise<Observed> => {
        const { record, stdout, stderr } = await system().run(one, how).catch((cause: unknown) => {
          throw new Error(how === 'bare' ? 'on the bare node' : where, { cause })
        })
        return { record, stdout: tidy(stdout), stderr }
      }
      const [bare, ours] = await both(seen('bare'), seen('vwn'))
      if (one.differs?.[name] !== undefined && (where === 'in a VWN' || otherRecord(name, one))) return expect(ours, 'no longer differs: take it out of the list').not.toEqual(bare)
      expect(ours.record).toEqual(bare.record)
      if (where === 'in a VWN' || !otherWords.includes(one.name)) expect(ours).toEqual(bare)
    })
  })
}

/** Where one fails the other comes to its end all the same: it would run on beside the next cases. */
async function both<T>(one: Promise<T>, other: Promise<T>): Promise<readonly [T, T]> {
  await Promise.allSettled([one, other])
  return Promise.all([one, other])
}
