/**
 * A guest that stood still runs again, and is right in time before anybody relies on it.
 *
 * Its clocks stand still with it, so a paused guest is late by as long as it was paused, and does not know. The guest is told the host's
 * time and answers when its clock is set; since it was set between question and answer, it is wrong by no more than lies between them.
 */
import { isVwnError, VwnError } from '../../core/errors.ts'
import type { VwnId } from '../../core/ids.ts'
import type { Kit } from '../../kit/service.ts'
import type { Vm } from '../hypervisor/hypervisor.ts'
import { orAborted } from './in-time.ts'
import type { GuestPort } from './port.ts'

/** What a guest's clock may be wrong by, milliseconds: as much as a new clone's. */
const clockErrorMs = 50
/** A busy host may never be that quick; then the guest lives all the same, and its clock is wrong by the last answer's time at most. */
const clockTries = 3
/**
 * Ten times the worst that an emulated guest took on a host with five times as much to do as it has processors (decision 0011). A frozen one
 * costs its job no more, and a boot costs it more than that.
 */
export const wakeMs = 5_000

/** A VM that stands still, with the way to its guest. */
export interface Sleeper {
  readonly vwn: VwnId
  readonly vm: Pick<Vm, 'resume' | 'exit'>
  readonly port: GuestPort
}

/**
 * The guest runs, answers, and its clock is the host's. VWN_SILENT when that takes longer than `wakeMs`, whatever hangs: the guest or
 * its hypervisor; VWN_DIED; what the hypervisor says when it refuses; CANCELLED.
 */
export async function wake(kit: Kit, { vwn, vm, port }: Sleeper, signal: AbortSignal): Promise<void> {
  const late = new AbortController()
  using _deadline = kit.clock.after(wakeMs, () => late.abort())
  const soon = AbortSignal.any([late.signal, signal])
  try {
    // The question is there when the guest begins to run: to wait for the hypervisor's word first would only cost time.
    await Promise.all([orAborted(resumed(vm), soon, 'resume'), setClock(kit, port, soon)])
  } catch (error) {
    throw late.signal.aborted && !signal.aborted ? new VwnError('VWN_SILENT', { vwn, what: 'wake', wakeMs }, { cause: isVwnError(error, 'CANCELLED') ? undefined : error }) : error
  }
}

/** A hypervisor whose control connection has ended is about to end itself. */
async function resumed(vm: Sleeper['vm']): Promise<void> {
  try {
    await vm.resume()
  } catch (error) {
    if (!isVwnError(error, 'HYPERVISOR_SILENT')) throw error
    const { code, signal, said } = await vm.exit
    throw new VwnError('VWN_DIED', { code, signal, said: said || undefined })
  }
}

/** The guest's clock is set; CANCELLED when it does not answer before the signal. */
export async function setClock({ clock }: Pick<Kit, 'clock'>, port: GuestPort, signal: AbortSignal): Promise<void> {
  for (let tried = 1; ; tried += 1) {
    const askedMs = clock.monotonicMs()
    await orAborted(port.ask({ kind: 'wake', nowMs: clock.nowMs() }), signal, 'answer to a wake')
    if (clock.monotonicMs() - askedMs <= clockErrorMs || tried === clockTries) return
  }
}
