/**
 * Whether the VM of a VWN stands still. Steps follow each other, whoever asks for them: what is being paused is paused before it is
 * woken, and who comes second finds it done.
 *
 *   runs ─pause─▶ [its record says so] ─▶ stands still ─wake─▶ runs, its clock right
 */
import type { Kit } from '../../kit/service.ts'
import type { Vm } from '../hypervisor/hypervisor.ts'
import { orAborted } from './in-time.ts'
import type { Line } from './line.ts'
import { setClock, wake, type Sleeper } from './wake.ts'

export interface Nap {
  /** From before it is paused until it is awake; a guest that could not be woken stays so. */
  readonly still: boolean
  /** The VM stands still, unless there is a reason against it by then. */
  pause(): Promise<void>
  /** The guest runs, answers and is right in time; fails as `wake` does. */
  wake(): Promise<void>
}

export interface NapParts extends Sleeper {
  readonly vm: Pick<Vm, 'pause' | 'resume' | 'exit'>
  readonly line: Pick<Line, 'stand'>
  /** Asked again after each wait: a job may have come meanwhile. */
  readonly mayPause: () => boolean
  /** Makes durable that the VM may stand still from now on. */
  readonly record: () => Promise<unknown>
}

/** The naps of one VM, which runs now; `signal` ends all waiting. */
export function napOf(kit: Kit, parts: NapParts, signal: AbortSignal): Nap {
  const { vm, port, line, mayPause, record } = parts
  let still = false
  let last: Promise<unknown> = Promise.resolve()
  const step = (work: () => Promise<void>): Promise<void> => {
    const done = last.catch(() => undefined).then(work)
    last = done
    return done
  }
  return {
    get still() {
      return still
    },
    pause: () => step(async () => {
      if (still || !mayPause()) return
      await setClock(kit, port, signal) // a guest that has done it once does it sooner, and time counts when it is woken
      await record()
      if (!mayPause()) return
      still = true
      line.stand(true)
      await orAborted(vm.pause(), signal, 'pause')
    }),
    wake: () => step(async () => {
      if (!still) return
      await wake(kit, parts, signal)
      line.stand(false)
      still = false
    }),
  }
}
