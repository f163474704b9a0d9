/**
 * An agent's day in small: it becomes somebody, runs a job and cleans up after it, with a helper that only says yes. Done once while the
 * snapshot of the heap is made, so that the snapshot holds these functions compiled: to compile them costs an emulated guest longer
 * than to run them.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stream } from '../wire/frames.ts'
import type { RunTask } from '../wire/guest.ts'
import { guestVersion } from '../wire/guest-facts.ts'
import { resetClock } from './clock.ts'
import { speak, type Helper } from './helper.ts'
import { parseToPort } from './messages.ts'
import { forgetFiles } from './own-files.ts'
import { servePort } from './port.ts'
import { serveTasks } from './server.ts'
import type { Settings } from './settings.ts'

/** Everything happens in a temporary folder. */
export async function rehearse(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-rehearsal-'))
  try {
    const settings = settingsIn(folder)
    const { helper, give, hear } = agreeable()
    await servePort(settings, helper, await serveTasks(settings, helper))
    helper.hello({ kind: 'hello' })
    hear('port {"kind":"nothing"}')
    hear(`became 0 ${join(settings.etc, 'passwd')}`)
    const woken = parseToPort(JSON.stringify({ kind: 'wake', n: 1, nowMs: 0 }))
    if (woken?.kind === 'wake') await resetClock(settings, helper, woken.nowMs)
    await give(run)
    await give({ kind: 'clean', v: guestVersion })
  } finally {
    forgetFiles()
    rmSync(folder, { recursive: true, force: true })
  }
}

function settingsIn(folder: string): Settings {
  const [etc, homes, cgroups, upper, kernel] = ['etc', 'home', 'cgroup', 'upper', 'sys'].map((name) => join(folder, name)) as [string, string, string, string, string]
  for (const each of [etc, homes, cgroups, upper, join(kernel, 'kernel'), join(kernel, 'fs')]) mkdirSync(each, { recursive: true })
  writeFileSync(join(kernel, 'fs/nr_open'), '1048576\n')
  writeFileSync(join(etc, 'passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
  writeFileSync(join(etc, 'group'), 'root:x:0:\n')
  return {
    port: '', socket: join(folder, 'run/agent.sock'), etc, kernel, cgroups, homes, scratch: [homes], upper, bare: [], scriptRoots: [], sshPort: null, sshd: '/',
  }
}

const base64 = (text: string): string => Buffer.from(text).toString('base64')

const run: RunTask = {
  kind: 'run', v: guestVersion, job: 'rehearsal-1' as RunTask['job'], trace: null, memoryBytes: 1, mounts: [], stays: false,
  identity: { user: 'ada', uid: 0, gid: 0, group: 'ada', groups: [{ gid: 1, name: 'staff' }] },
  run: {
    argv: [base64('true')], env: [base64('HOME=/'), base64('PATH=/bin')], cwd: base64('/'), umask: 0o022, limits: [{ name: 'nofile', soft: 1, hard: 1 }], nice: 0,
    ignored: [], stdin: 'null', stdout: 'stream', stderr: 'stream', tty: null, stage: false, script: null,
  },
}

/** Every wish is done at once; `give` resolves when the agent has closed the task's connection. */
function agreeable(): { readonly helper: Helper; give(message: object): Promise<void>; hear(line: string): void } {
  let tasks = 0
  let closed = (): void => undefined
  const answers = (command: string): readonly string[] => {
    if (command === 'start') return ['started 1 1 0', `done ${tasks} ${stream.stdout}`, `done ${tasks} ${stream.stderr}`, 'exited 1 0 -1']
    if (command === 'walk') return [`walked ${Buffer.from('/file\0' + '1\0').toString('hex')}`]
    return command === 'strangers' || command === 'kill' ? ['strangers'] : ['done']
  }
  const { helper, hear } = speak((text) => {
    const command = String(text).trimEnd().split(' ', 1)[0] ?? ''
    if (command === 'close') closed()
    else if (!['say', 'stop', 'cut', 'end', 'forget', 'hello', 'tell'].includes(command)) queueMicrotask(() => answers(command).forEach(hear))
  })
  const give = (message: object): Promise<void> =>
    new Promise((resolve) => {
      closed = resolve
      hear(`control ${(tasks += 1)} ${JSON.stringify(message)}`)
    })
  return { helper, give, hear }
}
