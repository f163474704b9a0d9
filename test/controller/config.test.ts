import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadSettings } from '../../controller/config.ts'

const example = join(import.meta.dirname, '../../controller/controller.example.toml')

test('the example shows every key with its default', () => {
  const source = { home: '/var/lib/wnod', env: {} }
  const told = loadSettings({ ...source, config: example })
  const defaults = loadSettings({ ...source, config: null })
  expect(told.settings).toEqual(defaults.settings)
  const text = readFileSync(example, 'utf8')
  for (const { key, value } of defaults.effective) expect(text, key).toContain(`${key.split('.').at(-1)} = ${Array.isArray(value) ? `["${value.join('", "')}"]` : JSON.stringify(value)}`)
})

test('paths follow from the home, the environment names the image store', () => {
  const { settings } = loadSettings({ config: null, env: { WNOD_HOME: '/srv/farm', WNOD_IMAGES: '/srv/images' } })
  expect(settings).toMatchObject({ database: '/srv/farm/db/controller.sqlite', mapping: '/srv/farm/etc/mapping.yaml', images: '/srv/images', socket: '/srv/farm/run/controller.sock' })
})

test('seconds become milliseconds, empty texts become nothing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'wnod-cfg-'))
  const config = join(folder, 'c.toml')
  writeFileSync(config, 'images = ""\nurl_file = ""\n[hosts]\nheartbeat_s = 0.5\nlease_s = 60\n[history]\ndays = 1\nmib_max = 16\n[accounting]\nunacknowledged_days = 2\n')
  const { settings } = loadSettings({ home: folder, config, env: {} })
  expect(settings).toMatchObject({ images: null, urlFile: null, patience: { heartbeatMs: 500, missedMax: 4, leaseMs: 60_000 }, history: { ageMs: 86_400_000, bytesMax: 16_777_216, unacknowledgedMs: 172_800_000 }, nats: { creds: null } })
  rmSync(folder, { recursive: true })
})
