import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { version } from '../../kit/version.ts'

test('every program says the version of package.json', () => {
  expect(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))).toMatchObject({ version })
})
