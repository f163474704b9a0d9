import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ended } from '../harness/farm.ts'
import { tempFolder } from '../harness/temp.ts'

const root = join(import.meta.dirname, '../..')
const setup = join(root, 'scripts/setup.mjs')

test('wrong use is said with what there is', async () => {
  const end = await ended(spawn(process.execPath, [setup, '--for', 'fun'], { stdio: 'pipe' }))
  expect(end).toMatchObject({ code: 2, stdout: '' })
  expect(end.stderr).toContain('--for demo|test|bench|image')
})

// As root it would simply install; only root can become somebody else.
test.skipIf(process.getuid?.() !== 0)('without root and without a terminal it installs nothing, and says what to run', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'bin')
  mkdirSync(path)
  writeFileSync(join(path, 'dpkg-query'), '#!/bin/sh\nexit 1\n') // knows no package
  chmodSync(join(path, 'dpkg-query'), 0o755)
  chmodSync(folder.path, 0o755)
  symlinkSync('/bin/sh', join(path, 'sh'))
  const as = ['--reuid=65534', '--regid=65534', '--clear-groups', '--', process.execPath, setup, '--for', 'demo']
  const end = await ended(spawn('/usr/bin/setpriv', as, { stdio: 'pipe', env: { PATH: path, HOME: folder.path } }))
  expect(end).toMatchObject({ code: 1, stdout: '' })
  expect(end.stderr).toMatch(/nats-server +the bus between controller and baits\n/)
  expect(end.stderr).toMatch(/apt-get install --yes --no-install-recommends -- qemu-system-x86 /)
  expect(end.stderr).toMatch(/cannot ask for your consent without a terminal\nhint: .*sudo scripts\/install-packages\.sh qemu-system-x86 /)
})
