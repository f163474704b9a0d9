/** The container images of docker/: they build from a base that is given, and each program answers in its own. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { version } from '../../kit/version.ts'
import { ended, type Ended } from '../harness/farm.ts'

const root = join(import.meta.dirname, '../..')
const base = `wnod-test-base-${process.pid}`
const programs = ['controller', 'bait', 'starter', 'wnod'] as const

const run = (file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> =>
  ended(spawn(file, args, { cwd: root, env: { ...process.env, ENGINE: 'buildah', BASE: `localhost/${base}`, ...env }, stdio: 'pipe' }), { withinMs: 600_000 })
const buildah = (...args: string[]): Promise<Ended> => run('buildah', ['--storage-driver', 'vfs', ...args])

/** vfs storage and chroot isolation want root or mapped ids; where neither is, nothing can be said. */
const able = process.getuid?.() === 0 && ['/usr/bin/buildah', '/usr/bin/mmdebstrap'].every((file) => existsSync(file))

describe.skipIf(!able)('images of the programs', () => {
  const containers = new Map<string, string>()

  beforeAll(async () => {
    const made = await run('docker/base.sh', [base, 'qemu-system-x86', 'e2fsprogs'])
    expect(made, made.stderr).toMatchObject({ code: 0 })
    const built = await run('docker/build.sh', [])
    expect(built, built.stderr).toMatchObject({ code: 0 })
    for (const program of programs) containers.set(program, (await buildah('from', `localhost/wnod-${program}`)).stdout.trim())
  }, 900_000)

  afterAll(async () => {
    for (const container of containers.values()) await buildah('rm', container)
    await buildah('rmi', ...programs.map((program) => `localhost/wnod-${program}`), `localhost/${base}`)
  }, 120_000)

  const inside = (program: string, ...args: string[]): Promise<Ended> => {
    const command = { controller: ['node', 'controller.js'], bait: ['node', 'bait.js'], starter: ['wnod-starter'], wnod: ['node', 'wnod.js'] }[program] ?? []
    const file = `/opt/wnod/dist/${command.at(-1)}`
    return buildah('run', '--isolation', 'chroot', containers.get(program) ?? '', '--', ...command.slice(0, -1), file, ...args)
  }

  test.each(programs)('%s says its version', async (program) => {
    const end = await inside(program, '--version')
    expect(end, end.stderr).toMatchObject({ code: 0 })
    expect(end.stdout).toContain(version)
  })

  test('the bait takes its settings', async () => {
    const end = await inside('bait', '--config', '/etc/wnod/bait.toml', '--check-config')
    expect(end, end.stderr).toMatchObject({ code: 0 })
    expect(end.stdout).toMatch(/host += "h1" +# .*bait\.toml/)
  })

  test('the controller takes its settings, and its database library loads', async () => {
    const end = await inside('controller', '--config', '/etc/wnod/controller.toml', '--check-config')
    expect(end, end.stderr).toMatchObject({ code: 0 })
    expect(end.stdout).toMatch(/http\.port += 8080 +# .*controller\.toml/)
    const opened = await buildah('run', '--isolation', 'chroot', containers.get('controller') ?? '', '--', 'sh', '-c', "cd /opt/wnod && node -p 'new (require(\"better-sqlite3\"))(\":memory:\").prepare(\"select 7 as n\").get().n'")
    expect(opened, opened.stderr).toMatchObject({ code: 0, stdout: '7\n' })
  })
})
