import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { page } from '../harness/lifecycle-page.ts'

test('docs/lifecycle.md is what the tables print (`npm run docs` renews it)', () => {
  expect(readFileSync(new URL('../../docs/lifecycle.md', import.meta.url), 'utf8')).toBe(page())
})
