/**
 * Whether the VM of a VWN stands still. Steps follow each other, whoever asks for them: what is being paused is paused before it is
 * woken, and who comes second finds it done.
 *
 *   runs ─pause──▶ [its record says so] ─▶ stands still ─wake─▶ runs, its clock right        nobody's: until a job comes
 *        ─freeze────────────────────────▶ stands still ─wake─▶ runs, its clock right        a job's: while it is suspended
 *
 * Freezing asks and writes nothing, for it must be quick. No record is missed: whatever a bait finds with a job in it, it treats as one
 * that may have stood still.
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
  /** The VM stands still with the job that is in it. */
  freeze(): Promise<void>
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
  /** Told when `still` has changed. */
  readonly onChange: () => void
}

/** The naps of one VM, which runs now; `signal` ends all waiting. */
export function napOf(kit: Kit, parts: NapParts, signal: AbortSignal): Nap {
  const { vm, port, line, mayPause, record, onChange } = parts
  let still = false
  let last: Promise<unknown> = Promise.resolve()
  const step = (work: () => Promise<void>): Promise<void> => {
    const done = last.catch(() => undefined).then(work)
    last = done
    return done
  }
  const halt = async (): Promise<void> => {
    still = true
    line.stand(true)
    await orAborted(vm.pause(), signal, 'pause')
    onChange()
  }
  return {
    get still() {
      return still
    },
    pause: () => step(async () => {
      if (still || !mayPause()) return
      await setClock(kit, port, signal) // a guest that has done it once does it sooner, and time counts when it is woken
      await record()
      if (mayPause()) await halt()
    }),
    freeze: () => step(async () => {
      if (!still) await halt()
    }),
    wake: () => step(async () => {
      if (!still) return
      await wake(kit, parts, signal)
      line.stand(false)
      still = false
      onChange()
    }),
  }
}
