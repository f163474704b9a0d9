/**
 * A job in a guest that has the agent: one stream to the agent's socket, over the VWN's open ssh connection. Bytes are handed on
 * without a look at them; messages are read, for they are what the job's life is driven by.
 *
 * A directory to stage goes in behind the `run` message, and the agent starts the job at the end of its tar. That end is held back
 * until the driver says `run`: so nothing runs before the point of no return is on record.
 */
import { VwnError } from '../../core/errors.ts'
import type { JobExit } from '../../core/job.ts'
import { stream } from '../../wire/frames.ts'
import { fromAgentSchema, type FromAgent } from '../../wire/guest.ts'
import { JobStream } from '../../wire/job-stream.ts'
import { failureOf } from '../failures.ts'
import type { Contact, ContactDeps } from './contact.ts'
import { openShares, type OpenShares } from './shares.ts'

export function agentContact({ place, link, task, mounts, on, log }: ContactDeps): Contact {
  const { run } = task
  const closing = new AbortController()
  const gone = gate()
  const opened = open()
  opened.catch(() => undefined) // whoever waits for it hears of it
  let shares: OpenShares | null = null
  let touched = false
  let passEnd: (() => void) | null = null
  let exited = false
  let over = false
  const unsettled = new Set<number>([
    ...(run.stdout === 'stream' ? [stream.stdout] : []),
    ...(run.stderr === 'stream' ? [stream.stderr] : []),
    ...(run.stage ? [stream.collect] : []),
  ])

  async function open(): Promise<JobStream> {
    const via = new JobStream(await place.session.openAgent(closing.signal), { onControl: hear, onClose: lost })
    void place.session.closed.then(() => via.destroy(new Error('the ssh connection is gone')))
    return via
  }
  function lost(error: Error | null): void {
    gone.open()
    const cause = error ?? new Error('the agent has closed the stream')
    const failure = failureOf(new VwnError('JOB_GUEST_LOST', { vwn: place.vwn }, { cause }), 'JOB_GUEST_LOST')
    finish(() => (touched ? on.onLost(failure) : on.onFailed(failure)))
  }
  function finish(say: () => void): void {
    if (over) return
    over = true
    say()
  }
  function settle(): void {
    if (exited && unsettled.size === 0) finish(on.onCollected)
  }
  function hear(raw: unknown): void {
    const parsed = fromAgentSchema.safeParse(raw)
    if (!parsed.success) return log.warn({ vwn: place.vwn, why: parsed.error.message.slice(0, 500) }, 'message of a guest dropped')
    if (!over) obey(parsed.data)
  }
  function obey(message: FromAgent): void {
    switch (message.kind) {
      case 'staged': return log.debug({}, 'guest has the files')
      case 'started': return on.onStarted()
      case 'failed': return finish(() => on.onFailed(failureOf(startFailure(message), 'JOB_START_FAILED')))
      case 'exited': {
        const exit = exitOf(message)
        if (exit === null || exited) return log.warn({ vwn: place.vwn }, 'message of a guest dropped')
        exited = true
        on.onExited(exit, message.usage)
        return settle()
      }
      case 'cleaned': return log.warn({ vwn: place.vwn }, 'message of a guest dropped')
      default: return message satisfies never
    }
  }
  async function begin(): Promise<void> {
    const via = await opened
    if (over || closing.signal.aborted) return
    if (mounts.length > 0) shares = await openShares(place.session, mounts, log)
    if (over || closing.signal.aborted) return shares?.close()
    touched = true
    via.control({ ...task, mounts: shares?.mounts ?? [] })
    const inward = [...(run.stdin === 'stream' ? [stream.stdin] : [])]
    link.via.relay(via, inward)
    if (run.stage) link.via.relay(via, [stream.stage], { onEnd: (_stream, pass) => ((passEnd = pass), on.onStaged()) })
    via.relay(link.via, [...unsettled], {
      onSettled: (settled) => {
        unsettled.delete(settled)
        settle()
      },
    })
  }
  const failed = (error: unknown): void => finish(() => on.onFailed(failureOf(error, 'GUEST_CHANNEL_REFUSED')))
  return {
    get touched() {
      return touched
    },
    stage() {
      if (run.stage) begin().catch(failed)
      else on.onStaged()
    },
    run() {
      if (!run.stage) begin().catch(failed)
      else passEnd?.()
      passEnd = null
    },
    signal: (name) => tell({ kind: 'signal', signal: name }),
    resize: (size) => tell({ kind: 'resize', ...size }),
    async close() {
      over = true
      closing.abort(new VwnError('CANCELLED', { what: 'contact with the guest' }))
      const via = await opened.catch(() => null)
      if (via === null) return
      if (!exited) via.destroy(new Error('the job was given up'))
      else via.end()
      await gone.opened
      shares?.close()
    },
  }
  function tell(message: object): void {
    if (touched) void opened.then((via) => via.control(message))
  }
}

/** The guest's own words; what it could not mount has a code of its own. */
function startFailure({ step, message }: Extract<FromAgent, { kind: 'failed' }>): VwnError {
  return step === 'mount' ? new VwnError('SHARE_NOT_MOUNTED', { why: message }) : new VwnError('JOB_START_FAILED', { step, why: message })
}

function exitOf({ code, signal, outOfMemory }: Extract<FromAgent, { kind: 'exited' }>): JobExit | null {
  const fact = outOfMemory ? { outOfMemory } : {}
  if (signal !== null) return { is: 'signalled', signal, coreDumped: false, ...fact }
  return code === null ? null : { is: 'exited', code, ...fact }
}

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open: () => void = () => {}
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open }
}
