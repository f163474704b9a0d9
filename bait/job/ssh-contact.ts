/**
 * A job in a guest that has nothing but an ssh server and a shell. Up to four channels on the VWN's connection:
 *
 *   control   a shell that makes the user and the job's scripts, then waits for `k SIGNAL`; its end is the job's end
 *   script    the bytes of the job's script in, before; stage: tar in, before; collect: tar out, after
 *   job       the job itself; its stdin, stdout, stderr and exit are this channel's
 *
 * The bait is the job stream's other end here: bytes are taken from channels and frames as credit allows, one window per stream.
 */
import type { Readable } from 'node:stream'
import type { ClientChannel } from 'ssh2'
import { VwnError } from '../../core/errors.ts'
import type { JobExit } from '../../core/job.ts'
import { randomId } from '../../kit/clock.ts'
import { tail } from '../../kit/command.ts'
import type { Usage } from '../../wire/common.ts'
import { stream } from '../../wire/frames.ts'
import type { Sink } from '../../wire/job-stream.ts'
import { failureOf } from '../failures.ts'
import type { Contact, ContactDeps } from './contact.ts'
import { collectCommand, controlScript, parseTimes, runCommand, scriptCommand, stageCommand, timesRequest, type Times } from './ssh-script.ts'
import { signalName } from './signal-names.ts'

/** How a channel's command ended, as ssh tells it; both null: it does not say. */
interface ChannelEnd {
  readonly code: number | null
  readonly signal: string | null
}

/** Words of a guest that are kept for a failure's message. */
const wordsMax = 4096

export function sshContact({ place, link, task, on, log }: ContactDeps): Contact {
  const { run } = task
  const { session } = place
  const closing = new AbortController()
  const channels: { readonly channel: ClientChannel; readonly closed: Promise<void> }[] = []
  let control: Control | null = null
  let job: ClientChannel | null = null
  let exited = false
  let over = false
  const unsettled = new Set<number>()

  const finish = (say: () => void): void => {
    if (over) return
    over = true
    say()
  }
  const failed = (error: unknown): void => finish(() => on.onFailed(failureOf(error, 'JOB_START_FAILED')))
  const lost = (cause: unknown): void => finish(() => on.onLost(failureOf(new VwnError('JOB_GUEST_LOST', { vwn: place.vwn }, { cause }), 'JOB_GUEST_LOST')))
  const settle = (streamId: number | null): void => {
    if (streamId !== null) unsettled.delete(streamId)
    if (exited && unsettled.size === 0) finish(on.onCollected)
  }
  const open = async (command: string, terminal?: Parameters<typeof session.exec>[2]): Promise<ClientChannel> => {
    const channel = await session.exec(command, closing.signal, terminal)
    channel.on('error', () => {}) // its close says it
    channels.push({ channel, closed: new Promise((resolve) => channel.once('close', () => resolve())) })
    return channel
  }
  /** Bytes of a channel to the starter; a reader that has closed is the writer's SIGPIPE. */
  const send = (streamId: number, source: Readable): void => {
    unsettled.add(streamId)
    const sender = link.via.outgoing(streamId, {
      onRoom: () => void source.resume(),
      onStop: () => {
        if (streamId !== stream.collect) control?.signal('SIGPIPE')
        source.resume()
      },
      onDone: () => settle(streamId),
    })
    source.on('data', (chunk: Buffer) => {
      if (!sender.write(chunk)) source.pause()
    })
    source.once('end', () => sender.end())
    source.once('close', () => sender.end())
  }

  const begin = async (): Promise<void> => {
    control = await openControl(await open('exec sh'), controlScript(task, randomId(20)))
    control.closed.then(() => (job === null ? failed : lost)(new Error('the control shell has ended')), () => undefined)
    if (run.script !== null) await bring(Buffer.from(run.script.content, 'base64'))
    if (run.stage) await stageIn()
    if (!over) on.onStaged()
  }
  const bring = async (script: Buffer): Promise<void> => {
    const channel = await open(scriptCommand(task))
    const words = said(channel.stderr)
    channel.resume()
    channel.end(script)
    const { code } = await endOf(channel)
    if (code !== 0) throw new VwnError('JOB_START_FAILED', { step: 'script', said: tail(words()) })
  }
  const stageIn = async (): Promise<void> => {
    const channel = await open(stageCommand(task))
    const words = said(channel.stderr)
    channel.resume()
    link.via.incoming(stream.stage, sinkOf(channel))
    const { code } = await endOf(channel)
    if (code !== 0) throw new VwnError('STAGE_FAILED', { said: tail(words()) })
  }
  const collect = async (): Promise<void> => {
    const channel = await open(collectCommand(task))
    const words = said(channel.stderr)
    send(stream.collect, channel)
    void endOf(channel).then(({ code }) => code !== 0 && log.warn({ code, said: tail(words()) }, 'changed files may be missing'))
  }
  const start = async (): Promise<void> => {
    const channel = await open(runCommand(task), run.tty === null ? undefined : { rows: run.tty.rows, cols: run.tty.cols, term: variable(run.env, 'TERM') ?? 'dumb' })
    if (over) return
    job = channel
    on.onStarted()
    if (run.stdin === 'stream') link.via.incoming(stream.stdin, sinkOf(channel))
    else channel.end()
    if (run.stdout === 'stream') send(stream.stdout, channel)
    else channel.resume()
    if (run.stderr === 'stream') send(stream.stderr, channel.stderr)
    else channel.stderr.resume()
    const ended = await endOf(channel)
    const times = run.tty === null ? parseTimes(await Promise.race([control?.times() ?? '', session.closed.then(() => '')])) : null
    const exit = exitOf(ended, times)
    if (over) return
    if (exit === null) return lost(new Error('the connection ended before the job'))
    if (run.stage) await collect()
    exited = true
    on.onExited(exit, times === null ? null : usageOf(times))
    settle(null)
  }
  void session.closed.then(() => (job === null ? failed : lost)(new Error('the ssh connection is gone')))

  return {
    get touched() {
      return control !== null || channels.length > 0
    },
    stage: () => void begin().catch(failed),
    run: () => void start().catch((error: unknown) => (job === null ? failed(error) : lost(error))),
    signal: (name) => {
      if (job !== null) control?.signal(name)
    },
    resize: ({ rows, cols }) => job?.setWindow(rows, cols, 0, 0),
    async close() {
      over = true
      closing.abort(new VwnError('CANCELLED', { what: 'contact with the guest' }))
      for (const { channel } of channels) {
        channel.resume() // a channel closes when its last byte was read
        channel.stderr.resume()
        channel.destroy()
      }
      await Promise.race([Promise.all(channels.map(({ closed }) => closed)), session.closed])
    },
  }
}

/** The shell that stays with the job. */
interface Control {
  readonly closed: Promise<void>
  signal(name: string): void
  /** What `time` has measured; only after the job has ended. */
  times(): Promise<string>
}

async function openControl(channel: ClientChannel, script: Buffer): Promise<Control> {
  const words = said(channel.stderr)
  let text = ''
  let look: () => void = () => {}
  const closed = new Promise<void>((resolve) => channel.once('close', () => resolve()))
  channel.on('data', (chunk: Buffer) => {
    text = (text + chunk.toString('latin1')).slice(-65_536)
    look()
  })
  const waitFor = (mark: string): Promise<void> =>
    new Promise((resolve, reject) => {
      look = () => {
        if (text.includes(mark)) resolve()
      }
      look()
      void closed.then(() => reject(new VwnError('JOB_START_FAILED', { said: tail(`${text}\n${words()}`) })))
    })
  channel.write(script)
  await waitFor('wnod:ready\n')
  return {
    closed,
    signal: (name) => void channel.write(name === 'SIGKILL' ? 'k KILL; e\n' : `k ${name.slice(3)}\n`),
    async times() {
      channel.write(timesRequest)
      await waitFor('wnod:end\n').catch(() => undefined)
      return text.slice(text.indexOf('wnod:times\n'))
    },
  }
}

/** Both ends of a channel have been closed, and its last byte is read by whoever reads it. */
function endOf(channel: ClientChannel): Promise<ChannelEnd> {
  return new Promise((resolve) => {
    let end: ChannelEnd = { code: null, signal: null }
    channel.once('exit', (code: number | null, signal?: string) => (end = { code, signal: signal ?? null }))
    channel.once('close', () => resolve(end))
  })
}

const sinkOf = (channel: ClientChannel): Sink => ({
  write: (chunk, done) => void channel.write(chunk, (error) => (error === null || error === undefined ? done() : undefined)),
  end: () => void channel.end(),
})

/** Keeps the last words of a channel. */
function said(source: Readable): () => string {
  let text = ''
  source.on('data', (chunk: Buffer) => (text = (text + chunk.toString('latin1')).slice(-wordsMax)))
  return () => text
}

/** `time` knows by what its child has ended; without it, ssh's own word counts, which dropbear sometimes does not give. */
function exitOf({ code, signal }: ChannelEnd, times: Times | null): JobExit | null {
  const name = times === null || times.signal === null ? signal : signalName(times.signal)
  if (name !== null) return { is: 'signalled', signal: name, coreDumped: false }
  const exit = code ?? times?.code ?? null
  return exit === null ? null : { is: 'exited', code: exit }
}

const usageOf = ({ userMs, systemMs }: Times): Usage =>
  ({ cpuUserMs: userMs, cpuSystemMs: systemMs, memoryPeakBytes: null, readBytes: null, writtenBytes: null })

function variable(env: readonly string[], name: string): string | null {
  const entry = env.map((one) => Buffer.from(one, 'base64').toString('latin1')).find((one) => one.startsWith(`${name}=`))
  return entry?.slice(name.length + 1) ?? null
}
