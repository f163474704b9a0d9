/**
 * Keeps templates of the machines that the controller may ask for next, so that already the first job of each finds one. They are made
 * one after the other, each only when nobody waits for a guest to boot (templates.ts); what fails is tried again at the next turn.
 */
import { explain } from '../../core/errors.ts'
import { loop, type Kit, type Loop } from '../../kit/service.ts'
import type { VwnSpec } from '../../wire/bait.ts'
import type { AcceleratorName } from '../hypervisor/hypervisor.ts'
import type { BootImage, Machine } from '../vwns/machine.ts'
import type { Templates } from './templates.ts'

export interface StockParts {
  readonly templates: Pick<Templates, 'want' | 'make'>
  /** What is wanted now, the most important first. */
  machines(): readonly VwnSpec[]
  accelerator(): AcceleratorName | 'unknown' | null
  image(digest: VwnSpec['image'], accelerator: AcceleratorName): Promise<BootImage>
}

/** How often what could not be made is tried again, and what is not known yet asked for. */
const everyMs = 30_000

/** A loop to be woken whenever other machines are wanted. */
export function templateStock(kit: Kit, { templates, machines, accelerator, image }: StockParts): Loop {
  const machineOf = async (spec: VwnSpec, by: AcceleratorName): Promise<readonly Machine[]> => {
    try {
      return [{ spec, accelerator: by, image: await image(spec.image, by) }]
    } catch (error) {
      kit.log.debug({ type: spec.type, err: error }, 'no template without its image')
      return []
    }
  }
  return loop(kit, { name: 'templates', everyMs }, async (signal) => {
    const by = accelerator()
    if (by === 'unknown' || by === null) return
    const specs = machines()
    const missing = await templates.want((await Promise.all(specs.map((spec) => machineOf(spec, by)))).flat())
    for (const machine of missing) {
      if (signal.aborted || machines() !== specs) return // others are wanted meanwhile: the next turn sees to them
      await templates.make(machine).catch((error: unknown) => {
        if (!signal.aborted) kit.log.warn({ type: machine.spec.type, why: explain(error) }, 'template could not be made ahead')
      })
    }
  })
}
