/** What the agent itself does on the virtio-serial port, which is the helper's (identity.c): it answers, and knows its own files. */
import { join } from 'node:path'
import type { FromPort } from '../wire/guest.ts'
import { resetClock } from './clock.ts'
import type { Helper } from './helper.ts'
import { parseToPort } from './messages.ts'
import { rememberPresent } from './own-files.ts'
import type { TaskServer } from './server.ts'
import type { Settings } from './settings.ts'

/** From now on the bait is answered, once it is connected. */
export async function servePort(settings: Settings, helper: Helper, tasks: TaskServer): Promise<void> {
  const { port: path, socket, etc, kernel, sshd, sshPort } = settings
  const say = (message: FromPort): void => helper.tell(message)
  const answer = (n: number): void => say({ kind: 'pong', n, memoryBytes: process.memoryUsage().rss, jobs: tasks.jobs })
  const complain = (error: unknown): void => say({ kind: 'trouble', what: String(error).slice(0, 4096) })
  await helper.port({ path, etc, ssh: join(socket, '../ssh'), kernel, sshd, sshPort }, {
    line(text) {
      const message = parseToPort(text)
      if (message?.kind === 'ping') answer(message.n)
      else if (message?.kind === 'wake') void resetClock(settings, helper, message.nowMs).then(() => answer(message.n), complain)
    },
    became: (files) => files.forEach(rememberPresent),
  })
}
