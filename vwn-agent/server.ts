/** The agent's unix socket: each connection is one task, in the job stream's protocol. Only root can connect, which is how sshd does. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { JobStream } from '../wire/job-stream.ts'
import type { Helper } from './helper.ts'
import { parseControl } from './messages.ts'
import { runJob, type RunningJob } from './run.ts'
import type { Settings } from './settings.ts'

export interface TaskServer {
  /** Jobs that are not over. */
  readonly jobs: number
}

/** The socket is there when this resolves. */
export async function serveTasks(settings: Settings, helper: Helper): Promise<TaskServer> {
  const { openCleaner } = await import('./clean.ts')
  const cleaner = openCleaner(settings, helper)
  const running = new Set<RunningJob>()
  const server = createServer((socket) => serve(socket))
  mkdirSync(dirname(settings.socket), { recursive: true, mode: 0o700 })
  chmodSync(dirname(settings.socket), 0o700)
  rmSync(settings.socket, { force: true })
  await listen(server, settings.socket)
  chmodSync(settings.socket, 0o600)

  function serve(socket: Socket): void {
    let job: RunningJob | null = null
    const via = new JobStream(socket, {
      onControl(raw) {
        const message = parseControl(raw)
        if (message === null) return via.destroy(new Error('a message that nobody can read'))
        if (message.kind === 'signal' || message.kind === 'resize') return job?.take(message)
        if (job !== null) return via.destroy(new Error('one connection is one task'))
        if (message.kind === 'clean') return clean(via)
        const own = runJob(settings, helper, via, message, () => {
          running.delete(own)
          via.end()
        })
        job = own
        running.add(own)
      },
      onClose() {
        const own = job
        if (own !== null && running.has(own)) void own.abandon().finally(() => running.delete(own))
      },
    })
  }
  function clean(via: JobStream): void {
    cleaner.clean().then(
      (cleaned) => {
        via.control(cleaned)
        via.end()
      },
      (error: unknown) => via.destroy(error instanceof Error ? error : new Error(String(error))),
    )
  }
  return {
    get jobs() {
      return running.size
    },
  }
}

/**
 * `server.listen` would load node's modules for clusters, child processes and datagrams first, a third of the time from hello to
 * ready where the processor is emulated; this is what it calls in the end.
 */
function listen(server: Server & { _listen2?: (path: string, port: number, family: number, backlog: number) => void }, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).once('listening', resolve)
    if (server._listen2 === undefined) server.listen(path)
    else server._listen2(path, -1, -1, 511)
  })
}
