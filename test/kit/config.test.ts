import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { explain } from '../../core/errors.ts'
import { effectiveTable, loadConfig, nearest, parseConfig, type Override } from '../../kit/config.ts'
import { tempFolder } from '../harness/temp.ts'

const schema = z.object({
  heartbeatMs: z.int().positive().default(2_000),
  http: z.object({ port: z.int().min(0).max(65_535).default(0), host: z.string().default('127.0.0.1') }).prefault({}),
  servers: z.array(z.object({ url: z.string() })).default([]),
  labels: z.record(z.string(), z.string()).optional(),
})

const read = (text: string, overrides: Override[] = []) => parseConfig(schema, { file: 'c.toml', text, overrides })
const failure = (text: string, overrides?: Override[]): string => {
  try {
    read(text, overrides)
    return 'nothing'
  } catch (error) {
    return explain(error)
  }
}

test('defaults, file and flags are laid over one another, and each value knows where it came from', () => {
  const text = '# a comment\nheartbeatMs = 500\n\n[http]\nport = 80\n\n[labels]\nrack = "7"\n'
  const config = read(text, [
    { key: 'http.port', value: 8080, origin: '--port' },
    { key: 'http.host', value: undefined, origin: '--host' },
  ])
  expect(config.settings).toEqual({ heartbeatMs: 500, http: { port: 8080, host: '127.0.0.1' }, servers: [], labels: { rack: '7' } })
  expect(effectiveTable(config.effective)).toBe(
    [
      'heartbeatMs = 500          # c.toml:2',
      'http.port   = 8080         # --port',
      'http.host   = "127.0.0.1"  # default',
      'servers     = []           # default',
      'labels.rack = "7"          # c.toml:8',
      '',
    ].join('\n'),
  )
})

test('settings are frozen through and through', () => {
  const { settings } = read('')
  expect(() => Object.assign(settings.http, { port: 1 })).toThrow(TypeError)
})

test.each([
  ['heartbeatMS = 5', 'key=heartbeatMS nearest=heartbeatMs', 1],
  ['\n[http]\nprot = 5', 'key=http.prot nearest=port', 3],
  ['[[servers]]\nurl = "a"\n[[servers]]\nurl = "b"\nlur = 1', 'key=servers.1.lur nearest=url', 5],
  ['somethingElse = 1', 'key=somethingElse', 1],
])('a key nobody reads is refused with its line and the nearest name: %j', (text, facts, line) => {
  expect(failure(text)).toBe(`the settings have a key nobody reads (file=c.toml line=${line} ${facts})`)
})

test.each([
  ['heartbeatMs = "x"', 'file=c.toml line=1 key=heartbeatMs'],
  ['[http]\n\nport = 70000', 'file=c.toml line=3 key=http.port'],
  ['http = { port = -1 }', 'file=c.toml line=1 key=http.port'],
  ['heartbeatMs = ', 'file=c.toml line=1 column=15'],
  ['[http]\nport = 1\nport = 2', 'file=c.toml line=3'],
])('a value that does not fit is refused with its line: %j', (text, facts) => {
  expect(failure(text)).toContain(`the settings are not valid (${facts}`)
})

test('a flag that does not fit is blamed, not the file', () => {
  expect(failure('', [{ key: 'http.port', value: 'x', origin: '--port' }])).toContain('(origin=--port key=http.port')
  expect(failure('', [{ key: 'http.prt', value: 1, origin: 'WNOD_X' }])).toContain('(origin=WNOD_X key=http.prt nearest=port)')
})

test('a file is read when there is one to read', async () => {
  await using folder = await tempFolder()
  const file = join(folder.path, 'c.toml')
  await writeFile(file, 'heartbeatMs = 7')
  expect(loadConfig(schema, { file }).settings.heartbeatMs).toBe(7)
  expect(loadConfig(schema, { file: null }).settings.heartbeatMs).toBe(2_000)
  expect(() => loadConfig(schema, { file: join(folder.path, 'absent') })).toThrow(
    expect.objectContaining({ code: 'CONFIG_UNREADABLE' }) as Error,
  )
})

test('near is near', () => {
  expect(nearest('memroyMib', ['memoryMib', 'cpus'])).toBe('memoryMib')
  expect(nearest('colour', ['memoryMib', 'cpus'])).toBeNull()
  expect(nearest('x', [])).toBeNull()
})
