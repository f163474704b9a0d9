/**
 * What a bait does before anything else: every VWN on record is taken on again or laid to rest, and what no record explains is
 * removed. Only what provably serves nobody is ended here; all else waits for the controller's Orders.
 *
 *   record     VM found                    VM not found
 *   none       destroyed, folder removed   folder removed
 *   intent, spawned   destroyed, folder removed: it was never available; the Orders will ask again
 *   ready      met again: idle, or busy with a job that is over and must be scrubbed       gone: it died meanwhile
 *              one that was paused is woken for that, its clock set, and paused again; one with a job may have been
 *   gone       destroyed                   kept, until the Orders forget it
 */
import { basename } from 'node:path'
import { VwnError } from '../core/errors.ts'
import type { Failure } from '../core/failure.ts'
import { bootId } from '../kit/process.ts'
import { findCgroups } from './cgroup.ts'
import { failureOf, withConsole } from './failures.ts'
import type { VmHandle } from './hypervisor/hypervisor.ts'
import { keepSerialLog, serialTail } from './serial-log.ts'
import type { Running } from './vwns/boot.ts'
import { meetAgain } from './vwns/guest.ts'
import type { Found, Handle } from './vwns/handles.ts'
import { adoptVwn, buriedVwn, meetingOf, type LiveVwn, type VwnDeps } from './vwns/vwn.ts'

const againMs = 60_000
const wakersMax = 2

/** Every VWN that is still to be spoken of, in the state that it was found in. */
export async function recoverVwns(deps: VwnDeps): Promise<readonly LiveVwn[]> {
  const { hypervisor, handles, namePrefix } = deps
  const found = await handles.all()
  const keep = new Set(found.flatMap(({ handle }) => (handle?.stage === 'ready' && handle.vm !== null ? [vmKey(handle.vm)] : [])))
  const strays = (await hypervisor.find(namePrefix)).filter((vm) => !keep.has(vmKey(vm)))
  for (const vm of strays) {
    deps.kit.log.warn({ vm: vm.name, vmPid: vm.pid }, 'ends a vm that no record keeps')
    await hypervisor.destroy(vm)
  }
  const awake = found.filter(({ handle }) => handle?.paused !== true)
  const sleepers = found.filter(({ handle }) => handle?.paused === true)
  const vwns = await Promise.all([...awake.map((one) => recoverOne(deps, one)), ...inTurns(sleepers, (one) => recoverOne(deps, one))])
  const left = vwns.flatMap((vwn) => vwn ?? [])
  const live = new Set(left.filter((vwn) => vwn.local().state !== 'gone').map((vwn) => `${namePrefix}${vwn.id}`))
  for (const group of await findCgroups(namePrefix)) if (!live.has(basename(group))) await deps.cgroups.leave(basename(group))
  return left
}

const vmKey = (vm: VmHandle): string => `${vm.name} ${vm.pid} ${vm.startTicks}`

/** A few at a time: guests that nobody waits for, woken all together, would keep each other and the others from answering in time. */
function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): readonly Promise<R>[] {
  const begun: Promise<R>[] = []
  for (const item of items) {
    const before = begun.at(-wakersMax)
    begun.push(before === undefined ? work(item) : before.catch(() => undefined).then(() => work(item)))
  }
  return begun
}

async function recoverOne(deps: VwnDeps, { vwn, handle }: Found): Promise<LiveVwn | null> {
  if (handle?.stage === 'gone') {
    await deps.handles.removeFiles(vwn)
    return buriedVwn(deps, handle)
  }
  if (handle?.stage !== 'ready') {
    await deps.handles.forget(vwn)
    return null
  }
  try {
    const running = await takeUp(deps, handle)
    deps.kit.log.info({ vwn, job: handle.job }, 'vwn taken on again')
    return adoptVwn(deps, handle, running)
  } catch (error) {
    deps.kit.log.warn({ vwn, err: error }, 'vwn could not be taken on again')
    return bury(deps, handle, failureOf(error, 'VWN_DIED'))
  }
}

/** All connections to a VM that runs on since an earlier bait. */
async function takeUp(deps: VwnDeps, handle: Handle): Promise<Running> {
  const { kit, hypervisor } = deps
  const { vwn, vm: record } = handle
  if (handle.bootId !== bootId()) throw new VwnError('VWN_DIED', { vwn, why: 'the host was booted meanwhile' })
  const vm = record === null ? null : await hypervisor.recover(record)
  if (vm === null) throw new VwnError('VWN_DIED', { vwn, why: 'it ended while no bait was there' })
  const paths = deps.paths.vm(vwn)
  const late = new AbortController()
  using _deadline = kit.clock.after(againMs, () => late.abort(new VwnError('VWN_SILENT', { vwn, againMs })))
  void vm.exit.then(() => late.abort(new VwnError('VWN_DIED', { vwn })))
  const serial = await keepSerialLog(kit, { socket: paths.serialSocket, file: paths.serialLog })
  try {
    await vm.resume()
    const guest = await meetAgain(kit, { ...meetingOf(deps, handle), contact: handle.spec.contact, slept: handle.paused || handle.job !== null }, deps.connectGuest, AbortSignal.any([late.signal, kit.signal]))
    return { vm, serial, guest }
  } catch (error) {
    if (kit.signal.aborted) vm.release()
    else await vm.kill()
    await serial.close()
    throw error
  }
}

/** Removes everything but the record, which says what became of it. */
async function bury(deps: VwnDeps, handle: Handle, cause: Failure): Promise<LiveVwn> {
  const { handles, hypervisor } = deps
  const console = await serialTail(deps.paths.vm(handle.vwn).serialLog)
  if (handle.vm !== null) await hypervisor.destroy(handle.vm)
  await deps.cgroups.leave(`${deps.namePrefix}${handle.vwn}`)
  await handles.removeFiles(handle.vwn)
  const gone: Handle = { ...handle, stage: 'gone', job: null, vm: null, sshPort: null, hostKey: null, clientKey: null, cause: handle.cause ?? withConsole(cause, console) }
  await handles.save(gone)
  return buriedVwn(deps, gone)
}
