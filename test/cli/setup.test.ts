import { spawn } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ended } from '../harness/farm.ts'
import { tempFolder } from '../harness/temp.ts'

const root = join(import.meta.dirname, '../..')
const setup = join(root, 'scripts/setup.mjs')

test('wrong use is said with what there is', async () => {
  const end = await ended(spawn(process.execPath, [setup, '--for', 'fun'], { stdio: 'pipe' }))
  expect(end).toMatchObject({ code: 2, stdout: '' })
  expect(end.stderr).toContain('--for demo|test|bench|image')
})

/** Set-up for somebody who is not root, on a machine where no package is installed and `sudo` is this script; null: there is none. */
async function asNobody(sudo: string | null, ...options: string[]) {
  await using folder = await tempFolder()
  const path = join(folder.path, 'bin')
  mkdirSync(path)
  cpSync(join(root, 'scripts'), join(folder.path, 'scripts'), { recursive: true }) // a clone in root's own home is closed to nobody
  chmodSync(folder.path, 0o755)
  symlinkSync('/bin/sh', join(path, 'sh'))
  for (const [name, script] of [['dpkg-query', 'exit 1'], ['sudo', sudo]] as const) {
    if (script !== null) writeFileSync(join(path, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
  const as = ['--reuid=65534', '--regid=65534', '--clear-groups', '--', process.execPath, join(folder.path, 'scripts/setup.mjs'), '--for', 'demo', ...options]
  return await ended(spawn('/usr/bin/setpriv', as, { cwd: folder.path, stdio: 'pipe', env: { PATH: path, HOME: folder.path } }))
}

// As root it would simply install; only root can become somebody else.
describe.skipIf(process.getuid?.() !== 0)('without root', () => {
  test('and without a terminal it installs nothing, and says what to run', async () => {
    const end = await asNobody('exit 0')
    expect(end).toMatchObject({ code: 1, stdout: '' })
    expect(end.stderr).toMatch(/nats-server +the bus between controller and baits\n/)
    expect(end.stderr).toMatch(/apt-get install --yes --no-install-recommends -- qemu-system-x86 /)
    expect(end.stderr).toMatch(/cannot ask for your consent without a terminal\nhint: .*sudo scripts\/install-packages\.sh qemu-system-x86 /)
  })

  test('and without sudo it says what root should run', async () => {
    const end = await asNobody(null, '--yes')
    expect(end.code).toBe(1)
    expect(end.stderr).toMatch(/there is no sudo here\nhint: let root run: \/.*\/scripts\/install-packages\.sh qemu-system-x86 /)
  })

  test('it runs nothing where sudo refuses, and does not ask twice', async () => {
    const end = await asNobody('echo "sudo: $*" >&2; exit 1', '--yes')
    expect(end.code).toBe(1)
    expect(end.stderr).toMatch(/\nsudo: -v\nsetup: sudo did not let you, nothing was installed\nhint: let root run: /)
  })

  test('it asks for no password where sudo wants none', async () => {
    const end = await asNobody('case "$1" in -n) ;; *) echo "sudo: $1" >&2; exit 1 ;; esac', '--yes')
    expect(end.code).toBe(1)
    expect(end.stderr).not.toContain('sudo: -v')
    expect(end.stderr).toMatch(/sudo: scripts\/install-packages\.sh\nsetup: Debian packages failed /)
  })
})
