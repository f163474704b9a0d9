import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { page } from '../harness/json-page.ts'

test('docs/json.md says what --json prints; `npm run docs` makes it so', () => {
  expect(readFileSync(join(import.meta.dirname, '../../docs/json.md'), 'utf8')).toBe(page())
})
