import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { build } from 'esbuild'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { until } from '../../kit/until.ts'

let code = ''
beforeAll(async () => {
  const from = join(import.meta.dirname, 'fixtures/program.ts')
  const bundle = await build({ entryPoints: [from], bundle: true, write: false, format: 'esm', platform: 'node', target: 'node20', packages: 'external' })
  code = bundle.outputFiles[0]?.text ?? ''
})

/** A running fixture, killed when the scope is left. */
function run(how: string) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', code, '--', how], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (data) => (said += String(data)))
  const exit = once(child, 'close').then(([status, signal]) => (status ?? signal) as unknown)
  const hears = (words: string) => until(() => said.includes(words), { withinMs: 8_000, what: words })
  return { child, exit, hears, said: () => said, [Symbol.dispose]: () => void child.kill('SIGKILL') }
}

test('TERM stops a program in order', async () => {
  using program = run('works')
  await program.hears('"up"')
  program.child.kill('SIGTERM')
  expect(await program.exit).toBe(0)
  expect(program.said()).toContain('program stopped')
})

test('a second signal ends it at once', async () => {
  using program = run('hangs')
  await program.hears('"up"')
  program.child.kill('SIGTERM')
  await program.hears('program stops')
  program.child.kill('SIGINT')
  expect(await program.exit).toBe(75)
})

test('a program that cannot start says why, what to do, and exits as its failure does', async () => {
  using program = run('refuses')
  expect(await program.exit).toBe(2)
  expect(program.said()).toBe(
    'fixture: the settings are not valid (line=3)\n  CONFIG_INVALID: mend the named line; `--check-config` prints what is in force\n',
  )
})

test('a bug ends the program with its stack', async () => {
  using program = run('breaks')
  expect(await program.exit).toBe(70)
  expect(program.said()).toContain('SyntaxError')
})
