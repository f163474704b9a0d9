/** What the agent itself does on the virtio-serial port, which is the helper's (identity.c): it answers, and knows its own files. */
import { join } from 'node:path'
import type { FromPort } from '../wire/guest.ts'
import type { Helper } from './helper.ts'
import { parseToPort } from './messages.ts'
import { rememberPresent } from './own-files.ts'
import type { TaskServer } from './server.ts'
import type { Settings } from './settings.ts'

/** From now on the bait is answered, once it is connected. */
export async function servePort({ port: path, socket, etc, kernel, sshd, sshPort }: Settings, helper: Helper, tasks: TaskServer): Promise<void> {
  const say = (message: FromPort): void => helper.tell(message)
  await helper.port({ path, etc, ssh: join(socket, '../ssh'), kernel, sshd, sshPort }, {
    line(text) {
      const message = parseToPort(text)
      if (message?.kind === 'ping') say({ kind: 'pong', n: message.n, memoryBytes: process.memoryUsage().rss, jobs: tasks.jobs })
    },
    became: (files) => files.forEach(rememberPresent),
  })
}
