/** Every VWN of this host, by id. */
import { failure } from '../../core/failure.ts'
import { compareIds, type VwnId } from '../../core/ids.ts'
import { bootId } from '../../kit/process.ts'
import type { WantedVwn } from '../../wire/bait.ts'
import type { AcceleratorName } from '../hypervisor/hypervisor.ts'
import { freshHandle, type Handle } from './handles.ts'
import { buriedVwn, createVwn, type LiveVwn, type VwnDeps } from './vwn.ts'

export interface Vwns {
  all(): readonly LiveVwn[]
  get(vwn: VwnId): LiveVwn | null
  /** Begins to make it; a host where no guest can run says so at once. */
  create(wanted: WantedVwn): void
  /** There never was one, or nothing is known of it: gone it is. */
  createGone(wanted: WantedVwn): void
  /** Removes the last trace of one that is gone. */
  forget(vwn: VwnId): Promise<void>
  /** Lets go of all; their VMs run on. */
  release(): Promise<void>
}

/** The collection, beginning with those that were found on the host. */
export function vwnsOf(deps: VwnDeps, recovered: readonly LiveVwn[], accelerator: () => AcceleratorName | 'unknown' | null): Vwns {
  const vwns = new Map<VwnId, LiveVwn>(recovered.map((vwn) => [vwn.id, vwn]))
  const handleFor = ({ vwn, token, spec, reuse, owner }: WantedVwn, by: AcceleratorName = 'tcg'): Handle =>
    freshHandle({ vwn, token, spec, reuse, owner, bootId: bootId(), accelerator: by, nowMs: deps.kit.clock.nowMs() })
  const add = (vwn: LiveVwn): void => {
    vwns.set(vwn.id, vwn)
    deps.onChange()
  }
  return {
    all: () => [...vwns.values()].sort((a, b) => compareIds(a.id, b.id)),
    get: (vwn) => vwns.get(vwn) ?? null,
    create(wanted) {
      const by = accelerator()
      if (by === 'unknown') return // asked again when the probe guests have answered
      if (by !== null) add(createVwn(deps, handleFor(wanted, by), wanted.job))
      else add(buriedVwn(deps, { ...handleFor(wanted), stage: 'gone', cause: failure('ACCELERATOR_UNUSABLE') }))
    },
    createGone: (wanted) => add(buriedVwn(deps, { ...handleFor(wanted), stage: 'gone' })),
    async forget(vwn) {
      await deps.handles.forget(vwn)
      vwns.delete(vwn)
      deps.onChange()
    },
    release: async () => void (await Promise.all([...vwns.values()].map((vwn) => vwn.release()))),
  }
}
