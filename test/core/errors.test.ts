import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { catalogue, explain, isVwnError, VwnError, vwnErrorIn, type Entry } from '../../core/errors.ts'
import { page } from '../harness/errors-page.ts'

test('a message says what happened and to what', () => {
  const error = new VwnError('FILE_UNREADABLE', { file: '/a b', line: 3, owner: undefined, mode: null })
  expect(error.message).toBe('a file cannot be read (file="/a b" line=3 mode=null)')
  expect(error.entry.http).toBe(500)
})

test('explain walks the chain, each layer once', () => {
  const spawn = new Error('spawn qemu ENOENT')
  const command = new VwnError('COMMAND_MISSING', { command: 'qemu' }, { cause: spawn })
  const top = new VwnError('DEADLINE_PASSED', { vwn: 'v17' }, { cause: command })
  expect(explain(top)).toBe(
    'did not happen in time (vwn=v17): a command is not installed (command=qemu): spawn qemu ENOENT',
  )
})

test('explain survives loops, repeats, several errors at once and things that are no errors', () => {
  const loop = new Error('a', { cause: new Error('b') })
  if (loop.cause instanceof Error) loop.cause.cause = loop
  expect(explain(loop)).toBe('a: b')
  expect(explain(new Error('outer: inner', { cause: new Error('inner') }))).toBe('outer: inner')
  expect(explain(new AggregateError([new Error('x', { cause: 'y' }), new Error('z')]))).toBe('x: y; z')
  expect(explain('words')).toBe('words')
  expect(explain(undefined)).toBe('')
})

test('a failing clean-up does not hide the failure that led to it', async () => {
  const fail = async () => {
    await using _resource = { [Symbol.asyncDispose]: () => Promise.reject(new Error('clean-up failed')) }
    throw new VwnError('DISK_FULL')
  }
  const error = await fail().catch((caught: unknown) => caught)
  expect(explain(error)).toBe('no space is left on the disk: clean-up failed')
  expect(vwnErrorIn(error)?.code).toBe('DISK_FULL')
})

test('codes are told apart by code', () => {
  const error: unknown = new VwnError('DISK_FULL')
  expect(isVwnError(error)).toBe(true)
  expect(isVwnError(error, 'CANCELLED')).toBe(false)
  expect(isVwnError(new Error('DISK_FULL'))).toBe(false)
  expect(vwnErrorIn(new Error('x', { cause: error }))).toBe(error)
  expect(vwnErrorIn('x')).toBeNull()
})

test('every row of the catalogue is fit to be shown', () => {
  for (const [code, entry] of Object.entries<Entry>(catalogue)) {
    expect(code).toMatch(/^[A-Z][A-Z_]+[A-Z]$/)
    expect(entry.http, code).toBeGreaterThanOrEqual(400)
    expect(entry.http, code).toBeLessThan(600)
    expect(entry.say, code).toMatch(/^[^A-Z].*[^.]$|^VWN |^NATS |^OS |^QEMU |^KVM /)
    expect(entry.hint.length, code).toBeGreaterThan(10)
  }
})

test('docs/errors.md is what the catalogue prints (`npm run docs` renews it)', () => {
  expect(readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')).toBe(page())
})
