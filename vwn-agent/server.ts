/** The agent's unix socket: each connection is one task, in the job stream's protocol. Only root can connect, which is how sshd does. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import type { FromAgent } from '../wire/guest.ts'
import { openCleaner } from './clean.ts'
import type { Connection, Helper, Task } from './helper.ts'
import { parseControl } from './messages.ts'
import { runJob, type RunningJob } from './run.ts'
import type { Settings } from './settings.ts'

export interface TaskServer {
  /** Jobs that are not over. */
  readonly jobs: number
}

/** The socket is there when this resolves. */
export async function serveTasks(settings: Settings, helper: Helper): Promise<TaskServer> {
  const cleaner = openCleaner(settings, helper)
  const running = new Set<RunningJob>()
  mkdirSync(dirname(settings.socket), { recursive: true, mode: 0o700 })
  chmodSync(dirname(settings.socket), 0o700)
  rmSync(settings.socket, { force: true })
  await helper.serve(settings.socket, serve)

  function serve(connection: Connection): Task {
    let job: RunningJob | null = null
    const say = (message: FromAgent): void => connection.say(message)
    const clean = (): void =>
      void cleaner.clean().then(say).then(
        () => connection.close(),
        (error: unknown) => {
          process.stderr.write(`agent: ${String(error)}\n`)
          connection.forget()
        },
      )
    const end = (): void => {
      const own = job
      if (own === null || !running.has(own)) return connection.forget()
      void own.abandon().finally(() => {
        running.delete(own)
        connection.forget()
      })
    }
    return {
      take(text) {
        const message = parseControl(text)
        if (message === null) return end() // nobody can read it
        if (message.kind === 'signal' || message.kind === 'resize') return job?.take(message)
        if (job !== null) return end() // one connection is one task
        if (message.kind === 'clean') return clean()
        cleaner.ran(message.identity.uid)
        const own = runJob(settings, helper, connection, message, () => {
          running.delete(own)
          connection.close()
        })
        job = own
        running.add(own)
      },
      lost: end,
    }
  }
  return {
    get jobs() {
      return running.size
    },
  }
}
