import { expect, test } from 'vitest'
import { run, tail } from '../../kit/command.ts'

test('answers what a command said', async () => {
  expect(await run('sh', ['-c', 'echo out; echo err >&2'])).toEqual({ exit: 0, stdout: 'out', stderr: 'err' })
  expect(await run('cat', [], { input: 'bytes' })).toMatchObject({ stdout: 'bytes' })
  expect(await run('sh', ['-c', 'exit 3'], { okExits: [0, 3] })).toMatchObject({ exit: 3 })
  expect(await run('sh', ['-c', 'pwd; echo $A'], { cwd: '/', env: { A: 'b' } })).toMatchObject({ stdout: '/\nb' })
})

test('arguments never meet a shell', async () => {
  expect(await run('echo', ['$HOME; `id`'])).toMatchObject({ stdout: '$HOME; `id`' })
})

test('a failure has its status and its last words', async () => {
  await expect(run('sh', ['-c', 'echo no such image >&2; exit 4'])).rejects.toMatchObject({
    code: 'COMMAND_FAILED',
    facts: { exit: 4, stderr: 'no such image' },
  })
  await expect(run('sh', ['-c', 'kill -KILL $$'])).rejects.toMatchObject({ code: 'COMMAND_FAILED', facts: { diedBy: 'SIGKILL' } })
})

test('a missing command, one too slow and one called off are told apart', async () => {
  await expect(run('wnod-no-such-command', [])).rejects.toMatchObject({ code: 'COMMAND_MISSING' })
  await expect(run('tail', ['-f', '/dev/null'], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'COMMAND_TIMEOUT' })
  const stop = new AbortController()
  const running = run('tail', ['-f', '/dev/null'], { signal: stop.signal })
  stop.abort()
  await expect(running).rejects.toMatchObject({ code: 'CANCELLED' })
  await expect(run('true', [], { signal: stop.signal })).rejects.toMatchObject({ code: 'CANCELLED' })
})

test('the tail of an output fits on a line', () => {
  expect(tail(`${'x'.repeat(1_000)}\n  one\n\ntwo\n`)).toMatch(/^x+ \| one \| two$/)
  expect(tail('x'.repeat(1_000))).toHaveLength(400)
})
