import { expect, test } from 'vitest'
import { VwnError } from '../../core/errors.ts'
import { captureLog, createLog, silentLog, traced } from '../../kit/log.ts'

test('a line is a constant sentence with facts as fields, and a child adds its own', () => {
  const { log, lines } = captureLog()
  log.child({ vwn: 'v17' }).info({ tookMs: 3 }, 'vwn ready')
  log.warn('odd')
  expect(lines).toMatchObject([
    { level: 'info', program: 'test', vwn: 'v17', tookMs: 3, msg: 'vwn ready' },
    { level: 'warn', msg: 'odd' },
  ])
})

test('an expected failure is told by its chain, a bug by its stack', () => {
  const { log, lines } = captureLog()
  log.warn({ err: new VwnError('DISK_FULL', { file: 'x' }, { cause: new Error('ENOSPC') }) }, 'a')
  log.error({ err: new TypeError('bug') }, 'b')
  expect(lines[0]?.['err']).toEqual({ code: 'DISK_FULL', why: 'no space is left on the disk (file=x): ENOSPC', facts: { file: 'x' } })
  expect(lines[1]?.['err']).toMatchObject({ why: 'bug', stack: expect.stringContaining('log.test.ts') as string })
})

test('secrets, environments and arguments never reach a log', () => {
  const { log, lines } = captureLog()
  log.info({ env: { A: 'hush' }, job: { args: ['hush'], environment: 'hush', id: 'h1-2' }, privateKey: 'hush' }, 'x')
  expect(JSON.stringify(lines)).not.toContain('hush')
  expect(lines[0]).toMatchObject({ job: { id: 'h1-2' } })
})

test('a line that names a job has its trace, and so have the lines of a child that names one', () => {
  const { log, lines } = captureLog()
  const known = traced(log, (job) => (job === 'h1-1' ? 'abc' : null))
  known.info({ job: 'h1-1' }, 'of a job')
  known.child({ vwn: 'v1' }).child({ job: 'h1-1' }).warn({ vwn: 'v1' }, 'of its child')
  known.info({ job: 'h1-1', trace: 'its own' }, 'says it itself')
  known.child({ vwn: 'v1' }).info({ job: 'h1-2' }, 'of a job that nobody knows')
  known.info({ job: null }, 'of none')
  known.info('plain')
  expect(lines.map((line) => line['trace'])).toEqual(['abc', 'abc', 'its own', undefined, undefined, undefined])
})

test('levels below the chosen one are silent', () => {
  let written = ''
  const log = createLog({ program: 'p', level: 'warn', to: { write: (line) => void (written += line) } })
  log.info('no')
  log.warn('yes')
  expect(written).toContain('"msg":"yes"')
  expect(written).not.toContain('"no"')
  silentLog.error('nothing')
})
