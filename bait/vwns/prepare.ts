/** From a record of intent to a guest that is available, in at most two attempts. */
import { vwnErrorIn, type ErrorCode } from '../../core/errors.ts'
import { serialTail } from '../serial-log.ts'
import { makeOnce, type Means, type Running, type VwnKeys } from './boot.ts'
import { makeFolder, type Handle } from './handles.ts'
import { inTime, orAborted } from './in-time.ts'
import { newKeyPair } from './keys.ts'

/** The VWN's record, as its owner keeps it. */
export interface Ledger {
  /** Makes facts durable. */
  record(facts: Partial<Handle>): Promise<Handle>
  /** A job waits for it. */
  readonly hurry: boolean
}

const bootAttempts = 2
/** Failures that a second attempt would only repeat. */
const final: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'SCRATCH_NO_SPACE', 'DISK_FULL', 'FILE_UNWRITABLE', 'IMAGE_NOT_FOUND', 'IMAGE_DIGEST_MISMATCH', 'HYPERVISOR_MISSING', 'COMMAND_MISSING',
])

/** The running VM with its guest; when it fails, nothing is left but the record and the console of what was tried. */
export async function prepareVwn(means: Means, intent: Handle, { record, hurry }: Ledger, signal: AbortSignal): Promise<Running> {
  const { kit, handles } = means
  const { vwn } = intent
  const { folder, serialLog } = means.paths.vm(vwn)
  await makeFolder(folder)
  const kind = intent.spec.contact === 'agent' ? 'ecdsa' : 'ed25519'
  const keys: VwnKeys = { host: newKeyPair(kind), client: newKeyPair(kind) }
  let handle = await record({ hostKey: keys.host, clientKey: keys.client, bootAttempt: 1 })
  await means.after('intent', handle)
  if (!hurry) await untilTemplate(means, intent, signal)
  for (let tried = 1; ; tried += 1) {
    try {
      return await attempt(means, handle, keys, record, signal)
    } catch (error) {
      const code = vwnErrorIn(error)?.code
      if (signal.aborted || tried === bootAttempts || (code !== undefined && final.has(code))) throw error
      kit.log.warn({ vwn, err: error, tried, console: await serialTail(serialLog, 500) }, 'boot failed, trying once more')
      await handles.removeFiles(vwn)
      handle = await record({ stage: 'intent', bootAttempt: tried + 1, vm: null, sshPort: null })
    }
  }
}

/**
 * A VWN that no job waits for costs least as a clone: so it waits for its template, for as long as a boot may take. Without one it is
 * booted, and its record says why.
 */
async function untilTemplate({ kit, image, templates }: Means, { vwn, spec, accelerator }: Handle, signal: AbortSignal): Promise<void> {
  try {
    const machine = { spec, accelerator, image: await image(spec.image, accelerator) }
    await inTime(kit.clock, spec.bootMs, { vwn, what: 'its template' }, signal, (soon) => orAborted(templates.make(machine), soon, 'template'))
  } catch (error) {
    if (signal.aborted) throw error
    kit.log.info({ vwn, err: error }, 'vwn that nobody waits for gets no template')
  }
}

/** One attempt within its deadline. */
function attempt(means: Means, handle: Handle, keys: VwnKeys, record: Ledger['record'], signal: AbortSignal): Promise<Running> {
  const { vwn, bootAttempt, spec: { bootMs } } = handle
  return inTime(means.kit.clock, bootMs, { vwn, bootMs, attempt: bootAttempt }, signal, (soon) => makeOnce(means, handle, keys, record, soon))
}
